"""The self-test: items are planted in documents of the corpus, as they are and damaged, and must be found again."""

import random
import re
from collections.abc import Callable, Sequence
from itertools import cycle, islice

import pyarrow as pa

from schemas.evaluation import Planted

NUM_PLANTED, STRETCH_CHARACTERS = 64, 4000
LOOK_ALIKES = {
    "l": "1",
    "1": "l",
    "I": "l",
    "i": "l",
    "O": "0",
    "0": "O",
    "o": "0",
    "S": "5",
    "5": "S",
    "m": "rn",
    "w": "vv",
}
Damage = Callable[[str, random.Random], str]


def as_is(text: str, _: random.Random) -> str:
    """No damage."""
    return text


def by_ocr(text: str, draw: random.Random, rate: float = 0.02) -> str:
    """Letters mistaken for their look-alikes, or another, at `rate`; words hyphenated and lines broken at times."""
    return "".join(_misread(char, draw, rate) for char in text)


def renumbered(text: str, draw: random.Random) -> str:
    """Other numbers of the same length."""
    return re.sub(r"\d", lambda _: str(draw.randrange(10)), text)


# The least share that must be found: with 64 planted, a search with the recall that was measured (1.0, 0.99, 1.0; see
# benchmarks.decontaminate) falls under it less than once in a million runs.
DAMAGES: dict[str, tuple[Damage, float]] = {
    "verbatim": (as_is, 0.95),
    "ocr 2 %": (by_ocr, 0.8),
    "other numbers": (renumbered, 0.95),
}


def plant(
    needles: Sequence[str],
    texts: Sequence[str],
    seed: int,
    search: Callable[[pa.Array], list[tuple[int, int]]],
    fit: Sequence[int],
) -> list[Planted]:
    """Plant a sample of those `needles` that are `fit` in `texts`; `search` returns (row, number of the needle) of what it finds.

    Where there are few, each is planted several times: one miss must not fail a run.
    """
    draw = random.Random(seed)  # noqa: S311 - a sample, not a secret
    chosen = [*islice(cycle(draw.sample(fit, min(NUM_PLANTED, len(fit)))), NUM_PLANTED)]
    rows = []
    for name, (damage, required) in DAMAGES.items():
        planted = [_planted(damage(needles[i], draw), draw.choice(texts), draw) for i in chosen]
        found = set(search(pa.array(planted)))
        count = sum((row, number) in found for row, number in enumerate(chosen))
        rows.append(Planted(damage=name, num_planted=len(chosen), num_found=count, required=required))
    return rows


def _planted(text: str, host: str, draw: random.Random) -> str:
    start = draw.randrange(max(1, len(host) - STRETCH_CHARACTERS))
    host = host[start : start + STRETCH_CHARACTERS]
    middle = draw.randrange(len(host) + 1)
    return f"{host[:middle]}\n\n{text}\n\n{host[middle:]}"


def _misread(char: str, draw: random.Random, rate: float) -> str:
    chance = draw.random()
    if chance < rate:
        return LOOK_ALIKES.get(char) or draw.choice("acenrstu")
    if char == " " and chance < rate + 0.08:
        return "\n"
    return f"{char}-\n" if char.isalpha() and chance < rate + 0.01 else char
