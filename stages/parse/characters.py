"""Characters as text has them: ligatures opened, control characters out, formulas' letters plain, Symbol's Greek back."""

import re
import unicodedata

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
RUNS = re.compile(" {2,}")
CHANGED = frozenset(map(chr, TABLE))


def clean(text: str) -> str:
    """One line or more of text without characters that mean nothing; newlines stay."""
    if "  " not in text and ((text.isascii() and text.isprintable()) or _is_clean(text)):
        return text.strip()
    return RUNS.sub(" ", PRIVATE.sub("", text.translate(TABLE))).strip()


def _is_clean(text: str) -> bool:
    """Whether none of a text's characters would be changed; `PRIVATE` has none before the surrogates."""
    return CHANGED.isdisjoint(text) and max(text, default="") < "\ud800"
