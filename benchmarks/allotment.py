"""A budget divided over shards: what an allotment gains, equal parts, one campaign over all in order, and the ideal.

    python -m benchmarks.allotment [--data DIR] [--quick] [--only papers|made]

Gains and seconds are those that the router expects. Of the papers of DIR (laid out like ../shared/data/pdf-gold), read once by the
free pass, documents are drawn with replacement, shard by shard: `half` has papers as they were published in every other
shard and their damaged copies in the others, `few` damaged copies in the first shard alone and one in a hundred elsewhere,
`alike` one in five everywhere. Made ones have 1 to 40 pages, and from no document to all of a shard that gain. Budgets are
shares of the seconds that all pages which gain would take. Campaigns see documents come one by one, as parse does; that
over all shards takes those to come for what the first ones are. The ideal has seen all documents before it decides.
"""

import csv
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.table import Comparison, Options, main
from stages.parse import pdf
from stages.parse.router import SAMPLE
from stages.parse.router.allotment import Drawn, apportioned, clearing_price, expected_costs
from stages.parse.router.model import load
from stages.parse.router.pilot import sample
from stages.parse.router.price import AHEAD, Campaign, Document, Step
from stages.parse.router.route import document

DATA = Path(__file__).parents[1].parent / "shared" / "data" / "pdf-gold"
PUBLISHED = ("born-digital", "rotated")
PARSERS = ("layout", "rapidocr")
SHARDS, QUICK_SHARDS = ((2, 3000), (8, 2000), (64, 1000)), ((2, 1000), (8, 600))
SHARES = (0.05, 0.2, 0.5, 0.8)
PARTS = ("papers", "made")
KINDS: dict[str, Callable[[int], float]] = {
    "half": lambda shard: float(shard % 2),
    "few": lambda shard: 1.0 if shard == 0 else 0.01,
    "alike": lambda _: 0.2,
}  # the share of a shard's documents that are damaged

Shards = list[list[Document]]


def run(options: Options) -> Iterator[Comparison]:
    """Both parts, or the one asked for."""
    parts, folder = options.only or PARTS, options.data or DATA
    sizes = QUICK_SHARDS if options.quick else SHARDS
    pools: dict[str, tuple[list[Document], list[Document]]] = {}
    if "papers" in parts and folder.is_dir():
        pools["papers"] = _papers(folder)
    if "made" in parts:
        pools["made"] = _made()
    for name, pool in pools.items():
        for kind, damaged in KINDS.items():
            for num_shards, num_documents in sizes:
                rng = random.Random(num_shards)
                shards = [
                    [rng.choice(pool[rng.random() < damaged(n)]) for _ in range(num_documents)]
                    for n in range(num_shards)
                ]
                yield from _compared(f"{name}, {kind}, {num_shards} shards of {num_documents}", shards)


def _compared(what: str, shards: Shards) -> Iterator[Comparison]:
    everything = [d for shard in shards for d in shard]
    most = sum(s.seconds for d in everything for s in d.steps)
    for share in SHARES:
        whole = share * most
        gain, spent = _spend(shards, _parts(shards, whole))
        equal, _ = _spend(shards, [whole / len(shards)] * len(shards))
        one, _ = _spend([everything], [whole])
        ideal = _best(everything, whole)
        for peer, theirs in (("equal parts", equal), ("one campaign in order", one), ("the ideal", ideal)):
            yield Comparison(f"{what}, budget {share:.0%}", peer, gain, theirs, "gain", gain / theirs, equal=None)
        kept = 0.98 * whole <= spent <= whole * (1 + 1e-9)
        yield Comparison(f"{what}, budget {share:.0%}", "the budget", spent, whole, "s", spent / whole, equal=kept)


def _parts(shards: Shards, whole: float) -> list[float]:
    seen = []
    for shard in shards:
        numbers = sample(range(len(shard)), SAMPLE)
        seen.append(Drawn(range(len(shard)), numbers, [shard[n] for n in numbers]))
    return apportioned(whole, expected_costs(seen, clearing_price(seen, whole)))


def _spend(shards: Shards, parts: Sequence[float]) -> tuple[float, float]:
    """Gain and seconds of a campaign a shard."""
    gain = seconds = 0.0
    for shard, part in zip(shards, parts, strict=True):
        campaign = Campaign(len(shard), total=part)
        for number, found in enumerate(shard):
            campaign.see(found)
            if number >= AHEAD:
                gain += _gain(shard[number - AHEAD], campaign.decide())
        for found in shard[max(len(shard) - AHEAD, 0) :]:
            gain += _gain(found, campaign.decide())
        seconds += campaign.spent
    return gain, seconds


def _best(documents: Sequence[Document], whole: float) -> float:
    """The gain of the best rates of all documents that the seconds buy."""
    rates, seconds = np.array(sorted(((s.rate, s.seconds) for d in documents for s in d.steps), reverse=True)).T
    return float((rates * seconds)[np.cumsum(seconds) <= whole].sum())


def _gain(found: Document, chosen: dict[int, int]) -> float:
    """What the chosen parsers add, with the steps below them."""
    gain, done = 0.0, set()
    for step in found.steps:
        if step.page in chosen and step.page not in done:
            gain += step.rate * step.seconds
            if step.parser == chosen[step.page]:
                done.add(step.page)
    return gain


def _papers(folder: Path) -> tuple[list[Document], list[Document]]:
    """What is expected of the papers as they were published, and of the others."""
    found: tuple[list[Document], list[Document]] = ([], [])
    for row in csv.DictReader((folder / "manifest.csv").read_text().splitlines()):
        file = folder / row["file"]
        try:
            opened = pdf.open_pdf(str(file))
        except pdf.PdfError:
            continue
        pages = [page for n in range(len(opened)) if (page := pdf.read_page(opened, n)).features]
        opened.close()
        found[row["kind"] not in PUBLISHED].append(document(row["file"], load().expect(pages, PARSERS)))
    return found


def _made(count: int = 2000) -> tuple[list[Document], list[Document]]:
    """Documents of which a page in fifty gains a little, and documents all of whose pages gain much."""
    rng = np.random.default_rng(0)

    def one(share: float, low: float, high: float) -> Document:
        pages = int(np.clip(rng.lognormal(2, 0.7), 1, 40))
        gaining = np.flatnonzero(rng.random(pages) < share).tolist()
        seconds = rng.uniform(1.5, 6, pages)
        rates = rng.uniform(low, high, pages) / seconds
        return Document(tuple(Step(float(rates[n]), float(seconds[n]), n, 0) for n in gaining), pages)

    return [one(0.02, 0.05, 0.4) for _ in range(count)], [one(1.0, 0.3, 0.8) for _ in range(count)]


if __name__ == "__main__":
    main("allotment", run, PARTS)
