"""Each shard's part of a budget, from one sample over all shards, so that they spend it as if at one price.

From the free pass and the router's expectation on documents drawn in each shard follows the price at which all documents
spend the whole budget. A shard's part goes by what its documents spend at that price: those drawn as they are, each other
one as the mean of the shard's drawn ones and of one more, which is as the documents of all shards are. That one more is the
least that a shard gets of which nothing gains that was drawn. Parts are whole thousandths of a second, or of a page where the
budget is a share of the pages; then the pages of all documents are counted first. They add up to the budget.

What is given up: parts are as good as the sample, and what a shard cannot spend is not spent elsewhere.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc

from schemas.corpus import Allotment, SourceFile
from schemas.table import ContractError
from stages.parse import Parse
from stages.parse.router import SAMPLE
from stages.parse.router.pilot import layers, readable, sample
from stages.parse.router.price import Document
from stages.parse.router.route import amount_of, document, weights
from stages.parse.router.trees import Floats
from stages.tables import Reader

THOUSANDTHS = 1000


class Price(NamedTuple):
    """The gain a second from which on steps are bought, and the share of those that gain just this much."""

    rate: float
    share: float


@dataclass
class Drawn:
    """A shard's PDFs, by their row numbers among all sources, and what was seen of those that were drawn."""

    pdfs: Sequence[int]
    numbers: Sequence[int]
    documents: list[Document] = field(default_factory=list)
    num_pages: int = 0
    """Of all its PDFs, where they were counted; else of those drawn."""

    def cost(self, price: Price) -> float:
        """What the drawn documents spend at a price."""
        steps = [s for d in self.documents for s in d.steps if s.rate >= price.rate]
        return sum(s.seconds * (1.0 if s.rate > price.rate else price.share) for s in steps)


def part(stage: Parse, sources: Reader, shard: tuple[int, int], allotment: Reader | None) -> float | None:
    """What a shard has of the budget, in seconds or pages; None where it has the whole, or there is a price instead.

    Without an `allotment`, every shard finds the same one for itself. `ContractError` for that of another division.
    """
    index, count = shard
    if stage.budget is None or (count == 1 and allotment is None):
        return None
    if allotment is None:
        print(
            f"parse: {count} shards, no --allotment: each draws the same sample; stages.allot does it once", flush=True
        )
        return divide(stage, Reader(sources.folder, SourceFile), count)[index].part
    rows: list[Allotment] = list(allotment.rows())
    problems = [
        f"{name}: expected {expected}, found {', '.join(map(str, found)) or 'nothing'}"
        for name, expected, found in (
            ("shards", count, sorted({r.num_shards for r in rows})),
            ("parse.budget", stage.budget, sorted({r.budget for r in rows})),
        )
        if found != [expected]
    ]
    if problems or len(rows) != count:
        cure = f"divide the budget anew: python -m stages.allot, with num_shards {count} and this parse's settings"
        raise ContractError(f"the allotment {allotment.folder}", [*problems, cure])
    return rows[index].part


def divide(stage: Parse, sources: Reader, num_shards: int, num_documents: int = SAMPLE) -> list[Allotment]:
    """The parts of `stage.budget`, a row a shard, from `num_documents` drawn of each shard of all `sources`."""
    amount, unit = amount_of(stage.budget)
    shards = _drawn(sources, num_shards, num_documents)
    _look(stage, sources, shards, by_page=unit == "%")
    whole = amount * {"s": sources.num_rows, "%": sum(s.num_pages for s in shards), "h": 1}[unit]
    price = clearing_price(shards, whole)
    parts = apportioned(whole, expected_costs(shards, price))
    return [
        Allotment(
            shard=index, num_shards=num_shards, budget=stage.budget or "", num_documents=len(shard.pdfs),
            num_drawn=len(shard.numbers), num_pages=sum(d.num_pages for d in shard.documents),
            cost=shard.cost(price), price=price.rate, part=part,
        )
        for index, (shard, part) in enumerate(zip(shards, parts, strict=True))
    ]  # fmt: skip


def clearing_price(shards: Sequence[Drawn], whole: float) -> Price:
    """The price at which the documents of all shards spend the whole, each drawn one standing for others of its shard."""
    left = whole
    steps = (
        (step.rate, step.seconds * len(shard.pdfs) / len(shard.documents))
        for shard in shards
        for found in shard.documents
        for step in found.steps
    )
    for rate, alike in itertools.groupby(sorted(steps, reverse=True), key=itemgetter(0)):
        seconds = sum(s for _, s in alike)
        if seconds > left:
            return Price(rate, left / seconds)
        left -= seconds
    return Price(0.0, 0.0)


def expected_costs(shards: Sequence[Drawn], price: Price) -> Floats:
    """What each shard's documents are expected to spend at a price."""
    drawn = np.array([len(s.documents) for s in shards], dtype=float)
    costs = np.array([s.cost(price) for s in shards])
    all_documents = np.array([len(s.pdfs) for s in shards], dtype=float)
    mean = float((costs / np.maximum(drawn, 1)) @ all_documents / max(all_documents.sum(), 1))
    found: Floats = costs + (all_documents - drawn) * (costs + mean) / (drawn + 1)
    return found if found.sum() > 0 else np.maximum(all_documents, all_documents.sum() == 0)


def apportioned(whole: float, weights: Floats) -> list[float]:
    """The whole in parts that go by the weights, rounded so that their thousandths add up to its thousandths."""
    ends = np.concatenate([[0.0], np.cumsum(weights) / weights.sum()])
    ends[-1] = 1.0
    return [float(part) / THOUSANDTHS for part in np.diff(np.rint(ends * np.rint(whole * THOUSANDTHS)))]


def _drawn(sources: Reader, num_shards: int, num_documents: int) -> list[Drawn]:
    """Which documents are drawn of each shard, whose rows are those that a `Reader` of the shard has."""
    masks = [
        pc.and_(pc.equal(b["media_type"], "application/pdf"), pc.is_valid(b["blob"]))
        for b in sources.batches(["media_type", "blob"])
    ]
    pdfs = np.flatnonzero(np.concatenate([[], *(m.to_numpy(zero_copy_only=False) for m in masks)]))
    found = []
    for index in range(num_shards):
        shard = Reader(sources.folder, SourceFile, (index, num_shards))
        mine = pdfs[np.searchsorted(pdfs, shard.start) : np.searchsorted(pdfs, shard.stop)].tolist()
        found.append(Drawn(mine, sample(mine, num_documents)))
    return found


def _look(stage: Parse, sources: Reader, shards: Sequence[Drawn], *, by_page: bool) -> None:
    """What is expected of the drawn documents' pages after the free pass; `by_page`, the pages of all others are counted."""
    model, names = weights(stage), stage.reader_names()
    documents: dict[int, Document] = {}
    drawn = {n for shard in shards for n in shard.numbers}
    others = {n: shard for shard in shards for n in shard.pdfs if n not in drawn} if by_page else {}
    for number, source_id, pages in layers(stage, sources, sorted(drawn | others.keys()), others):
        if number in drawn:
            documents[number] = document(source_id, model.expect(readable(pages), names), by_page=by_page)
        elif pages:
            others[number].num_pages += min(len(pages.pages), stage.max_pages)
    for shard in shards:
        shard.documents = [documents[n] for n in shard.numbers]
        shard.num_pages += sum(d.num_pages for d in shard.documents)
