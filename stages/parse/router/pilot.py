"""A pilot: what a budget would buy, seen on a sample of the sources by the free pass, before anything is spent.

A sample of documents tells the price at which all shards of a campaign spend the budget together, with an interval; the
free pass over all of them tells it as exactly as the router knows its seconds.
"""

import random
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from schemas.corpus import SourceFile
from schemas.table import ContractError
from stages.base import SettingsError, num_workers
from stages.parse import Parse
from stages.parse.lines import Page
from stages.parse.pool import Limits, Pool
from stages.parse.router.curve import Curve, Interval
from stages.parse.router.route import amount_of, document, weights
from stages.parse.worker import ReadTask, Unfinished, work
from stages.tables import Reader

NUM_LINES = 9


class Pilot(NamedTuple):
    """A sample's curve, how many documents there are in all, and the share of its pages that the router does not know."""

    curve: Curve
    num_documents: int
    strange: float


def run(stage: Parse, sources: Reader, count: int | None) -> Pilot:
    """Read the layers of `count` documents drawn from all (None: of every one); `SettingsError` where there is none."""
    model, names = weights(stage), stage.reader_names()
    found = {}
    for number, source_id, pages in layers(stage, sources, sample(range(sources.num_rows), count)):
        expected = model.expect(readable(pages), names)
        found[number] = document(source_id, expected), float(expected.layer.sum()), int(expected.strange.sum())
    documents, qualities, strange = zip(*(found[n] for n in sorted(found)), strict=True) if found else ((), (), ())
    num_pages = sum(d.num_pages for d in documents)
    if not num_pages:
        raise SettingsError("parse: there is no page of a PDF among these sources, so a budget buys nothing")
    return Pilot(Curve(documents, qualities), sources.num_rows, sum(strange) / num_pages)


def price(stage: Parse, pilot: Pilot) -> float | None:
    """The price that spends the stage's budget; None without a budget."""
    if stage.price is not None:
        return stage.price
    if stage.budget is None:
        return None
    amount, unit = amount_of(stage.budget)
    if unit == "%":
        return pilot.curve.price_of_pages(amount)
    return pilot.curve.price(amount / (1 if unit == "s" else pilot.num_documents))


def lines(stage: Parse, pilot: Pilot) -> Iterator[str]:
    """The curve as text, and where the budget lies on it."""
    curve, mine = pilot.curve, price(stage, pilot)
    yield f"{curve.num_documents} of {pilot.num_documents} documents, {curve.pages[0]:.0f} pages; intervals hold 95 of 100"
    yield f"{'price':>10}  {'s a document':>20}  {'pages read again':>20}  {'quality expected':>20}"
    points = [(p, "") for p in dict.fromkeys(curve.prices(NUM_LINES))] + (
        [(mine, "  <- set")] if mine is not None else []
    )
    for at, mark in sorted(points, reverse=True):
        cells = (
            _words(curve.seconds(at), ".3g"),
            _words(curve.share_of_pages(at), ".1%"),
            _words(curve.quality(at), ".3f"),
        )
        yield f"{at:>10.4g}  " + "  ".join(f"{c:>20}" for c in cells) + mark
    if mine is not None and stage.price is None:
        yield f"one price for all shards that spends this: --set parse.price={mine:.9g} in place of parse.budget"
    if pilot.strange:
        yield f"{pilot.strange:.0%} of the pages are unlike those that the router was trained on"


def _words(interval: Interval, form: str) -> str:
    return f"{interval.value:{form}} ({interval.low:{form}}..{interval.high:{form}})"


def sample(numbers: Sequence[int], count: int | None) -> Sequence[int]:
    """Some of the numbers in their order, the same ones every time; all of them without a count."""
    if count is None or count >= len(numbers):
        return numbers
    return sorted(random.Random(0).sample(numbers, count))  # noqa: S311 - a sample, no secret


def readable(pages: Unfinished | None) -> list[Page]:
    """Those of a document's pages that the free pass could read."""
    return [p for p in pages.pages if p.features] if pages else []


def layers(
    stage: Parse, sources: Reader, drawn: Sequence[int], counted: Collection[int] = ()
) -> Iterator[tuple[int, str, Unfinished | None]]:
    """The free pass over those of the sources, as they are ready; None for what is no PDF or cannot be read.

    `drawn` are row numbers in rising order; pages of those that are `counted` too are not read, only numbered.
    """
    limits = Limits(stage.page_seconds, stage.document_seconds, stage.max_memory_bytes)
    names: dict[int, str] = {}
    with Pool(work, num_workers(), limits) as pool:
        for number, row in _rows(sources, drawn):
            task = _task(stage, sources, number, row)
            if task is None:
                yield number, row.source_id, None
                continue
            names[number] = row.source_id
            pool.submit(replace(task, max_pages=0) if number in counted else task)
            while pool.num_tasks > 4 * num_workers():
                yield from _answers(pool, names)
        while pool.num_tasks:
            yield from _answers(pool, names)


def _rows(sources: Reader, drawn: Sequence[int]) -> Iterator[tuple[int, SourceFile]]:
    """Some of the rows, with their numbers."""
    first = 0
    for batch in sources.batches():
        here = drawn[bisect_left(drawn, first) : bisect_left(drawn, first + batch.num_rows)]
        for number, fields in zip(here, batch.take([n - first for n in here]).to_pylist(), strict=True):
            yield number, SourceFile.model_validate(fields)
        first += batch.num_rows


def _task(stage: Parse, sources: Reader, number: int, row: SourceFile) -> ReadTask | None:
    if row.media_type != "application/pdf" or row.blob is None:
        return None
    try:
        path = str(sources.open_path(row.blob))
    except ContractError:  # the file has changed: parse drops it
        return None
    task = ReadTask(number, row.media_type, path, None, stage.max_pages, stage.min_chars, ocr=True, route=True)
    return replace(task, stored=row.stored, digest=row.source_id)


def _answers(pool: Pool, names: dict[int, str]) -> Iterator[tuple[int, str, Unfinished | None]]:
    for task, answer in pool.answers():
        yield task.index, names.pop(task.index), answer if isinstance(answer, Unfinished) else None
