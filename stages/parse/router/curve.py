"""The quality-cost curve: what pages' expected quality is worth at any budget, with bootstrap intervals.

A budget buys the steps with the most gain a second first. Intervals are the percentiles over documents drawn again with
replacement (Efron, 1979), because pages of one document are alike. What is given up: that the router itself may be
wrong; its calibration plot shows by how much.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.parse.router.price import Document
from stages.parse.router.trees import Floats

NUM_REPLICATES = 400
LEVEL = 95  # per cent, of all intervals


class Interval(NamedTuple):
    """A value, and where it lies in `LEVEL` per cent of the replicates."""

    value: float
    low: float
    high: float


class Curve:
    """Documents' steps by falling price, and replicates of the documents (the first is the sample itself)."""

    def __init__(self, documents: Sequence[Document], layers: Sequence[float], seed: int = 0) -> None:
        """`layers` are the summed qualities of each document's layers."""
        steps = [(s.rate, s.seconds, n) for n, d in enumerate(documents) for s in d.steps]
        self.num_documents = len(documents)
        table = np.array(sorted(steps, reverse=True), dtype=float).reshape(len(steps), 3)
        self.rates, self._seconds, of = table[:, 0], table[:, 1], table[:, 2].astype(int)
        self._is_first = _firsts(documents, table)
        rng = np.random.default_rng(seed)
        drawn = rng.multinomial(self.num_documents, [1 / self.num_documents] * self.num_documents, NUM_REPLICATES)
        self._times = np.concatenate([np.ones((1, self.num_documents), int), drawn]).astype(float)
        self._of = of
        self.pages = self._times @ np.array([d.num_pages for d in documents], dtype=float)
        self._layers = self._times @ np.asarray(layers, dtype=float)

    def __len__(self) -> int:
        return len(self.rates)

    def price(self, budget_seconds: float) -> float:
        """The price that spends so many seconds a document of the sample; 0 where there is no more to buy."""
        spent = np.cumsum(self._seconds) / self.num_documents
        bought = int(np.searchsorted(spent, budget_seconds * (1 + 1e-9), side="right"))
        return float(self.rates[bought]) if bought < len(self) else 0.0

    def price_of_pages(self, share: float) -> float:
        """The price at which that share of the pages is read again."""
        read = np.cumsum(self._is_first) / max(self.pages[0], 1)
        bought = int(np.searchsorted(read, share * (1 + 1e-9), side="right"))
        return float(self.rates[bought]) if bought < len(self) else 0.0

    def seconds(self, price: float) -> Interval:
        """Seconds a document that are spent at a price."""
        return _interval(self._bought(price, self._seconds) / self.num_documents)

    def share_of_pages(self, price: float) -> Interval:
        """The share of the pages that are read again at a price."""
        return _interval(self._bought(price, self._is_first) / np.maximum(self.pages, 1))

    def quality(self, price: float) -> Interval:
        """The mean expected quality of a page at a price."""
        gains = self._bought(price, self.rates * self._seconds)
        return _interval((self._layers + gains) / np.maximum(self.pages, 1))

    def gain(self, price: float) -> Interval:
        """What that is more than without a budget of any kind; its interval is narrower than the quality's."""
        return _interval(self._bought(price, self.rates * self._seconds) / np.maximum(self.pages, 1))

    def prices(self, count: int) -> list[float]:
        """Prices that spend equal steps of seconds, from nothing to all that gains."""
        most = float(self._seconds.sum()) / max(self.num_documents, 1)
        return [self.price(most * k / (count - 1)) for k in range(count)]

    def _bought(self, price: float, amounts: Floats) -> Floats:
        """The sum of what steps above a price amount to, in every replicate."""
        last = int(np.searchsorted(-self.rates, -price, side="left"))
        by_document = np.bincount(self._of[:last], amounts[:last], minlength=self.num_documents)
        found: Floats = self._times @ by_document
        return found


def _firsts(documents: Sequence[Document], table: Floats) -> NDArray[np.float64]:
    """1 for the steps, in the order of `table`, that are a page's first: there it is read again, later by another."""
    seen: set[tuple[int, int]] = set()
    pages = sorted(((s.rate, s.seconds, n, s.page) for n, d in enumerate(documents) for s in d.steps), reverse=True)
    found = np.zeros(len(table))
    for at, (_, _, number, page) in enumerate(pages):
        found[at] = (number, page) not in seen
        seen.add((number, page))
    return found


def _interval(values: Floats) -> Interval:
    low, high = np.percentile(values[1:], [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return Interval(float(values[0]), float(low), float(high))
