"""One price for all pages: gain a second above which a second is worth spending, so that all is spent and no more.

The budget is a knapsack with a choice of parsers a page. Its relaxation has one multiplier, the price: a page goes to the
parser with the largest `gain - price * seconds` (Everett, 1963; Sinha and Zoltners, 1979). The price is that at which
what is known of the pages to come spends what is left: the documents that were read ahead as they are, and those not yet
read as the mean of all that were. So the batch plays no role: there is none. What is given up: at a campaign's
beginning the price is a guess by the first `AHEAD` documents.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from stages.parse.router.trees import Floats

AHEAD = 256  # documents that are read before the first one is decided
NUM_BINS = 2000
LOWEST, HIGHEST = 1e-6, 1e4  # gain a second


class Step(NamedTuple):
    """Moving a page up to a better parser: so many seconds more, at so much gain a second; steps of a page fall."""

    rate: float
    seconds: float
    page: int
    parser: int


def steps(gains: Floats, seconds: Floats) -> list[Step]:
    """The upper hull of every page's parsers (pages, parsers), from the text layer at (0, 0); no step loses."""
    found: list[Step] = []
    for page, (gain_row, second_row) in enumerate(zip(gains.tolist(), seconds.tolist(), strict=True)):
        at_gain = at_seconds = 0.0
        while True:
            rates = [
                (g - at_gain) / (s - at_seconds) if g > at_gain + 1e-12 and s > at_seconds else 0.0
                for g, s in zip(gain_row, second_row, strict=True)
            ]
            best = max(range(len(rates)), key=rates.__getitem__, default=-1)
            if best < 0 or rates[best] <= 0:
                break
            found.append(Step(rates[best], second_row[best] - at_seconds, page, best))
            at_gain, at_seconds = gain_row[best], second_row[best]
    return found


class Document(NamedTuple):
    """A document's steps, and how many pages it has."""

    steps: tuple[Step, ...]
    num_pages: int


class Campaign:
    """Spends `total` seconds (`by_page`: pages), or `page_share` of the pages, on `num_documents` that come one by one.

    With a `fixed_price` it spends what that takes, and documents need not be seen ahead. Call `see` for every document in order, and `decide` for every document in order, up to `AHEAD` behind; `decide` of
    the last `AHEAD` comes when all have been seen.
    """

    def __init__(
        self,
        num_documents: int,
        *,
        total: float | None = None,
        page_share: float | None = None,
        fixed_price: float | None = None,
        by_page: bool = False,
    ) -> None:
        self.num_documents, self.total, self.page_share = num_documents, total, page_share
        self.is_fixed = fixed_price is not None
        self.by_page = by_page or page_share is not None
        self.spent, self.price = 0.0, fixed_price or 0.0
        self.num_seen, self.num_pages = 0, 0
        self._waiting: deque[Document] = deque()
        self._ahead = np.zeros(NUM_BINS)  # seconds of the steps of documents that wait, by rate
        self._all = np.zeros(NUM_BINS)  # and of all documents seen
        self._last: deque[dict[int, int]] | None = None

    def see(self, document: Document) -> None:
        """A document was read."""
        self.num_seen += 1
        self.num_pages += document.num_pages
        self._waiting.append(document)
        self._count(document, self._ahead, 1.0)
        self._count(document, self._all, 1.0)

    @property
    def budget(self) -> float:
        """What may be spent in all, as far as is known by now."""
        if self.is_fixed:
            return float("inf")
        if self.page_share is not None:
            return self.page_share * self.num_pages * self.num_documents / max(self.num_seen, 1)
        return self.total or 0.0

    def decide(self) -> dict[int, int]:
        """The parser (by its column) of each page of the next document that gets one; the price is `price`."""
        if self.num_seen == self.num_documents and not self.is_fixed:
            self._last = self._last if self._last is not None else self._greedy()
            self._waiting.popleft()
            return self._last.popleft()
        self.price = self.price if self.is_fixed else self._clearing_price()
        document = self._waiting.popleft()
        chosen: dict[int, int] = {}
        for step in document.steps:
            if step.rate > self.price and self.spent + step.seconds <= self.budget * (1 + 1e-9):
                chosen[step.page] = step.parser
                self.spent += step.seconds
        self._count(document, self._ahead, -1.0)
        return chosen

    def _greedy(self) -> deque[dict[int, int]]:
        """Of all documents that wait, when no other will come: the best rates first, and then what still fits."""
        bought: deque[dict[int, int]] = deque({} for _ in self._waiting)
        stopped: set[tuple[int, int]] = set()
        by_rate = [(-s.rate, n, at, s) for n, d in enumerate(self._waiting) for at, s in enumerate(d.steps)]
        for _, number, _, step in sorted(by_rate):
            place = (number, step.page)
            if place in stopped or self.spent + step.seconds > self.budget * (1 + 1e-9):
                if not stopped:
                    self.price = step.rate
                stopped.add(place)  # a page's next step needs this one
                continue
            self.spent += step.seconds
            bought[number][step.page] = step.parser
        self.price = self.price if stopped else 0.0
        return bought

    def _clearing_price(self) -> float:
        """The price at which the documents waiting and those to come spend what is left."""
        unseen = (self.num_documents - self.num_seen) / max(self.num_seen, 1)
        after = np.cumsum((self._ahead + unseen * self._all)[::-1])
        last = int(np.searchsorted(after, self.budget - self.spent, side="right"))
        return float(EDGES[NUM_BINS - last]) if last < NUM_BINS else 0.0

    @staticmethod
    def _count(document: Document, bins: Floats, sign: float) -> None:
        if document.steps:
            np.add.at(bins, _bin([s.rate for s in document.steps]), [sign * s.seconds for s in document.steps])


def _bin(rates: Sequence[float]) -> Any:
    logs = np.log(np.clip(rates, LOWEST, HIGHEST) / LOWEST) / np.log(HIGHEST / LOWEST)
    return np.minimum((logs * NUM_BINS).astype(np.int64), NUM_BINS - 1)


EDGES = LOWEST * (HIGHEST / LOWEST) ** (np.arange(NUM_BINS + 1) / NUM_BINS)
