"""What a text's words look like: shares that tell prose from tables, code, symbols and the waste of a broken PDF.

Words are split at white space. The measures and the first three limits are Gopher's (Rae et al. 2021, arXiv
2112.11446, section A1.1); the fourth is for text layers whose fonts do not say which letters they draw.
"""

import re
from collections.abc import Sequence

# Not text: control characters, the replacement character, private use, unassigned in a font's map ("(cid:31)").
WASTE = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ufffd\ue000-\uf8ff]|\\(cid:\\d+\\)")
SYMBOL = re.compile(r"\.{3,}|…|(?<!#)(?<!^)#", re.MULTILINE)  # hash signs that begin a line are Markdown's headings
LETTER = re.compile(r"[^\W\d_]")
DIGIT = re.compile(r"\d")
STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})


def alphabetic_fraction(words: Sequence[str]) -> float:
    """Return the share of words that have a letter, among those longer than one character and without a digit.

    Gopher counts numbers and single symbols against a text, and so drops a tenth of real papers: those with tables.
    """
    judged = [w for w in words if len(w) > 1 and not DIGIT.search(w)]
    return sum(LETTER.search(w) is not None for w in judged) / max(1, len(judged))


def symbol_fraction(words: Sequence[str], text: str) -> float:
    """Return the number of hash signs and ellipses over the number of words."""
    return len(SYMBOL.findall(text)) / max(1, len(words))


def mean_length(words: Sequence[str]) -> float:
    """Return the mean number of characters of a word."""
    return sum(map(len, words)) / max(1, len(words))


def num_stop_words(words: Sequence[str]) -> int:
    """Count how many of Gopher's eight English stop words occur."""
    return len(STOP_WORDS.intersection(w.lower() for w in words))


def waste_fraction(words: Sequence[str]) -> float:
    """Return the share of words with a character that no text has."""
    return sum(WASTE.search(w) is not None for w in words) / max(1, len(words))
