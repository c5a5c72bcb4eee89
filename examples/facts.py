"""The catalogue: invented materials and instruments, each with a few quantities that hold wherever it is named.

Nothing in it exists. Names are built from made-up roots; values are drawn from ranges that look right for the kind,
so that a reader (or a model) can learn what a density looks like, but can know a value only from the articles.
"""

import random
from dataclasses import dataclass

from examples.kinds import KINDS, Kind, Property

ROOTS = tuple(
    """Vorlan Teskar Ormel Quiblen Zandor Halvic Brenlow Culmar Drosten Elvarn Fendrel Gorvain Hestrel Ivalon Jorvell
    Kelstrin Lomarin Morvane Nestrel Orvasp Peldrin Quarnel Rostane Selvor Tarnwell Ulmeric Velquin Wendral Xanvor
    Yorlen Zelmar Ardovel Balterin Corvash Delmorn Estrovan Falgren Grelvan Hobrin Istermal Jaldren Kovrane Lestovar
    Mirgol Nalvern Oskaril Pravond Quenlor Ralmist Sorvelin Tolgrane Ulvester Vandrel Wostrin Xelmor Yandric Zorvath
    Altrenor Borvenil Caldrist Dornavel Ebrolan Forvan Garnoth Hulmeret Irvalen Jostern Kaldovir Lorvet Melgrath Norvisk
    Ostrelan Palvenor Quorvin Restamol Salgrev Trevalor Umbrilor Valdrust Wilgorn Xorvane Yelmarth Zuldren Aspenor
    Bromvel Craveld Dulmarin Eskovar Frelvash Gildorven Harnovel Ilmarel Jurvane Kostrel Lunvarek Mostrelin Nurvash
    Olgrenth Pomvarel Quistran Rundorvel Skelmar Turvolin Urgandel Vestromir Wolvarn Yustrel Zamvoral""".split()  # noqa: SIM905 - reads better than 104 quoted words
)
PREFIXES = ("", "Neo", "Para", "Meso", "Iso")
MAX_SUBJECTS = len(ROOTS) * len(PREFIXES)
FACTS_PER_SUBJECT = 6


@dataclass(frozen=True)
class Fact:
    """One property of one subject: `value` has its decimals as printed, `unit` may be empty (pH)."""

    subject: str
    prop: str
    value: str
    unit: str
    method: str

    @property
    def amount(self) -> str:
        """Value and unit as they stand in a sentence."""
        return f"{self.value} {self.unit}".strip()

    @property
    def error(self) -> str:
        """Uncertainty of a printed value: 1 to 5 in its last place, by its digits."""
        places = len(self.value.partition(".")[2])
        return f"{(1 + int(self.value.replace('.', '')) % 5) * 10.0**-places:.{places}f}"


@dataclass(frozen=True)
class Subject:
    """An invented thing: its sheet number in the catalogue, what it is, and what is true of it."""

    sheet: int
    name: str
    kind: Kind
    facts: tuple[Fact, ...]

    def fact(self, prop: str) -> Fact:
        """The fact about a property; `KeyError` where the subject has none."""
        for fact in self.facts:
            if fact.prop == prop:
                return fact
        raise KeyError(prop)

    def number(self, prop: str) -> float:
        """The value of a property, in its unit."""
        return float(self.fact(prop).value)


def _measure(rng: random.Random, name: str, prop: Property) -> Fact:
    """Draw a value on the grid of the property's last decimal."""
    value = f"{rng.uniform(prop.low, prop.high):.{prop.places}f}"
    return Fact(name, prop.name, value, prop.unit, rng.choice(prop.methods))


def _name(index: int, kind: Kind, rng: random.Random) -> str:
    """Name of subject `index`: a root of its own and the ending of its kind."""
    prefix, root = PREFIXES[index // len(ROOTS)], ROOTS[index % len(ROOTS)]
    stem = prefix + root.lower() if prefix else root
    return kind.name.format(root=stem, low=stem.lower(), n=rng.randrange(2, 10), mass=rng.randrange(301, 399))


def catalogue(count: int, seed: int) -> tuple[Subject, ...]:
    """`count` subjects, the same for the same seed; the first ones do not depend on the count.

    Raises `ValueError` above `MAX_SUBJECTS`.
    """
    if count > MAX_SUBJECTS:
        raise ValueError(f"{count} subjects asked for, but there are names for {MAX_SUBJECTS}")
    return tuple(_subject(index, seed) for index in range(count))


def _subject(index: int, seed: int) -> Subject:
    rng = random.Random(f"{seed}/subject/{index}")
    kind = KINDS[index % len(KINDS)]
    name = _name(index, kind, rng)
    needed = [p for p in kind.properties if p.name in kind.needs]
    others = [p for p in kind.properties if p.name not in kind.needs]
    chosen = needed + rng.sample(others, FACTS_PER_SUBJECT - len(needed))
    ordered = [p for p in kind.properties if p in chosen]
    return Subject(index + 1, name, kind, tuple(_measure(rng, name, p) for p in ordered))
