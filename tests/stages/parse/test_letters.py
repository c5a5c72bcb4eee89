"""Letter statistics."""

import math
import re

import pytest

from stages.parse.letters import HALF_BITS, surprise
from tests.stages.parse.conftest import WORDS

LETTERS = {letter: i for i, letter in enumerate(" abcdefghijklmnopqrstuvwxyz")}
GERMAN = (
    "Die Wärmeleitfähigkeit von Kupfer beträgt bei Raumtemperatur etwa vierhundert Watt pro Meter und Kelvin. Metalle "
    "leiten Wärme vor allem durch freie Elektronen, deshalb hängt sie eng mit der elektrischen Leitfähigkeit zusammen."
)
FRENCH = (
    "La conductivité thermique du cuivre est élevée parce que les électrons libres transportent l'énergie. Les métaux "
    "conduisent donc bien la chaleur, tandis que les céramiques la conduisent mal."
)


def shift(text: str, by: int) -> str:
    """Every letter moved on in the alphabet."""
    return "".join(chr((ord(c.lower()) - 97 + by) % 26 + 97) if c.isascii() and c.isalpha() else c for c in text)


def test_text_and_nonsense_are_far_apart() -> None:
    """English scores below 3.2 bits, German and French below 4.5, and shifted letters above 6.6, whatever the shift."""
    english = surprise(WORDS)
    assert english is not None
    assert english < 3.2
    assert all((surprise(t) or 9) < 4.5 for t in (GERMAN, FRENCH))
    assert all((surprise(shift(WORDS, by)) or 0) > 6.6 for by in range(1, 26))


def test_too_little_or_another_alphabet_is_not_judged() -> None:
    """There is no score for a few letters, for numbers, or for text in another alphabet."""
    assert surprise("Fig. 3") is None
    assert surprise("12.5 13.7 0.003 " * 40) is None
    assert surprise("Теплопроводность меди высока, потому что электроны свободны. " * 3) is None
    assert surprise("") is None


def test_the_table_is_a_probability() -> None:
    """For every two letters before it, the probabilities of the next letter add up to one, rounding to half bits aside."""
    for pair in range(27 * 27):
        total = sum(2 ** (-b / 2) for b in HALF_BITS[pair * 27 : pair * 27 + 27])
        assert total == pytest.approx(1, rel=0.2)


def test_the_score_is_the_mean_of_the_table() -> None:
    """The score is the mean of -log2 p over all trigrams, the word's end included, as written out the long way."""
    bits = []
    for word in re.findall("[a-z]+", WORDS.lower()):
        padded = f" {word} "
        for i in range(len(padded) - 2):
            a, b, c = (LETTERS[x] for x in padded[i : i + 3])
            bits.append(HALF_BITS[a * 729 + b * 27 + c] / 2)
    assert surprise(WORDS) == pytest.approx(math.fsum(bits) / len(bits), abs=1e-12)
