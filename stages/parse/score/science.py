"""How much of a page's science a text keeps: numbers, units, Greek letters, formulae, genes, citations, equations.

Every item is a string in a canonical form, so that `1.5 × 10⁻³`, `1.5 x 10-3` and `1.5e-3` are one number and `−5` is
never `5`; recall and precision count items as often as they stand in the text. What is given up: an item is looked for
by its form, so a postal code is a number too, and an equation is what stands on both sides of its sign.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
MINUS = re.compile("[\u2212\u2010\u2011\u2012\u2013\ufe63\uff0d]")
RAISED = re.compile("(?<=[\\w)])([⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[+\-±]\s?)?(?P<digits>\d+(?:[.,]\d+)*)"
    r"(?:[eE](?P<power>[+\-]?\d+))?"
)
POWER = re.compile(r"(?<=\d)\s*[×x·∙*]\s*10\s*\^?\s*\{?([+\-]?)\s?(\d{1,3})\b\}?")
RANGE = re.compile(r"(?<=\d)\s*-\s*(?=\d)")
PREFIX, BASE = "[kMGTcmµμnpfdh]?", "(?:m|g|s|A|K|mol|cd|Hz|N|Pa|J|W|C|V|F|Ω|Ohm|S|T|H|L|l|M|bar|eV|Da|B|bp|min)"
UNIT = re.compile(
    rf"(?<=\d)\s?(?P<unit>(?:%|‰|°\s?C|°\s?F|°|Å|{PREFIX}{BASE}(?:\^?[-+]?\d)?|h|d|ppm|ppb|wt\s?%|mmHg|rpm|U|dB)"
    rf"(?:\s?[/·∙]\s?\(?{PREFIX}(?:{BASE}|h|d)(?:\^?[-+]?\d)?(?:\s{PREFIX}{BASE})?\)?)*)(?![A-Za-z])"
)
ELEMENTS = frozenset(
    """H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo
    Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb
    Bi Po At Rn Fr Ra Ac Th Pa U Np Pu""".split()  # noqa: SIM905 - reads better than 94 quoted symbols
)
MOLECULE = re.compile(r"(?<![\w.])\(?(?:[A-Z][a-z]?\d{0,3}|\((?:[A-Z][a-z]?\d{0,3})+\)\d{0,2}){2,}(?![\w])")
ATOM = re.compile(r"[A-Z][a-z]?")
GENE = re.compile(r"(?<![\w-])[A-Z]{2,6}-?\d{1,3}[A-Z]?(?![\w])")
NUMBERED = re.compile(r"\[(\d{1,3}(?:\s?[,;\-]\s?\d{1,3})*)\]")
NAMED = re.compile(r"([A-Z][\w'-]+)(?:\s(?:and|&)\s[A-Z][\w'-]+|\set\sal\.?)?,?\s\(?((?:19|20)\d\d)[a-z]?\)?")
RELATION = re.compile(r"(\S+)\s?([=≈≤≥≠∝→⇌<>])\s?(\S+)")
EDGES = ".,;:()[]{}"
LONGEST_RANGE = 60


class Fidelity(NamedTuple):
    """Items that both texts have, that the truth has, and that the text has."""

    both: int
    truth: int
    text: int

    @property
    def recall(self) -> float | None:
        """The share of the truth's items that came through; None where there are none."""
        return self.both / self.truth if self.truth else None

    @property
    def precision(self) -> float | None:
        """The share of the text's items that are true; None where there are none."""
        return self.both / self.text if self.text else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of both; None where the truth has no items."""
        return 2 * self.both / (self.truth + self.text) if self.truth else None


def items(text: str) -> dict[str, Counter[str]]:
    """Every kind's items, in canonical form, with how often they stand in the text."""
    plain = _plain(text)
    kinds: Mapping[str, Iterator[str]] = {
        "numbers": _numbers(plain),
        "units": (re.sub(r"[\s^]", "", m["unit"]).replace("∙", "·") for m in UNIT.finditer(plain)),
        "Greek": (c for c in plain if "α" <= c <= "ω" or "Α" <= c <= "Ω"),
        "formulae": _molecules(plain),
        "genes": (m[0] for m in GENE.finditer(plain) if not _is_molecule(m[0])),
        "citations": _citations(plain),
        "equations": (f"{m[1].strip(EDGES)}{m[2]}{m[3].strip(EDGES)}" for m in RELATION.finditer(plain)),
    }
    return {kind: Counter(found) for kind, found in kinds.items()}


def fidelity_by_kind(truth: str, text: str) -> dict[str, Fidelity]:
    """Recall and precision of each kind."""
    theirs, ours = items(truth), items(text)
    return {k: Fidelity((theirs[k] & ours[k]).total(), theirs[k].total(), ours[k].total()) for k in theirs}


def fidelity(truth: str, text: str) -> Fidelity:
    """All kinds together, every item counting once for each time that it stands in a text."""
    kinds = fidelity_by_kind(truth, text).values()
    return Fidelity(*(sum(k[i] for k in kinds) for i in range(3)))


def _plain(text: str) -> str:
    """Minus signs alike, superscripts as `^`, compatibility forms opened (subscripts, mathematical letters)."""
    raised = RAISED.sub(lambda m: "^" + m[1].translate(SUPERSCRIPTS), MINUS.sub("-", text))
    return unicodedata.normalize("NFKC", raised).replace("µ", "μ").replace("\u2212", "-")


def _numbers(text: str) -> Iterator[str]:
    powers = POWER.sub(r"e\1\2", text)
    for m in NUMBER.finditer(RANGE.sub(" to ", powers)):
        power = (m["power"] or "").replace("+", "")
        sign = (m["sign"] or "").strip().replace("+", "")
        yield sign + m["digits"] + (f"e{power}" if power else "")


def _is_molecule(word: str) -> bool:
    atoms = ATOM.findall(word)
    return all(a in ELEMENTS for a in atoms) and (any(c.isdigit() for c in word) or any(len(a) > 1 for a in atoms))


def _molecules(text: str) -> Iterator[str]:
    for m in MOLECULE.finditer(text):
        if _is_molecule(m[0]) and len(ATOM.findall(m[0])) > 1:
            yield m[0].strip("()")


def _citations(text: str) -> Iterator[str]:
    for m in NUMBERED.finditer(text):
        for part in re.split("[,;]", m[1]):
            first, _, last = part.partition("-")
            numbers = range(int(first), int(last or first) + 1)
            yield from (str(n) for n in numbers[:LONGEST_RANGE])
    yield from (f"{m[1]} {m[2]}" for m in NAMED.finditer(text))
