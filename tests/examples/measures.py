"""How much of a text is in another, and how alike two texts are."""

import re
from collections import Counter
from pathlib import Path

import pypdfium2

WORD = re.compile(r"\w+")
LINE_HYPHEN = "\ufffe"  # what PDFium gives for a hyphen at the end of a line, with the two halves joined


def words(text: str) -> list[str]:
    """The words and numbers of a text, in lower case."""
    return WORD.findall(text.lower())


def recall(truth: str, found: str) -> float:
    """The share of the true words that were found, counting repeats."""
    wanted, got = Counter(words(truth)), Counter(words(found))
    return sum((wanted & got).values()) / sum(wanted.values())


def jaccard(one: str, other: str, size: int = 5) -> float:
    """Jaccard similarity of the sets of n-grams of words."""
    a, b = (_ngrams(words(text), size) for text in (one, other))
    return len(a & b) / len(a | b)


def _ngrams(found: list[str], size: int) -> set[tuple[str, ...]]:
    return {tuple(found[i : i + size]) for i in range(len(found) - size + 1)}


def pdf_text(data: bytes | Path) -> str:
    """The text layer of a PDF, as PDFium reads it, hyphens at line ends removed."""
    with pypdfium2.PdfDocument(data) as document:
        pages = [page.get_textpage().get_text_range() for page in document]
    return "\n".join(pages).replace(LINE_HYPHEN, "")
