"""Documents to train on."""

import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from schemas.corpus import Document
from tests.tables import write_table

SUBJECTS = ["The sample", "A crystal", "Each of the 24 alloys", "This oxide", "Our β-phase film", "The enzyme"]
VERBS = ["was heated to", "was measured at", "changes its colour near", "stays stable below", "reacts above"]
ENDINGS = ["in air.", "under argon (99.9 %).", "as Fig. 3 shows.", "for two days.", "and then cooled.", "…"]

Maker = Callable[..., Path]


def article(seed: int, num_sentences: int = 30) -> str:
    """Make a text of sentences like those of papers, with numbers, Greek and paragraphs."""
    draw = random.Random(seed)
    sentences = [
        f"{draw.choice(SUBJECTS)} {draw.choice(VERBS)} {draw.randint(77, 1400)} K {draw.choice(ENDINGS)}"
        for _ in range(num_sentences)
    ]
    return " ".join(s + ("\n\n" if draw.random() < 0.1 else "") for s in sentences)


@pytest.fixture(scope="session")
def articles() -> list[str]:
    """40 texts of about 1,700 characters."""
    return [article(seed) for seed in range(40)]


def document(number: int, text: str, source: str = "test", language: str | None = "en") -> Document:
    """Make a document of this text."""
    return Document(
        doc_id=hashlib.sha256(b"%d" % number).hexdigest(),
        text=text,
        pages=[],
        media_type="text/plain",
        path=f"{number}.txt",
        source=source,
        licence="CC-BY-4.0",
        title=None,
        doi=None,
        language=language,
    )


@pytest.fixture
def make_table(tmp_path: Path) -> Maker:
    """Write documents, or texts as documents, as this test's input table."""

    def make(given: Sequence[str | Document], name: str = "input") -> Path:
        rows = [document(n, d) if isinstance(d, str) else d for n, d in enumerate(given)]
        return write_table(tmp_path / name, Document, rows, name="documents")

    return make
