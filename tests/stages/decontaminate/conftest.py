"""A small benchmark and a small corpus."""

import hashlib

import pytest

from schemas.corpus import Document, PageSpan
from schemas.evaluation import BenchmarkItem

QUESTIONS = {
    "ball": (
        "A ball of 250 grams is thrown up at 12 metres per second from the roof of a tower; when does it land?",
        "4.1 s",
    ),
    "ducks": (
        (
            "A farmer keeps 16 ducks that lay two eggs each morning and sells the eggs at the market for 3 dollars a dozen. "
            "How much money does the farmer earn in one week if he eats four eggs for breakfast every day himself?"
        ),
        "49 dollars a week",
    ),
    "gene": (
        "Which protein carries oxygen in the muscles of whales and lets them dive for an hour?",
        "myoglobin of the muscle",
    ),
    "short": ("Which is true?", "The enzyme lowers the barrier of activation without being consumed."),
    "tiny": ("Why?", "Yes."),
}
FILLER = (
    "The samples were dried at room temperature and weighed before the measurement began. We found that the yield rose "
    "with the amount of nitrogen in the soil, as reported by others. The results of the second season were the same. "
)


@pytest.fixture
def items() -> list[BenchmarkItem]:
    """Five items; the last is too short to look for."""
    return [
        BenchmarkItem(benchmark="toy", item_id=name, question=q, choices=[], answer=a, context="")
        for name, (q, a) in QUESTIONS.items()
    ]


def document(text: str, path: str = "paper.txt") -> Document:
    """A document of two pages."""
    middle = len(text) // 2
    page = {"parser": "p", "origin": "native"}
    return Document(
        doc_id=hashlib.sha256(f"{path}:{text}".encode()).hexdigest(),
        text=text,
        pages=[PageSpan(page=1, start=0, end=middle, **page), PageSpan(page=2, start=middle, end=len(text), **page)],
        media_type="text/plain",
        path=path,
        source="toy",
        licence=None,
        title=None,
        doi=None,
        language="en",
    )


def around(text: str, times: int = 8) -> str:
    """A text with innocent paragraphs before and after it."""
    return f"{FILLER * times}\n\n{text}\n\n{FILLER * times}"
