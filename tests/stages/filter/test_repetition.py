"""The measures of repetition are those of their definition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.filter.repetition import duplicate_fraction, duplicate_ngram_fractions, top_ngram_fraction

WORDS = st.lists(st.sampled_from(["a", "bb", "ccc", "dddd"]), max_size=40)


def brute_duplicates(words: list[str], size: int) -> float:
    """Mark every word of every n-gram that equals one further left, and count characters."""
    covered: set[int] = set()
    for right in range(len(words) - size + 1):
        if any(words[left : left + size] == words[right : right + size] for left in range(right)):
            covered.update(range(right, right + size))
    return sum(len(words[i]) for i in covered) / (len("".join(words)) or 1)


def brute_top(words: list[str], size: int) -> float:
    """Count each n-gram by going through the text for it."""
    grams = [words[i : i + size] for i in range(len(words) - size + 1)]
    most, length = max(((grams.count(g), len("".join(g))) for g in grams), default=(0, 0))
    return min(1.0, most * length / len("".join(words))) if most > 1 else 0.0


@given(WORDS)
def test_duplicate_ngrams_by_brute_force(words: list[str]) -> None:
    """Looking only where the shorter n-gram repeats finds what looking everywhere finds."""
    sizes = range(2, 7)
    assert duplicate_ngram_fractions(words, sizes) == pytest.approx([brute_duplicates(words, n) for n in sizes])


@given(WORDS, st.integers(2, 4))
def test_top_ngram_by_brute_force(words: list[str], size: int) -> None:
    """The commonest n-gram is the one that counting finds, the longest of equals."""
    assert top_ngram_fraction(words, size) == pytest.approx(brute_top(words, size))


def test_numbers_by_hand() -> None:
    """Shares of characters, worked out on paper."""
    words = ["the", "cat", "sat", "the", "cat", "ran", "the", "dog"]  # 24 characters
    assert top_ngram_fraction(words, 2) == 2 * 6 / 24
    assert duplicate_ngram_fractions(words, [2, 3]) == [6 / 24, 0.0]


def test_overlapping_repeats_count_once() -> None:
    """A word in several repeated n-grams is counted once: "x" ten times repeats from the second place to the end."""
    assert duplicate_ngram_fractions(["x"] * 10, range(2, 5)) == [0.9, 0.9, 0.9]


def test_lines() -> None:
    """Lines that differ in white space at their ends are the same; empty lines are none."""
    assert duplicate_fraction(["abcd", "  abcd ", "", "", "xy"]) == pytest.approx(4 / 10)
    assert duplicate_fraction(["", " "]) == 0
    assert duplicate_fraction([]) == 0


@pytest.mark.parametrize("words", [[], ["one"], ["one", "two"]])
def test_short_texts_do_not_repeat(words: list[str]) -> None:
    """Fewer words than an n-gram has give 0, not an error."""
    assert top_ngram_fraction(words, 3) == 0
    assert duplicate_ngram_fractions(words, range(3, 6)) == [0, 0, 0]
