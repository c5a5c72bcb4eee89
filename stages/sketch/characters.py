"""What normalization needs to know of every Unicode character, as arrays that compiled code can index.

Made from Python's `unicodedata` when first asked for (0.2 s), so the compiled pass follows the same version of Unicode as
the plain one. Normalization form KC is cut into pieces that do not touch each other (Unicode Standard Annex 15): a
character is *attaching* if it may move past, or compose with, what stands before it; a text may be cut before any other.
"""

import sys
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stages.sketch.normalize import INVISIBLE

LETTER, WORD, SPACE, DROPPED, ATTACHING, UNREADABLE = 1, 2, 4, 8, 16, 32  # bits of `Characters.kinds`
UNASSIGNED = {"Cn", "Co", "Cs"}  # unassigned, private, surrogates: no rule changes them, and nobody can read them
COUNT, BLOCK = sys.maxunicode + 1, 256


class Characters(NamedTuple):
    """Arrays over all code points. `*_at` is where a string begins in `strings` (its length first), 0 if unchanged.

    folded: NFKC, then case folded, as UTF-8; cased: case folded only, as UTF-8; decomposed: NFKD, as code points.
    `plain` is what an ASCII byte becomes; 0 for bytes that ask for a closer look: hyphen, controls, parts of others. `pairs` are sorted (first << 32 | second) code points that compose to `composites`; `classes` the combining classes.
    """

    plain: npt.NDArray[np.uint8]
    kinds: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.uint8]
    folded_at: npt.NDArray[np.int32]
    cased_at: npt.NDArray[np.int32]
    decomposed_at: npt.NDArray[np.int32]
    strings: npt.NDArray[np.int32]
    pairs: npt.NDArray[np.int64]
    composites: npt.NDArray[np.int32]


@lru_cache(maxsize=1)
def characters() -> Characters:
    """The tables, made once a process."""
    kinds = np.full(COUNT, UNREADABLE, np.uint8)
    odd = _odd(kinds)
    decomposed = _normalized("NFKD", odd)
    pairs = _pairs(odd)
    _mark(kinds, odd, decomposed, {second for _, second in pairs})
    classes = np.zeros(COUNT, np.uint8)
    classes[[ord(c) for c in odd]] = [unicodedata.combining(c) for c in odd]
    strings: list[int] = [0]
    return Characters(
        np.array([_plain(c) for c in range(256)], np.uint8),
        kinds,
        classes,
        _packed(odd, map(_cased, _normalized("NFKC", odd)), strings, utf8=True),
        _packed(odd, map(_cased, odd), strings, utf8=True),
        _packed(odd, decomposed, strings, utf8=False),
        np.array(strings, np.int32),
        np.array([ord(a) << 32 | ord(b) for a, b in sorted(pairs)], np.int64),
        np.array([ord(pairs[p]) for p in sorted(pairs)], np.int32),
    )


def _odd(kinds: npt.NDArray[np.uint8]) -> list[str]:
    """Characters to look at one by one; blocks of letters that nothing changes (most ideographs) are marked at once."""
    odd: list[str] = []
    for start in range(0, COUNT, BLOCK):
        block = [c for c in map(chr, range(start, start + BLOCK)) if unicodedata.category(c) not in UNASSIGNED]
        text = "".join(block)
        if text.isalpha() and unicodedata.normalize("NFKD", text) == text == text.casefold():
            kinds[[ord(c) for c in block]] = WORD | LETTER
        else:
            odd += block
    return odd


def _plain(byte: int) -> int:
    char = chr(byte)
    return ord(_cased(char)) if char.isascii() and char != "-" and (char.isprintable() or char.isspace()) else 0


def _cased(text: str) -> str:
    """Folded case; white space is a blank."""
    return " " if text.isspace() else text.casefold()


def _normalized(form: str, odd: list[str]) -> list[str]:
    """Each character's normal form, alone: line feeds keep them apart."""
    joined = "\n".join("" if c == "\n" else c for c in odd)
    forms = unicodedata.normalize(form, joined).split("\n")  # type: ignore[arg-type]
    return [c if c == "\n" else f for c, f in zip(odd, forms, strict=True)]


def _pairs(odd: list[str]) -> dict[tuple[str, str], str]:
    """Which two characters become one."""
    pairs = {}
    for char, canonical in zip(odd, _normalized("NFD", odd), strict=True):
        if len(canonical) > 1:
            first, second = unicodedata.normalize("NFC", canonical[:-1]), canonical[-1]
            if len(first) == 1 and unicodedata.normalize("NFC", first + second) == char:
                pairs[first, second] = char
    return pairs


def _mark(kinds: npt.NDArray[np.uint8], odd: list[str], decomposed: list[str], seconds: set[str]) -> None:
    """Set the kinds of `odd` characters; `seconds` are those that compose with one before them."""
    for char, parts in zip(odd, decomposed, strict=True):
        word = char.isalnum() or char == "_"
        kind = WORD * word + SPACE * char.isspace() + LETTER * (word and not char.isdecimal() and char != "_")
        kind += ATTACHING * (unicodedata.combining(parts[0]) > 0 or parts[0] in seconds)
        kind += DROPPED * (INVISIBLE.match(char) is not None)
        kind += UNREADABLE * (char == "\ufffd" or (unicodedata.category(char) == "Cc" and not char.isspace()))
        kinds[ord(char)] = kind
    for char in seconds:
        kinds[ord(char)] |= ATTACHING


def _packed(odd: list[str], forms: Iterable[str], strings: list[int], *, utf8: bool) -> npt.NDArray[np.int32]:
    table = np.zeros(COUNT, np.int32)
    for char, form in zip(odd, forms, strict=True):
        if form != char or char == " ":  # the blank has a string, so that all blanks are written by one rule
            table[ord(char)] = len(strings)
            codes = form.encode() if utf8 else [ord(c) for c in form]
            strings += [len(codes), *codes]
    return table
