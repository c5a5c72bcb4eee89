"""Texts whose likeness is known."""

import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from schemas.corpus import Document
from tests.tables import write_table

VOCABULARY = [f"w{number:x}" for number in range(5000)]


def text(seed: int, num_words: int = 400) -> str:
    """Make a text of random words: two of them have no 5-gram in common."""
    return " ".join(random.Random(seed).choices(VOCABULARY, k=num_words))


def changed(original: str, share: float, seed: int) -> str:
    """Put another word in the place of a share of a text's words."""
    draw = random.Random(seed)
    return " ".join(draw.choice(VOCABULARY) if draw.random() < share else word for word in original.split())


@pytest.fixture(scope="session")
def corpus() -> list[str]:
    """60 texts, each followed at some distance by copies with 0.2 to 40 % of their words changed."""
    originals = [text(seed) for seed in range(60)]
    shares = (0.002, 0.01, 0.03, 0.06, 0.1, 0.2, 0.4)
    copies = [changed(t, shares[i % len(shares)], 1000 + i) for i, t in enumerate(originals)]
    return originals + copies + [changed(t, 0.02, 2000 + i) for i, t in enumerate(originals[:20])]


@pytest.fixture
def make_table(tmp_path: Path) -> Callable[[Sequence[str]], Path]:
    """Write documents of these texts as an input table."""

    def make(texts: Sequence[str]) -> Path:
        rows = [
            Document(
                doc_id=doc_id(number),
                text=words,
                pages=[],
                media_type="text/plain",
                path=f"{number}.txt",
                source="test",
                licence=None,
                title=None,
                doi=None,
                language="en",
            )
            for number, words in enumerate(texts)
        ]
        return write_table(tmp_path / "input", Document, rows, name="documents")

    return make


def doc_id(number: int) -> str:
    """Name a document."""
    return hashlib.sha256(b"%d" % number).hexdigest()
