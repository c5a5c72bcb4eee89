"""Which characters make a word, and what OCR takes for what, as arrays that compiled code can index.

A word is a run of letters and digits. Accents are dropped, compatibility forms taken apart (a ligature is its letters),
case folded; then letters that OCR mistakes for one another become one: l 1 I, o 0, s 5, z 2, b 6 8, g 9 q. Two pairs that
look like one letter, rn and m, vv and w, are folded by the code that reads the words. Characters above U+1FFFF (rare
ideographs) are taken for letters that nothing is mistaken for.
"""

import unicodedata
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

COUNT = 0x20000
SEPARATOR, LETTER, DIGIT, DROPPED = 0, 1, 2, 3
DROPPED_CATEGORIES = {"Mn", "Me", "Cf"}  # accents on their own, soft hyphen, zero-width characters
CONFUSED = {c: group[0] for group in ("li1", "o0", "s5", "z2", "b68", "g9q") for c in group}


class Letters(NamedTuple):
    """`kinds` (COUNT u8) and, as `units[at[c]:at[c + 1]]`, the folded code points of character c."""

    kinds: npt.NDArray[np.uint8]
    at: npt.NDArray[np.int32]
    units: npt.NDArray[np.int32]


@lru_cache(maxsize=1)
def letters() -> Letters:
    """The tables, made once a process (0.2 s)."""
    kinds, at, units = np.zeros(COUNT, np.uint8), np.zeros(COUNT + 1, np.int32), []
    for code in range(COUNT):
        char = chr(code)
        kinds[code] = _kind(char)
        if kinds[code] in (LETTER, DIGIT):
            units += [ord(c) for c in folded(char)]
        at[code + 1] = len(units)
    return Letters(kinds, at, np.array(units, np.int32))


def folded(char: str) -> str:
    """The letters that a character stands for, confusions folded; never empty for a letter or digit."""
    parts = unicodedata.normalize("NFKD", char).casefold()
    plain = "".join(c for c in parts if unicodedata.category(c) not in DROPPED_CATEGORIES) or char
    return "".join(CONFUSED.get(c, c) for c in plain)


def _kind(char: str) -> int:
    category = unicodedata.category(char)
    if category in DROPPED_CATEGORIES:
        return DROPPED
    if category == "Nd":
        return DIGIT
    return LETTER if category[0] in "LN" else SEPARATOR
