"""Documents to judge."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.corpus import Document
from tests.tables import write_table

ENGLISH = """The samples were dried in air for two days and then weighed again. A loss of 3.2 % was found in every
case, which agrees with the water that the salt is known to hold at room temperature. When the temperature was
raised above 410 K, the crystals turned white and their density fell. We have measured the same change with a second
furnace, so that an error of the thermometer can be ruled out.

Heating rates between 1 and 20 K/min gave the same final mass, but the faster runs reached it later than one would
expect from the size of the grains alone. A simple model with one barrier of 0.8 eV describes these data well. Its
other constant, the number of attempts in each second, is close to what has been published for similar compounds.
Future work should look at mixtures, where neighbours differ, and at pressures that no furnace of ours can hold."""

GERMAN = """Die Proben wurden zwei Tage lang an der Luft getrocknet und danach noch einmal gewogen. In jedem Fall ging
ein kleiner Teil der Masse verloren, was mit dem Wasser übereinstimmt, das dieses Salz bei Raumtemperatur bindet. Als
die Temperatur weiter stieg, wurden die Kristalle weiß und ihre Dichte nahm ab. Wir haben dieselbe Änderung mit einem
zweiten Ofen gemessen, sodass ein Fehler des Thermometers ausgeschlossen werden kann. Ein einfaches Modell mit einer
einzigen Schwelle beschreibt diese Daten gut und braucht keine weiteren Annahmen über die Körner."""

Maker = Callable[..., Path]


def document(number: int, text: str, **columns: Any) -> Document:
    """Make a document; what is not said is unknown."""
    fields: dict[str, Any] = {
        "doc_id": hashlib.sha256(b"%d" % number).hexdigest(),
        "text": text,
        "pages": [],
        "media_type": "text/plain",
        "path": f"{number}.txt",
        "source": "test",
        "licence": None,
        "title": None,
        "doi": None,
        "language": None,
    }
    return Document(**(fields | columns))


@pytest.fixture
def english() -> str:
    """Two paragraphs of plain English, with numbers."""
    return ENGLISH


@pytest.fixture
def german() -> str:
    """A paragraph of plain German."""
    return GERMAN


@pytest.fixture
def make_table(tmp_path: Path) -> Maker:
    """Write documents of these texts (or texts and columns) as an input table."""

    def make(*texts: str | tuple[str, dict[str, Any]]) -> Path:
        pairs = [(t, {}) if isinstance(t, str) else t for t in texts]
        rows = [document(i, text, **columns) for i, (text, columns) in enumerate(pairs)]
        return write_table(tmp_path / "input", Document, rows, name="documents")

    return make
