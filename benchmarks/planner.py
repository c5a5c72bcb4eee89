"""Predicted against published tokens a second, one source left out at a time; the peer is a constant utilization.

The peer takes six operations a weight and token and twelve an attended position, at the median utilization of the other sources'
runs on that device: what `parsl plan` said before. Ours fits one number a device from the same runs (the efficiency of products).
`ours` and `theirs` are median errors; `equal` says that nothing which ran out of memory was let through. The last row also fits the
constants that all devices share without the source that is predicted, from a grid.
"""

import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from unittest import mock

from benchmarks.table import Comparison, Options, main
from tests.workflows.plan.published import Published, errors, fit, implied_efficiency, left_out, published
from workflows.plan import speed
from workflows.plan.choose import judge
from workflows.plan.machine import ACCELERATORS

GRID = ((0.35, 0.5, 0.7), (0, 50, 100, 200, 400), (0.5, 0.7, 0.9))  # attention, half width, overlap on NVIDIA


def run(_options: Options) -> Iterator[Comparison]:
    """A row a source, then all rows together, and the efficiencies that all sources give."""
    rows = published()
    ran = [row for row in rows if row.ran]
    ours: list[float] = []
    theirs: list[float] = []
    for source in dict.fromkeys(row.source for row in ran):
        mine, others = [r for r in ran if r.source == source], [r for r in ran if r.source != source]
        found = list(map(abs, errors(mine, fit(others))))
        plain = list(map(abs, constant(mine, others)))
        ours, theirs = ours + found, theirs + plain
        yield _row(f"{source} ({len(mine)} runs)", found, plain, safe=_safe(rows, source))
    yield _row(f"all ({len(ran)} runs)", ours, theirs, safe=all(_safe(rows, r.source) for r in rows))
    strict = nested(ran)
    yield _row(f"all, shared constants left out too ({len(strict)} runs)", strict, theirs, safe=True)
    for device, efficiency in fit(ran).items():
        print(f"{device}: efficiency {efficiency:.3f}")


def nested(rows: Sequence[Published]) -> list[float]:
    """Errors of all rows where the shared constants, too, are the best ones for the other sources."""
    tables = {constants: _by_source(rows, *constants) for constants in itertools.product(*GRID)}
    found: list[float] = []
    for source in dict.fromkeys(row.source for row in rows):
        chosen = min(tables, key=lambda constants: _loss(tables[constants], source))
        print(f"without {source}: attention, half width, overlap {chosen}")
        found += map(abs, tables[chosen][source])
    return found


def _by_source(
    rows: Sequence[Published], attention: float, half_width: float, overlap: float
) -> dict[str, list[float]]:
    """Errors by source, each predicted by the others, with these constants."""
    changed = [_overlapping(row, overlap) for row in rows]
    with mock.patch.multiple(speed, ATTENTION=attention, HALF_WIDTH=half_width):
        implied_efficiency.cache_clear()
        found = left_out(changed)
    implied_efficiency.cache_clear()
    return found


def _overlapping(row: Published, overlap: float) -> Published:
    device = row.machine.accelerator
    device = replace(device, overlap=overlap if device.tflops != ACCELERATORS["max1550"].tflops else device.overlap)
    return replace(row, machine=replace(row.machine, accelerator=device))


def _loss(errors_by_source: Mapping[str, Sequence[float]], without: str) -> float:
    return statistics.mean(statistics.median(map(abs, e)) for s, e in errors_by_source.items() if s != without)


def constant(rows: Sequence[Published], others: Sequence[Published]) -> list[float]:
    """Errors of a prediction by the median utilization of the other sources' runs on the same device."""
    medians = {
        device: statistics.median(utilization(r) for r in others if r.device == device)
        for device in {row.device for row in others}
    }
    return [medians[row.device] / utilization(row) - 1 for row in rows]


def utilization(row: Published) -> float:
    """Useful operations over the device's peak."""
    shape = row.run.shape
    operations = 6 * shape.num_weights + 12 * shape.num_layers * row.run.sequence_tokens * shape.width
    assert row.tokens_per_second
    return row.tokens_per_second * operations / (row.machine.accelerator.tflops * 1e12)


def _safe(rows: Sequence[Published], source: str) -> bool:
    return all(judge(r.run, r.layout, r.machine).problems for r in rows if r.source == source and not r.ran)


def _row(what: str, ours: Sequence[float], theirs: Sequence[float], *, safe: bool) -> Comparison:
    mine, other = statistics.median(ours), statistics.median(theirs)
    return Comparison(what, "constant utilization", mine, other, "median error", other / mine, safe)


if __name__ == "__main__":
    main("planner", run)
