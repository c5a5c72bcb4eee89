"""Characters as text has them: ligatures opened, control characters out, formulas' letters plain, Symbol's Greek back."""

import re
import unicodedata
from functools import cache

LIGATURES = {0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl", 0xFB05: "st", 0xFB06: "st"}
SPACES = dict.fromkeys([0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000, 0x09], " ")
INVISIBLE = dict.fromkeys(
    [*range(9), 0xB, *range(0xE, 0x20), *range(0x7F, 0xA0), 0xAD, *range(0x200B, 0x2010), 0x2060, 0xFEFF, 0xFFFD]
)
# Adobe's Symbol encoding, as Windows puts it at U+F000: https://unicode.org/Public/MAPPINGS/VENDORS/ADOBE/symbol.txt
GREEK = dict(zip(range(0xF061, 0xF07B), "αβχδεφγηιϕκλμνοπθρστυϖωξψζ", strict=True)) | dict(
    zip(range(0xF041, 0xF05B), "ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ", strict=True)
)
SIGNS = {0xF0B0: "°", 0xF0B1: "±", 0xF0B3: "≥", 0xF0A3: "≤", 0xF0B4: "×", 0xF0B7: "•", 0xF0A7: "•", 0xF02D: "−"}
MATHS = {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0x1D400, 0x1D800)}  # italic, bold, script
TABLE = LIGATURES | SPACES | INVISIBLE | GREEK | SIGNS | MATHS
PRIVATE = re.compile("[\ue000-\uf8ff\U000f0000-\U0010ffff\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]")
FIRST_PRIVATE = "\ud800"
CHANGED = frozenset(map(chr, TABLE))


@cache
def is_private(char: str) -> bool:
    """Whether a character means nothing to who does not have its font, or is none."""
    return PRIVATE.match(char) is not None


def clean(text: str) -> str:
    """One line or more of text without characters that mean nothing; newlines stay."""
    if not (text.isascii() and text.isprintable()):
        chars = set(text)
        for char in CHANGED & chars:  # few of a line's, and none of them is put in for another
            text = text.replace(char, TABLE[ord(char)] or "")
        if private := {c for c in chars if c >= FIRST_PRIVATE and is_private(c)}:
            text = "".join([c for c in text if c not in private])
    while "  " in text:
        text = text.replace("  ", " ")
    return text.strip()
