"""Predicted against published tokens a second, one source left out at a time; the peer is a constant utilization.

The peer takes six operations a weight and token and twelve an attended position, at the median utilization of the other sources'
runs on that device: what `parsl plan` said before. Ours fits one number a device from the same runs (the efficiency of products);
`--json` keeps the rows. `ours` and `theirs` are median errors; `equal` says that nothing which ran out of memory was let through.
"""

import statistics
from collections.abc import Iterator, Sequence

from benchmarks.table import Comparison, Options, main
from tests.workflows.plan.published import Published, errors, fit, published
from workflows.plan.choose import judge


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
    for device, efficiency in fit(ran).items():
        print(f"{device}: efficiency {efficiency:.3f}")


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
