"""The most scientific text per second: the router against single parsers, rules of others, chance and the oracle.

    python -m benchmarks.parse [--data DIR] [--quick] [--only text|papers|generated|budget|hostile|memory]

Papers are those of DIR (laid out like ../shared/data/pdf-gold), degraded pages those of them that are not as they were
published, generated pages those of `stages.parse.train`; hostile files and memory are whole runs (`parse_runs`). Budgets are
shares of the seconds that the best single parser takes for all pages; every policy gets the same measured seconds. What an
OCR engine reads is kept in build/parse-readings, so that a second run takes a minute; the first takes about 5 seconds of
a processor a page and engine. LiteParse's rule is compared where `pip install --no-deps liteparse` was run.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.parse_policies import (
    Field,
    Move,
    adaparse,
    by_rate,
    chance,
    flagged,
    mean,
    router,
    rules_only,
)
from benchmarks.parse_runs import hostile, memory
from benchmarks.parse_text import text_tier
from benchmarks.table import Comparison, Options, main
from stages.parse import PARSERS
from stages.parse.parsers import lacking
from stages.parse.router.model import MIN_GAIN, Model, load
from stages.parse.router.price import Campaign, Document, steps
from stages.parse.train.fit import Labelled, label, train
from stages.parse.train.gold import papers
from stages.parse.train.pages import Known, generated
from stages.parse.train.readings import Readings
from stages.parse.train.typeset import FAMILIES, held_out

DATA = Path(__file__).parents[1].parent / "shared" / "data" / "pdf-gold"
BUILD = Path(__file__).parents[1] / "build"
BUDGETS = (0.02, 0.05, 0.1, 0.2, 0.5)
SEEDS = 5
NUM_GENERATED, QUICK_GENERATED = 240, 80
NUM_TRAINING, QUICK_TRAINING = 900, 300  # generated pages that no engine reads, for what a text layer is worth
PICTURES = ("scan-clean", "scan-noisy", "scan-lowres")
PUBLISHED = ("born-digital", "rotated")
PARTS = ("text", "papers", "generated", "budget", "hostile", "memory")
BATCHES = (1, 4, 16, 64, 256)
FREE_SECONDS = 0.005  # of the free pass, a page: see the text tier


def parsers() -> tuple[str, ...]:
    """The parsers of this machine that the router knows."""
    return tuple(p for p in PARSERS if p in load().parsers and not lacking([p], None))


def labelled(pages: Iterable[Known]) -> list[Labelled]:
    """Pages, read by every engine and scored."""
    readings = Readings(BUILD / "parse-readings")
    names = parsers()
    return [label(k, {n: readings.read(k.path, k.index, n) for n in names}) for k in pages]


def run(options: Options) -> Iterator[Comparison]:
    """All parts, or those asked for."""
    parts = options.only or PARTS
    folder = options.data or DATA
    if "text" in parts and folder.is_dir():
        yield from text_tier(folder)
    if "papers" in parts and folder.is_dir():
        rows = labelled(papers(folder, 24 if options.quick else 10**9))
        yield from by_kind(rows)
        yield from compare("papers", Field.of(rows, parsers()), load())
        degraded = [r for r in rows if r.known.kind not in PUBLISHED]
        if degraded:
            yield from compare("degraded", Field.of(degraded, parsers()), load())
        yield from routed(rows)
    if {"generated", "budget"} & set(parts):
        count = QUICK_GENERATED if options.quick else NUM_GENERATED
        rows = labelled(generated(BUILD / "parse-pages", count))
        if "generated" in parts:
            more = generated(
                BUILD / "parse-pages", QUICK_TRAINING if options.quick else NUM_TRAINING, seed=1, pixels=False
            )
            yield from generalizes(rows, [label(k, {}) for k in more])
        if "budget" in parts:
            yield from kept(rows)
    if "hostile" in parts:
        yield from hostile(quick=options.quick)
    if "memory" in parts and folder.is_dir():
        yield from memory(folder, quick=options.quick)


def by_kind(rows: Sequence[Labelled]) -> Iterator[Comparison]:
    """Mean quality of the text layer against each parser's, by kind of page."""
    for kind in sorted({r.known.kind for r in rows}):
        alike = [r for r in rows if r.known.kind == kind]
        layer = float(np.mean([r.layer for r in alike]))
        for name in parsers():
            theirs = float(np.mean([r.read[name][0] for r in alike]))
            yield _quality(f"{kind}, {len(alike)} pages: text layer", name, layer, theirs)


def compare(what: str, field: Field, model: Model) -> Iterator[Comparison]:
    """Quality at equal seconds against every other policy, the oracle's share, and throughput at a parser's quality."""
    best = field.best_parser
    total = float(field.seconds[:, best].sum())
    ours = router(field, model)
    rivals = dict(_rivals(field, model, best))
    for budget in BUDGETS:
        mine = field.followed(ours, budget * total)
        for name, orders in rivals.items():
            theirs = mean(len(orders), lambda i, o=orders, b=budget: field.followed(o[i], b * total))  # type: ignore[misc]
            yield _quality(f"{what}: quality at {budget:.0%} of the seconds", name, mine, theirs)
    yield share(what, field, model)
    yield from _throughput(what, field, ours, best)


def _rivals(field: Field, model: Model, best: int) -> Iterator[tuple[str, Sequence[Sequence[Move]]]]:
    for p, name in enumerate(field.parsers):
        yield f"{name} on pages at random", [chance(field, p, s) for s in range(SEEDS)]
    for p, name in enumerate(field.parsers):
        yield f"AdaParse's rule as released, {name}", [adaparse(field, model, p, by_gain=False)]
        yield f"AdaParse's rule as published, {name}", [adaparse(field, model, p, by_gain=True)]
    yield (
        f"rules without a router, {field.parsers[best]}",
        [flagged(field, rules_only(field), best, s) for s in range(SEEDS)],
    )
    flags = liteparse_flags(field)
    if flags is not None:
        for p, name in enumerate(field.parsers):
            yield f"LiteParse's needs_ocr, {name}", [flagged(field, flags, p, s) for s in range(SEEDS)]


def liteparse_flags(field: Field) -> list[bool] | None:
    """LiteParse's verdict on every page; None where it is not installed."""
    try:
        from liteparse import LiteParse
    except ImportError:
        print("LiteParse is not compared: pip install --no-deps liteparse", file=sys.stderr)
        return None
    parser = LiteParse(ocr_enabled=False)
    found: dict[Path, list[bool]] = {}
    for row in field.rows:
        if row.known.path not in found:
            found[row.known.path] = [p.needs_ocr for p in parser.is_complex(str(row.known.path))]
    return [found[r.known.path][r.known.index] for r in field.rows]


def _quality(what: str, peer: str, ours: float, theirs: float) -> Comparison:
    return Comparison(what, peer, round(ours, 4), round(theirs, 4), "quality", ours / max(theirs, 1e-9), equal=None)


def share(what: str, field: Field, model: Model) -> Comparison:
    """The part of the oracle's gain that the router has where both may read a tenth of the pages."""
    most = 0.1 * len(field.rows)
    by_gain = by_rate(field.gains, np.ones_like(field.gains))
    expected = model.expect([r.page for r in field.rows], field.parsers)
    ours = by_rate(expected.gains, np.ones_like(expected.gains))
    base = float(field.layer.mean())
    top = field.followed(by_gain, np.inf, most) - base
    mine = field.followed(ours, np.inf, most) - base
    return Comparison(
        f"{what}: gain with 10 % of the pages", "the oracle", mine, top, "quality", mine / max(top, 1e-9), None
    )


def _throughput(what: str, field: Field, ours: Sequence[Move], best: int) -> Iterator[Comparison]:
    """Seconds for the quality that the best single parser has: all pages by it, against the fewest of the router's.

    Beside it stands what the pages allow: an oracle that knows every gain, and reads no page that it need not. More
    than that no router can have with these parsers.
    """
    goal, total = float(field.quality[:, best].mean()), float(field.seconds[:, best].sum())
    free = FREE_SECONDS * len(field.rows)
    mine = free + min(_fewest(field, ours, goal), total)
    name = f"{field.parsers[best]} on every page ({goal:.3f})"
    yield Comparison(f"{what}: seconds for the quality of the best parser", name, mine, total, "s", total / mine, None)
    bound = total / (free + _fewest(field, by_rate(field.gains, field.seconds), goal))
    needed = float((field.gains > MIN_GAIN).any(axis=1).mean())
    yield Comparison(
        f"{what}: that speed-up, against all that is possible",
        f"the oracle ({needed:.0%} of the pages gain by OCR)",
        total / mine,
        bound,
        "x",
        total / mine / bound,
        None,
    )


def _fewest(field: Field, moves: Sequence[Move], goal: float) -> float:
    """The seconds after which a policy's mean quality is at `goal`; infinite if it never is."""
    chosen = field.layer.copy()
    at = np.zeros(len(field.rows))
    for page, parser in moves:
        if chosen.mean() >= goal:
            break
        chosen[page], at[page] = field.quality[page, parser], field.seconds[page, parser]
    return float(at.sum()) if chosen.mean() >= goal else np.inf


def routed(rows: Sequence[Labelled]) -> Iterator[Comparison]:
    """With all the seconds there are: pictures that are read, and good pages that are read for nothing."""
    model, names = load(), parsers()
    expected = model.expect([r.page for r in rows], names)
    sent = (expected.gains > 0).any(axis=1)
    scans = [i for i, r in enumerate(rows) if r.known.kind in PICTURES]
    good = [i for i, r in enumerate(rows) if r.known.kind in PUBLISHED and r.layer > 0.5]
    needless = [i for i in good if max(q for q, _ in rows[i].read.values()) <= rows[i].layer]
    if scans:
        yield Comparison(
            "scanned pages read", "goal", float(sent[scans].mean()), 0.98, "share", sent[scans].mean() / 0.98, None
        )
    if needless:
        found = float(sent[needless].mean())
        yield Comparison(
            "good pages read needlessly", "goal, at most", found, 0.02, "share", 0.02 / max(found, 1e-3), None
        )
    strange = float(expected.strange.mean())
    yield Comparison(
        "pages unlike the training's", "alarm, above", strange, 0.2, "share", 0.2 / max(strange, 1e-3), None
    )


def generalizes(rows: Sequence[Labelled], more: Sequence[Labelled]) -> Iterator[Comparison]:
    """Families of layouts that the router has not seen: five splits, a model trained for each on `rows` and `more`."""
    shares, found = [], []
    for seed in range(SEEDS):
        out = set(held_out(list(FAMILIES), seed))
        model = train([r for r in [*rows, *more] if r.known.group not in out], parsers())
        field = Field.of([r for r in rows if r.known.group in out], parsers())
        found += list(compare(f"held-out layouts {seed}", field, model))
        shares.append(share("", field, model).ratio)
    for seed, part in enumerate(shares):
        yield Comparison(
            f"held-out layouts {seed}: share of the oracle's gain", "goal", part, 0.5, "share", part / 0.5, None
        )
    for what, peer in dict.fromkeys((f.what.partition(": ")[2], f.peer.partition(" (")[0]) for f in found):
        alike = [f for f in found if (f.what.partition(": ")[2], f.peer.partition(" (")[0]) == (what, peer)]
        ours, theirs = (float(np.mean([getattr(f, side) for f in alike])) for side in ("ours", "theirs"))
        ratio = theirs / ours if alike[0].unit == "s" else ours / max(theirs, 1e-9)
        yield Comparison(f"held-out layouts: {what}", peer, ours, theirs, alike[0].unit, ratio, None)


def kept(rows: Sequence[Labelled]) -> Iterator[Comparison]:
    """Seconds spent of a budget where documents come so many at a time, against AdaParse's rule on as many pages."""
    names = parsers()
    expected = load().expect([r.page for r in rows], names)
    rng = np.random.default_rng(0)
    picks = [rng.integers(0, len(rows), 8) for _ in range(1500)]
    documents = [Document(tuple(steps(expected.gains[p], expected.seconds[p])), len(p)) for p in picks]
    budget = 0.05 * sum(float(expected.seconds[p].max(axis=1).sum()) for p in picks)
    for batch in BATCHES:
        campaign = Campaign(len(documents), total=budget)
        for number, document in enumerate(documents):
            campaign.see(document)
            if number >= batch:
                campaign.decide()
        for _ in range(min(batch, len(documents))):
            campaign.decide()
        pages = batch * 8
        rule = int(pages * 0.05) / (pages * 0.05)
        mine = campaign.spent / budget
        yield Comparison(
            f"budget spent, {batch} documents at a time",
            "AdaParse's int(k alpha)",
            mine,
            rule,
            "share",
            mine / max(rule, 1e-3),
            None,
        )


if __name__ == "__main__":
    main("parse", run, PARTS)
