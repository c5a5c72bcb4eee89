"""What words look like, in numbers worked out on paper."""

import pytest

from stages.filter.shape import (
    alphabetic_fraction,
    mean_length,
    num_stop_words,
    symbol_fraction,
    waste_fraction,
)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("alpha beta gamma", 1.0),
        ("alpha ---- beta ====", 0.5),
        ("alpha 12.5 3e-4 ± = beta", 1.0),  # numbers and single symbols are not judged
        ("C3H6O 58.08 1", 0.0),  # nothing to judge is no text
        ("αβγ масса 质量", 1.0),
        ("", 0.0),
    ],
)
def test_alphabetic_words(text: str, share: float) -> None:
    """Words without a digit and longer than a character are judged by whether they have a letter of any script."""
    assert alphabetic_fraction(text.split()) == share


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("# Title\n## Part\nwords", 0),  # headings of Markdown
        ("see # 3 and # 4", 2),
        ("Contents ........ 7", 1),
        ("and so on… etc...", 2),
        ("a.b. c..", 0),
    ],
)
def test_symbols(text: str, count: int) -> None:
    """Ellipses and leader dots count once each, hash signs unless they are headings."""
    words = text.split()
    assert symbol_fraction(words, text) == count / len(words)


@pytest.mark.parametrize("waste", ["\ufffd", "te\x02st", "(cid:31)(cid:7)", "\ue012", "a\x90b"])
def test_waste(waste: str) -> None:
    """Characters of no script are found inside words."""
    assert waste_fraction(["good", "words", waste, "here"]) == 0.25


def test_science_is_no_waste() -> None:
    """Formulas, units, accents and other scripts are text."""
    text = "H₂O µm Å ∂²u/∂x² ≤ 10⁻³ naïve Ωcm → β-decay 25°C (cid) 中文 ‰"
    assert waste_fraction(text.split()) == 0


def test_lengths_and_stop_words() -> None:
    """Means and counts of a sentence."""
    words = ["The", "mass", "of", "the", "salt", "and", "that", "of", "water"]
    assert mean_length(words) == pytest.approx(30 / 9)
    assert num_stop_words(words) == 4  # the, of, and, that
    assert (mean_length([]), num_stop_words([])) == (0, 0)
