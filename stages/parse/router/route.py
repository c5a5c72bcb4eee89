"""Routes: documents in, in order; out, in order, which of their pages are read again, by whom, and why.

Rules come first, with the verdict of `garble.judge` as their reason; they settle what a text layer without text is worth,
and that an empty page stays empty. All else is the model's expectation and the campaign's price.
"""

import hashlib
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from schemas.corpus import Route
from stages.base import SettingsError
from stages.parse import BUDGET, Parse
from stages.parse.lines import Page
from stages.parse.parsers import cost
from stages.parse.router.model import MAX_STRANGE_SHARE, Expected, Model, load
from stages.parse.router.price import AHEAD, Campaign, Document, steps

TIE, GOLDEN = 1e-3, 0.618034
CHEAP = 0.01  # of a page that is read from its picture: what another look at its layer counts
RULES = ("no text", "garbled", "suspect")


class Choice(NamedTuple):
    """A page's parser (None: its text layer stays), and the row that says why."""

    page: int
    parser: str | None
    route: Route


class Router:
    """Decides, by what a model expects, which pages a campaign has read again by which of `parsers`."""

    def __init__(self, model: Model, parsers: Sequence[str], campaign: Campaign) -> None:
        self.model, self.parsers, self.campaign = model, tuple(parsers), campaign
        self.counts: Counter[str] = Counter()
        self._waiting: deque[tuple[str, Sequence[Page], Expected]] = deque()
        self._num_seen = self._num_decided = 0

    def see(self, doc_id: str, pages: Sequence[Page]) -> None:
        """The next document was read; it has no pages if it is no PDF."""
        read = [p for p in pages if p.features]
        expected = self.model.expect(read, self.parsers)
        self.campaign.see(document(doc_id, expected, by_page=self.campaign.by_page))
        self._waiting.append((doc_id, read, expected))
        self._num_seen += 1
        self.counts.update(pages=len(read), strange=int(expected.strange.sum()))

    @property
    def can_decide(self) -> bool:
        """Whether enough is known to decide the next document."""
        waiting = self._num_seen - self._num_decided
        ahead = 0 if self.campaign.is_fixed else AHEAD
        return waiting > 0 and (self._num_seen == self.campaign.num_documents or waiting > ahead)

    def decide(self) -> list[Choice]:
        """The choice for each page of the next document that the free pass could read."""
        chosen = self.campaign.decide()
        doc_id, pages, expected = self._waiting.popleft()
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
        unit = "pages" if campaign.by_page else "s expected"
        spent = f"{campaign.spent:.1f}" + ("" if campaign.is_fixed else f" of {campaign.budget:.1f}")
        words = f"router: {spent} {unit} spent, {'' if campaign.is_fixed else 'last '}price {campaign.price:.3g}"
        strange = self.counts["strange"] / max(self.counts["pages"], 1)
        if strange > MAX_STRANGE_SHARE:
            words += f"; WARNING: {strange:.0%} of the pages are unlike those that the router was trained on"
            words += ": train it on pages like them with `parsl train-router`"
        return words


def document(doc_id: str, expected: Expected, *, by_page: bool = False) -> Document:
    """What a document's pages may gain; with `by_page`, each page that is read from its picture costs one.

    Pages that are expected to gain alike get gains apart by a hair, so that a price lies between any two of them.
    """
    digest = hashlib.sha256(doc_id.encode()).digest()
    hair = 1 + TIE * ((int.from_bytes(digest[:6]) / 2**48 + np.arange(len(expected.layer))[:, None] * GOLDEN) % 1)
    pages = [CHEAP if cost(p) == "text" else 1.0 for p in expected.parsers]
    seconds = np.broadcast_to(pages, expected.seconds.shape) if by_page else expected.seconds
    return Document(tuple(steps(expected.gains * hair, seconds)), len(expected.layer))


def weights(stage: Parse) -> Model:
    """The router's weights; `SettingsError` where they do not know a parser that the budget may be spent on."""
    model = load(Path(stage.weights).expanduser()) if stage.weights else load()
    if unknown := [name for name in stage.reader_names() if name not in model.parsers]:
        known = ", ".join(model.parsers)
        raise SettingsError(
            f"parse.parsers: the router has not learned {', '.join(unknown)}, it knows {known}; parsl train-router teaches it"
        )
    return model


def campaign(budget: str | None, price: float | None, num_documents: int, part: float | None = None) -> Campaign:
    """A campaign from the settings: a price, or a budget, of which a shard has `part` seconds or pages (None: all)."""
    if price is not None:
        return Campaign(num_documents, fixed_price=price)
    amount, unit = amount_of(budget)
    if part is not None:
        return Campaign(num_documents, total=part, by_page=unit == "%")
    if unit == "%":
        return Campaign(num_documents, page_share=amount)
    return Campaign(num_documents, total=amount * (num_documents if unit == "s" else 1))


def amount_of(budget: str | None) -> tuple[float, str]:
    """A budget's seconds a document (`s`), seconds in all (`h`) or share of the pages (`%`), and which of them it is."""
    found = BUDGET.fullmatch(budget or "")
    assert found is not None
    number, unit = float(found["number"]), found["unit"]
    return (number / 100 if unit == "%" else number * (3600 if unit == "h" else 1)), unit


def _reason(page: Page, gain: float, parser: str | None) -> str:
    if page.verdict == "empty":
        return "empty"
    if page.verdict in RULES:
        return page.verdict if parser else f"{page.verdict}, price"
    if parser:
        return "gain"
    return "price" if gain > 0 else "no gain"
