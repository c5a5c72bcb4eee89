"""Routes: documents in, in order; out, in order, which of their pages are read again, by whom, and why.

Rules come first, with the verdict of `garble.judge` as their reason; they settle what a text layer without text is worth,
and that an empty page stays empty. All else is the model's expectation and the campaign's price.
"""

import re
from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from schemas.corpus import Route
from stages.parse.lines import Page
from stages.parse.router.model import MAX_STRANGE_SHARE, Expected, Model, load
from stages.parse.router.price import AHEAD, Campaign, Document, steps

BUDGET = re.compile(r"(?P<number>[\d.]+) ?(?P<unit>s|%|h)")
RULES = ("no text", "garbled", "suspect")


class Choice(NamedTuple):
    """A page's parser (None: its text layer stays), and the row that says why."""

    page: int
    parser: str | None
    route: Route


class Router:
    """Decides for `num_documents` documents what a budget is spent on; `shard` is this one's share of a sum of hours."""

    def __init__(self, budget: str, engines: Sequence[str], num_documents: int, num_shards: int = 1) -> None:
        self.model: Model = load()
        self.engines = tuple(engines)
        self.campaign = campaign(budget, num_documents, num_shards)
        self.counts: Counter[str] = Counter()
        self._waiting: deque[tuple[Sequence[Page], Expected]] = deque()
        self._num_seen = self._num_decided = 0

    def see(self, pages: Sequence[Page]) -> None:
        """The next document was read; it has no pages if it is no PDF."""
        read = [p for p in pages if p.features]
        expected = self.model.expect(read, self.engines)
        seconds = np.ones_like(expected.seconds) if self.campaign.page_share is not None else expected.seconds
        self.campaign.see(Document(tuple(steps(expected.gains, seconds)), len(read)))
        self._waiting.append((read, expected))
        self._num_seen += 1
        self.counts.update(pages=len(read), strange=int(expected.strange.sum()))

    @property
    def can_decide(self) -> bool:
        """Whether enough is known to decide the next document."""
        waiting = self._num_seen - self._num_decided
        return waiting > 0 and (self._num_seen == self.campaign.num_documents or waiting > AHEAD)

    def decide(self, doc_id: str) -> list[Choice]:
        """The choice for each page of the next document that the free pass could read."""
        chosen = self.campaign.decide()
        pages, expected = self._waiting.popleft()
        self._num_decided += 1
        return [self._choice(doc_id, page, expected, i, chosen.get(i)) for i, page in enumerate(pages)]

    def _choice(self, doc_id: str, page: Page, expected: Expected, i: int, column: int | None) -> Choice:
        gains = expected.gains[i]
        best = int(gains.argmax()) if column is None and len(gains) else column
        parser = None if column is None else expected.parsers[column]
        gain, seconds = (0.0, 0.0) if best is None else (float(gains[best]), float(expected.seconds[i, best]))
        route = Route(
            doc_id=doc_id, page=page.number, parser=parser or page.parser, reason=_reason(page, gain, parser),
            quality=float(expected.layer[i]), gain=gain, seconds=seconds, price=self.campaign.price,
            strange=bool(expected.strange[i]),
        )  # fmt: skip
        return Choice(page.number, parser, route)

    def summary(self) -> str:
        """What was spent, at which price, and a warning if the pages are not like those that the router knows."""
        campaign = self.campaign
        unit = "pages" if campaign.page_share is not None else "s expected"
        words = f"router: {campaign.spent:.1f} of {campaign.budget:.1f} {unit} spent, last price {campaign.price:.3g}"
        strange = self.counts["strange"] / max(self.counts["pages"], 1)
        if strange > MAX_STRANGE_SHARE:
            words += f"; WARNING: {strange:.0%} of the pages are unlike those that the router was trained on"
            words += ": train it on pages like them with `parsl train-router`"
        return words


def campaign(budget: str, num_documents: int, num_shards: int = 1) -> Campaign:
    """A campaign from the setting: seconds a document, a share of the pages, or hours of a processor in all."""
    found = BUDGET.fullmatch(budget)
    assert found is not None
    number = float(found["number"])
    match found["unit"]:
        case "s":
            return Campaign(num_documents, total=number * num_documents)
        case "%":
            return Campaign(num_documents, page_share=number / 100)
    return Campaign(num_documents, total=3600 * number / num_shards)


def _reason(page: Page, gain: float, parser: str | None) -> str:
    if page.verdict == "empty":
        return "empty"
    if page.verdict in RULES:
        return page.verdict if parser else f"{page.verdict}, price"
    if parser:
        return "gain"
    return "price" if gain > 0 else "no gain"
