"""Ways to spend seconds on pages: the router, rules of others, one parser for all, chance, and the oracle.

A policy is an order of moves, each of which gives a page to a parser; it is followed until the seconds are spent, as they
were measured, so that all policies have the same seconds whatever they thought that a page would take.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stages.parse.router.model import LAYER, Model, columns, expected_gain, feature_table
from stages.parse.router.price import steps
from stages.parse.router.trees import Floats
from stages.parse.train.fit import Labelled

Move = tuple[int, int]  # page, parser


@dataclass(frozen=True)
class Field:
    """Pages (rows) and parsers (columns): the layer's true quality, the parsers', and the seconds they took."""

    rows: Sequence[Labelled]
    parsers: tuple[str, ...]
    layer: Floats
    quality: Floats
    seconds: Floats

    @classmethod
    def of(cls, rows: Sequence[Labelled], parsers: Sequence[str]) -> "Field":
        """Pages that all of the parsers have read."""
        rows = [r for r in rows if all(p in r.read for p in parsers)]
        both = np.array([[r.read[p] for p in parsers] for r in rows]).reshape(len(rows), len(parsers), 2)
        return cls(rows, tuple(parsers), np.array([r.layer for r in rows]), both[:, :, 0], both[:, :, 1])

    @property
    def gains(self) -> Floats:
        """True gains."""
        return self.quality - self.layer[:, None]

    @property
    def best_parser(self) -> int:
        """The parser that is best where it reads every page."""
        return int(self.quality.mean(axis=0).argmax())

    def followed(self, moves: Sequence[Move], seconds: float, max_pages: float = np.inf) -> float:
        """Mean quality of the pages where `moves` are made as long as `seconds` (and pages) last."""
        chosen: dict[int, int] = {}
        spent = 0.0
        for page, parser in moves:
            more = self.seconds[page, parser] - (self.seconds[page, chosen[page]] if page in chosen else 0.0)
            if spent + more > seconds or (page not in chosen and len(chosen) + 1 > max_pages):
                continue
            spent += more
            chosen[page] = parser
        quality = self.layer.copy()
        for page, parser in chosen.items():
            quality[page] = self.quality[page, parser]
        return float(quality.mean())


def by_rate(gains: Floats, seconds: Floats) -> list[Move]:
    """Pages by gain a second, a page's better parsers after its cheaper ones."""
    return [(s.page, s.parser) for s in sorted(steps(gains, seconds), key=lambda s: -s.rate)]


def router(field: Field, model: Model) -> list[Move]:
    """Our router's order."""
    expected = model.expect([r.page for r in field.rows], field.parsers)
    return by_rate(expected.gains, expected.seconds)


def chance(field: Field, parser: int, seed: int = 0) -> list[Move]:
    """Pages at random, by one parser."""
    pages = list(range(len(field.rows)))
    random.Random(seed).shuffle(pages)
    return [(page, parser) for page in pages]


def adaparse(field: Field, model: Model, parser: int, *, by_gain: bool, batch: int = 256) -> list[Move]:
    """AdaParse's rule on our predictions: the same share of each batch's pages, best first.

    As published (appendix C) pages are in the order of the gain that is expected; as released, of the parser's quality.
    Pages are candidates where the parser is predicted to be the better one. Moves of the batches are interleaved, as
    every batch has the same share of its pages.
    """
    name = field.parsers[parser]
    table = feature_table([r.page for r in field.rows])
    layer = model.layer.predict(columns(table, LAYER))
    gain = expected_gain(name, model.parsers[name].quality, table, layer)
    worth = gain if by_gain else layer + gain
    moves: list[tuple[int, int]] = []
    for start in range(0, len(field.rows), batch):
        pages = [i for i in range(start, min(start + batch, len(field.rows))) if gain[i] > 0]
        moves += enumerate(sorted(pages, key=lambda i: -worth[i]))
    return [(page, parser) for _, page in sorted(moves)]


def flagged(field: Field, flags: Sequence[bool], parser: int, seed: int = 0) -> list[Move]:
    """Pages that a rule flags, in no order among them."""
    return [move for move in chance(field, parser, seed) if flags[move[0]]]


def rules_only(field: Field) -> list[bool]:
    """What parse does without a budget: pages whose text layer is missing, garbled or suspect."""
    return [r.page.needs_ocr for r in field.rows]


def mean(seeds: int, value: Callable[[int], float]) -> float:
    """The mean over random orders."""
    return float(np.mean([value(seed) for seed in range(seeds)]))
