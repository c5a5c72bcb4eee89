"""Counts of a text's characters and words by kind, by one look at a table for all of its characters.

The table has a set of kinds for each character of the first two planes of Unicode, from Python's character database; it
is made once in a process, in a twentieth of a second. What is given up: characters beyond count as their plane does.
"""

import unicodedata
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.parse.lines import LINE_HYPHEN

NUM_CODES = 0x20000
IDEOGRAPH, PRIVATE = 0x4E00, 0xE000  # what stands for characters beyond the table
PRIVATE_PLANES = 0xE0000
VISIBLE, BAD, DIGIT, SIGN, UPPER, LETTER, MARK, LONE, GLUE, LIGATURE = (1 << i for i in range(10))
KINDS = {
    "visible": VISIBLE,
    "bad": BAD,
    "digits": DIGIT,
    "signs": SIGN,
    "upper": UPPER,
    "letters": LETTER,
    "ligatures": LIGATURE,
}
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


def counted(text: str) -> Counts:
    """Count a text's characters and words."""
    codes = _codes(f"\n{text}\n")
    kinds = table()[codes]
    letter, glue = (kinds & LETTER) > 0, (kinds & GLUE) > 0
    after = glue | (codes == ord("."))
    lone = (kinds[1:-1] & LONE > 0) & ~glue[:-2] & ~after[2:]
    lower, upper = (codes >= ord("a")) & (codes <= ord("z")), (codes >= ord("A")) & (codes <= ord("Z"))
    return Counts(
        **{name: _count(kinds & kind) for name, kind in KINDS.items()},
        wide=_count((codes > WIDE) & (kinds & VISIBLE > 0)),
        words=_count(letter[1:] & ~letter[:-1]),
        lone=_count(lone),
        broken=_broken(letter, (kinds & MARK) > 0),
        mixed_case=_count(lower[:-1] & upper[1:]),
    )


def _count(holds: NDArray[Any]) -> int:
    return int(np.count_nonzero(holds))


def _codes(text: str) -> NDArray[np.uint32]:
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    if codes.max() < NUM_CODES:
        return codes
    return np.where(codes < NUM_CODES, codes, np.where(codes < PRIVATE_PLANES, IDEOGRAPH, PRIVATE)).astype(np.uint32)


def _broken(letter: NDArray[np.bool_], mark: NDArray[np.bool_]) -> int:
    """Words with signs and digits between letters; of signs on both sides of the same letters the first ones count."""
    kind = letter + 2 * mark
    runs = kind[np.flatnonzero(np.diff(kind, prepend=-1))]
    between = np.flatnonzero((runs[:-2] == 1) & (runs[1:-1] == 2) & (runs[2:] == 1)).tolist()
    found, last = 0, -2
    for run in between:
        is_next = run - last == 2
        found, last = found + (not is_next), (-2 if is_next else run)
    return found
