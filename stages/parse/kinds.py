"""The kinds of characters that a text's counts are made of.

The table has a set of kinds for each character of the first two planes of Unicode, from Python's character database; it
is made once in a process, in a twentieth of a second. What is given up: ideographs beyond it count as private characters
do.
"""

import unicodedata
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.parse.lines import LINE_HYPHEN

NUM_CODES = 0x20000
NUM_SETS = 1 << 10  # of kinds
VISIBLE, BAD, DIGIT, SIGN, UPPER, LETTER, MARK, LONE, GLUE, LIGATURE = (1 << i for i in range(10))
SPECIAL = {
    MARK: "|!$@#&^~\\<>{}*_",  # what bad readers write into words, digits beside
    LONE: "bcdefghjklmnopqrstuvwxyzBCDEFGHJKLMNOPQRSTUVWXYZ",  # no words by themselves
    GLUE: "_'’-",
    LIGATURE: "\ufb00\ufb01\ufb02\ufb03\ufb04\ufb05\ufb06",
    BAD: "\ufffd",
}
WIDE = 0x24F  # beyond are other alphabets than Latin, and signs


class Counts(NamedTuple):
    """How many characters of each kind a text has, and words that show something."""

    visible: int
    bad: int
    digits: int
    signs: int
    upper: int
    letters: int
    ligatures: int
    wide: int
    words: int
    lone: int
    broken: int
    mixed_case: int


@cache
def table() -> NDArray[np.uint16]:
    """The kinds of every character."""
    found = np.array([_by_category(unicodedata.category(chr(code))) for code in range(NUM_CODES)], dtype=np.uint16)
    for kind, characters in SPECIAL.items():
        found[[ord(c) for c in characters]] |= kind
    found[[code for code in range(NUM_CODES) if chr(code).isspace()]] = 0
    found[ord(LINE_HYPHEN)] = 0
    return found


@cache
def _by_category(category: str) -> int:
    letter, digit = category[0] == "L" or category in {"Nl", "No"}, category == "Nd"
    kinds = VISIBLE + LETTER * letter + (DIGIT + MARK) * digit + GLUE * (letter or digit)
    return (
        kinds + SIGN * (category[0] in "PS") + UPPER * (category == "Lu") + BAD * (category in {"Cc", "Co", "Cn", "Cs"})
    )


@cache
def folds() -> NDArray[np.uint16]:
    """What a character is to who reads trigrams of letters: the first three signs of its compatibility form in ASCII.

    Signs are 1 to 26 for letters and 27 for what ends a word, in base 28; no sign, for marks and for what is not ASCII, is
    0.
    """
    found = np.zeros(NUM_CODES, np.uint16)
    for code in range(NUM_CODES):
        plain = unicodedata.normalize("NFKD", chr(code)).encode("ascii", "ignore").lower()[:3]
        for sign in reversed(plain):
            found[code] = found[code] * 28 + (sign - 96 if 97 <= sign <= 122 else 27)
    return found
