"""Documents to encode."""

import hashlib
import importlib
import random
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from schemas.corpus import Document
from tests.tables import write_table

SUBJECTS = ["The sample", "A crystal", "Each of the 24 alloys", "This oxide", "Our β-phase film", "The enzyme"]
VERBS = ["was heated to", "was measured at", "changes its colour near", "stays stable below", "reacts above"]
ENDINGS = ["in air.", "under argon (99.9 %).", "as Fig. 3 shows.", "for two days.", "and then cooled.", "…"]

Maker = Callable[[Sequence[str]], Path]


def article(seed: int, num_sentences: int = 30) -> str:
    """Make a text of sentences like those of papers, with numbers, Greek and paragraphs."""
    draw = random.Random(seed)
    sentences = [
        f"{draw.choice(SUBJECTS)} {draw.choice(VERBS)} {draw.randint(77, 1400)} K {draw.choice(ENDINGS)}"
        for _ in range(num_sentences)
    ]
    return " ".join(s + ("\n\n" if draw.random() < 0.1 else "") for s in sentences)


def doc_id(number: int) -> str:
    """Name a document."""
    return hashlib.sha256(b"%d" % number).hexdigest()


@pytest.fixture(scope="session")
def articles() -> list[str]:
    """40 texts of about 1,700 characters."""
    return [article(seed) for seed in range(40)]


def write_documents(folder: Path, texts: Sequence[str]) -> Path:
    """Write documents of these texts as an input table; every other one has a licence."""
    rows = [
        Document(
            doc_id=doc_id(number),
            text=text,
            pages=[],
            media_type="text/plain",
            path=f"{number}.txt",
            source="test",
            licence="CC-BY-4.0" if number % 2 else None,
            title=None,
            doi=None,
            language="en",
        )
        for number, text in enumerate(texts)
    ]
    return write_table(folder, Document, rows, name="documents")


@pytest.fixture
def make_table(tmp_path: Path) -> Maker:
    """Write texts as this test's input table."""
    return lambda texts: write_documents(tmp_path / "input", texts)


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory, articles: list[str]) -> Path:
    """Write 640 documents of about 1,700 characters: ten batches."""
    draw = random.Random(0)
    texts = ["\n".join(draw.sample(draw.choice(articles).split("."), 25)) for _ in range(640)]
    return write_documents(tmp_path_factory.mktemp("many"), texts)


@pytest.fixture(scope="session")
def megatron() -> ModuleType:
    """Import Megatron's own reader and writer of token files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that Apex and Transformer Engine are not installed
        return importlib.import_module("megatron.core.datasets.indexed_dataset")
