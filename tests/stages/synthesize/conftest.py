"""A small corpus of invented alloys, and the stage run on it."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from schemas.corpus import Document
from schemas.tokens import TokenizedDocument
from stages.command import main
from stages.synthesize import Synthesize
from stages.tables import Reader
from tests.tables import write_table

NAMES = ("Vorlane", "Teskar", "Ormel", "Quiblen", "Zandor", "Halvic", "Brenlow", "Culmar", "Drosten", "Elvarn")
Runner = Callable[..., dict[str, list[Any]]]


def doc_id(number: int) -> str:
    """The id of document `number`."""
    return hashlib.sha256(b"document %d" % number).hexdigest()


def article(number: int) -> str:
    """An article that states four quantities of an alloy of its own."""
    name = f"{NAMES[number % len(NAMES)]}-{number}"
    return f"""# On the properties of {name}

## Abstract

We report what is known of the alloy {name} and how it was made. It may serve in light frames and springs.

## Results

The density of {name} is {3 + number * 0.07:.2f} g/cm³. The second batch gave the same within errors. {name} has a
melting point of {700 + 13 * number} °C. At room temperature, its elastic modulus was {60 + 3 * number} GPa.

The thermal conductivity of {name} was found to be {12 + number} W/(m K). No change was seen after a month in air.

## References

1. A. Author, J. Alloys 12 (1999) 3. The density of {name} is 9.99 g/cm³.
"""


def prose(number: int) -> str:
    """An article without a single quantity."""
    name = NAMES[number % len(NAMES)]
    return f"""The history of {name}

Nobody remembers who first wrote about {name} and its uses. Letters of the time speak of it with some respect. The
mines were closed before the war and never opened again. What is left of {name} lies in a museum by the sea.

Visitors of {name} are rare in winter, and the lamps are often out. A guard told us that he likes it so."""


def document(number: int, text: str, title: str | None = None) -> Document:
    """A document row."""
    return Document(
        doc_id=doc_id(number),
        text=text,
        pages=[],
        media_type="text/plain",
        path=f"{number}.txt",
        source="test",
        licence="CC-BY-4.0" if number % 2 else "CC0-1.0",
        title=title,
        doi=None,
        language="en",
    )


def write_inputs(folder: Path, documents: Sequence[Document], validation: Sequence[int] = ()) -> list[str]:
    """Both input tables as arguments of the stage; documents whose place is in `validation` are held out."""
    tokenized = [
        TokenizedDocument(
            doc_id=d.doc_id,
            split="validation" if i in validation else "train",
            bin="train.bin",
            start=0,
            num_tokens=1,
            num_bytes=len(d.text.encode()),
            source=d.source,
            licence=d.licence,
        )
        for i, d in enumerate(documents)
    ]
    tables = {
        "documents": write_table(folder / "deduped", Document, documents, name="documents"),
        "tokenized": write_table(folder / "tokens", TokenizedDocument, tokenized, name="documents"),
    }
    return [word for name, table in tables.items() for word in (f"--{name}", str(table))]


@pytest.fixture
def run(tmp_path: Path) -> Runner:
    """Run the stage on documents; the rows of each table as dicts."""

    def runner(documents: Sequence[Document], validation: Sequence[int] = (), **settings: Any) -> dict[str, list[Any]]:
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        arguments = write_inputs(folder, documents, validation)
        (folder / "settings.json").write_text(json.dumps(settings))
        out = folder / "out"
        with pytest.raises(SystemExit) as end:
            main(Synthesize, [*arguments, "--config", str(folder / "settings.json"), "--out", str(out)])
        if end.value.code:
            raise SystemExit(end.value.code)
        return {name: Reader(out / name, row).table().to_pylist() for name, row in Synthesize.outputs.items()}

    return runner


@pytest.fixture
def articles() -> list[Document]:
    """Twenty articles with quantities."""
    return [document(i, article(i)) for i in range(20)]
