"""Quantities with units in a sentence ("3.21 g/cm3", "−20 °C", "1.2 × 10^-5 mol L−1"), and wrong values near them.

A quantity is a number and a unit: an SI symbol with or without prefix, a unit in use beside the SI, or a product of
them with exponents. Not taken: numbers that name something ("Fig. 3 A"), ends of ranges ("10–20 °C"), bare numbers.
Symbols that text uses for other things more often than as a unit (C, F, H, A, S alone; d without a space) are left out.
"""

import functools
import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

PREFIXES = "(?:da|[fpnµμumcdhkMGTP])"
PREFIXED = "mol|cal|bar|eV|Hz|Pa|Wh|Gy|Sv|Bq|lx|Ω|ohm|[mgsKNJWVTLlM]"
ONLY_WITH_PREFIX = "[fpnµμumkMGT](?:A|F|H|S|C|Da|bp|b|B|IU|at\\.?%)"
ALONE = (
    "m?Pa s|[mk]?W h|[mk]?A h|MPa m(?:½|1/2)|10⁻[¹²³⁴⁵⁶⁷⁸⁹]/K|wt\\.?\\s?%|vol\\.?\\s?%|at\\.?\\s?%|mol\\s?%|%|‰|percent|per cent|°\\s?[CF]|℃|°(?![\\s\\d]?[\\d′'])|degrees?|ppm|ppb|ppt|rpm|"
    "mmHg|Torr|atm|psi|Å|Da|bp|dB|CFU|cfu|IU|U|pH units?|ha|au|AU|pc|kpc|Mpc|h|d|min|hours?|minutes?|seconds?|days?|"
    "weeks?|months?|years?|(?:kilo|centi|milli|micro|nano)?met(?:er|re)s?|(?:kilo|milli|micro)?grams?|"
    "(?:milli|micro)?lit(?:er|re)s?|kelvins?|[kMG]?electronvolts?|volts?|watts?|joules?|tesla"
)
EXPONENT = "(?:\\^?\\{?[-−–]?[1-9]\\}?|⁻?[¹²³⁴⁵⁶])"
NEGATIVE = "(?:\\^?\\{?[-−–][1-9]\\}?|⁻[¹²³⁴⁵⁶])"
ATOM = f"(?:{ALONE}|{ONLY_WITH_PREFIX}|{PREFIXES}?(?:{PREFIXED}))"
BLANKS = "[ \u00a0\u2009]"
GROUP = f"\\({ATOM}{EXPONENT}?(?:[ \u00a0\u2009·⋅]{ATOM}{EXPONENT}?)+\\)"
UNIT = f"{ATOM}{EXPONENT}?(?:(?:\\s?[/·⋅]\\s?| per )(?:{GROUP}|{ATOM}{EXPONENT}?)|{BLANKS}{ATOM}{NEGATIVE})*"
POWER = "(?:\\s?[×x]\\s?10(?:\\^?\\{?[-−–]?\\d+\\}?|⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)|[eE][-−+]?\\d+)"
SPREAD = "(?:\\s?(?:±|\\+/-)\\s?\\d+(?:\\.\\d+)?)"
NUMBER = f"(?P<main>[-−+]?(?:\\d{{1,3}}(?:,\\d{{3}})+|\\d+)(?:\\.\\d+)?)(?P<rest>{SPREAD}?{POWER}?{SPREAD}?)"
QUANTITY = re.compile(
    f"(?<![\\w.,/^±×:;@#–—−+-])(?<![±×–—−/-]\\s){NUMBER}(?P<space>\\s?)(?P<unit>{UNIT})(?![\\w°²³⁻^/%{{–—−-])"
)
NAMED = re.compile(
    r"\b(?:fig|figs|figure|table|tab|eq|eqs|equation|section|sec|ref|refs|chapter|step|no)\.?\s*$", re.IGNORECASE
)
STATED = re.compile(
    r"(?:\b(?:is|was|are|were|of|be|reached|reaches|measured|equals?|about|approximately|ca\.)|[=≈~])\s*$"
)
DIGIT = re.compile(r"\d")
GLUED = re.compile(r"[A-Za-z]\d*")  # with no space before it no unit: "the 1960s", "the 1880s1", "3d"
ASCII = str.maketrans("⁻−–⁰¹²³⁴⁵⁶⁷⁸⁹·⋅μ\u00a0\u2009", "---0123456789**µ  ", "^{}() ")
FACTORS = (0.5, 2.0, 0.8, 1.25, 1.5, 0.67, 3.0, 0.33, 1.1, 0.9)


class Quantity(NamedTuple):
    """A quantity at `start:end` of a sentence; `number + space + unit` is its text."""

    start: int
    end: int
    number: str
    space: str
    unit: str

    @property
    def text(self) -> str:
        """As written."""
        return f"{self.number}{self.space}{self.unit}"

    def with_number(self, number: str) -> str:
        """The same unit, written the same way, of another number."""
        return f"{number}{self.space}{self.unit}"

    @property
    def kind(self) -> tuple[str, str]:
        """Equal for quantities that may stand for each other: the unit's canonical form, and the number's shape."""
        return canonical_unit(self.unit), shape(self.number)


def find_quantities(sentence: str) -> Iterator[Quantity]:
    """The quantities of a sentence, from left to right."""
    for match in QUANTITY.finditer(sentence):
        glued = not match["space"] and GLUED.fullmatch(match["unit"])
        if glued or NAMED.search(sentence, max(0, match.start() - 24), match.start()):
            continue
        yield Quantity(match.start(), match.end(), match["main"] + match["rest"], match["space"], match["unit"])


def main_quantity(sentence: str) -> Quantity | None:
    """The quantity that a sentence is about: the first after "is", "of", "=", ...; else its first."""
    if not DIGIT.search(sentence):  # half of all sentences have none, and the long pattern is slow
        return None
    found = list(find_quantities(sentence))
    return next((q for q in found if is_stated(sentence, q)), found[0] if found else None)


def is_stated(sentence: str, quantity: Quantity) -> bool:
    """Whether a sentence says that something is (of, about, equal to, ...) this quantity."""
    return STATED.search(sentence, max(0, quantity.start - 24), quantity.start) is not None


@functools.cache
def value(number: str) -> float:
    """The number a text stands for, its spread left out: "−1.2 ± 0.1 × 10^-5" is -1.2e-5."""
    plain = re.sub(SPREAD, "", number).translate(ASCII).replace(",", "").replace("+", "")
    return float(re.sub("[×x]10", "e", plain))


def shape(number: str) -> str:
    """How a number is written: with spread or not, with a power of ten or not."""
    return ("±" if re.search(SPREAD, number) else "") + ("e" if re.search(POWER, number) else "")


def canonical_unit(unit: str) -> str:
    """One spelling for a unit: "g cm⁻³" and "g cm^-3" are the same, and so are "year" and "years"."""
    flat = unit.replace("per cent", "%").replace("percent", "%").replace("℃", "°C").replace(" per ", "/")
    flat = flat.translate(ASCII)
    return flat[:-1] if len(flat) > 3 and flat.endswith("s") and flat.isalpha() else flat


def wrong_numbers(true: Quantity, pool: Sequence[str], count: int, key: str) -> list[str]:
    """`count` numbers that are not `true`'s: from `pool` (numbers of the same kind in other texts), then made up.

    Those within a factor of ten and with as many decimals come first, in the order of a hash of `key`. Numbers made
    up are the true one times a fixed factor, with its decimals.
    """
    found: list[str] = []
    candidates = sorted(set(pool), key=lambda n: (_distance(true.number, n), digest(key, n)))
    for number in [*candidates, *_perturbed(true.number, key)]:
        if all(value(number) != value(other) for other in (true.number, *found)):
            found.append(number)
        if len(found) == count:
            break
    return found


def digest(*parts: object) -> int:
    """64 bits of a hash of `parts`: the seed of every choice made here, the same on every machine."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _distance(true: str, other: str) -> int:
    a, b = value(true), value(other)
    far = not (a == b == 0 or (a * b > 0 and 0.1 <= b / a <= 10))
    return 2 * far + (_decimals(true) != _decimals(other))


def _decimals(number: str) -> int:
    match = re.match(r"[-−+]?[\d,]+(?:\.(\d+))?", number)
    return len(match[1] or "") if match else 0


def _perturbed(number: str, key: str) -> Iterator[str]:
    """The number times fixed factors in the order of a hash, then plus 1, 2, 3, ... (which never runs out)."""
    match = re.match(r"([-−+]?)([\d,]+(?:\.\d+)?)(.*)", number)
    assert match is not None  # only numbers that NUMBER matched come here
    sign, main, rest = match.groups()
    plain, decimals = float(main.replace(",", "")), _decimals(number)
    for factor in sorted(FACTORS, key=lambda f: digest(key, f)):
        yield f"{sign}{plain * factor:{',' if ',' in main else ''}.{decimals}f}{rest}"
    for step in range(1, 10):
        yield f"{sign}{plain + step:.{decimals}f}{rest}"
