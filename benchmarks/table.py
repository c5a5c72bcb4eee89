"""What all benchmarks share: interleaved repetitions, one row a comparison, a table on screen and JSON in a file.

Ours and the peer run in turn in the same process environment, so that a slow minute of the machine hits both; the
first repetition is a warm-up and does not count; figures are medians. Results are compared before times are.
"""

import argparse
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Comparison:
    """One line: medians of ours and the peer's, `ratio` above 1 where ours is better, `equal` if the results agreed."""

    what: str
    peer: str
    ours: float
    theirs: float
    unit: str
    ratio: float
    equal: bool | None


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line; `data` is None where the benchmark makes its own.

    `only` names the parts to run, where a benchmark has several; all if it is empty. `plot` is where a picture goes.
    """

    quick: bool
    data: Path | None
    only: tuple[str, ...] = ()
    plot: Path | None = None


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call, begun with no one's data waiting for the disk."""
    os.sync()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def interleaved(ours: Callable[[], object], theirs: Callable[[], object], repetitions: int = 5) -> tuple[float, float]:
    """Median seconds of both, taken in turn, after one uncounted call of each."""
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(repetitions + 1)][1:]
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)


def timed(
    what: str, peer: str, ours: Callable[[], object], theirs: Callable[[], object], *, equal: bool | None
) -> Comparison:
    """Compare by seconds: less is better."""
    mine, other = interleaved(ours, theirs)
    return Comparison(what, peer, mine, other, "s", other / mine, equal)


def main(
    name: str, run: Callable[[Options], Iterable[Comparison]], parts: Sequence[str] = (), *, plots: bool = False
) -> None:
    """The command line of a benchmark: print the comparisons as they come, and write them if asked to."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    parser.add_argument("--quick", action="store_true", help="less data, fewer repetitions: to see that it works")
    parser.add_argument("--json", type=Path, help="write the comparisons to this file")
    parser.add_argument("--data", type=Path, help="other data, laid out like the folder that is read by default")
    if parts:
        parser.add_argument("--only", choices=parts, action="append", help="run this part (may be given again)")
    if plots:
        parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the result into this PNG file")
    arguments = parser.parse_args()
    rows = []
    for row in run(_options(arguments)):
        rows.append(row)
        print(_line(row), flush=True)
    Console().print(_table(name, rows))
    if arguments.json:
        arguments.json.write_text(json.dumps([_plain(r) for r in rows], indent=1, allow_nan=False) + "\n")


def _plain(row: Comparison) -> dict[str, Any]:
    """As JSON can hold it, which has no infinity: a ratio over nothing is null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(row).items()}


def _options(arguments: argparse.Namespace) -> Options:
    only, plot = getattr(arguments, "only", None), getattr(arguments, "plot", None)
    return Options(arguments.quick, arguments.data, tuple(only or ()), plot)


def _line(row: Comparison) -> str:
    agreed = {True: "equal", False: "NOT EQUAL", None: "not compared"}[row.equal]
    return f"{row.what}: {row.ours:.4g} against {row.theirs:.4g} {row.unit} ({row.peer}), {row.ratio:.3g}x, {agreed}"


def _table(name: str, rows: list[Comparison]) -> Table:
    table = Table("what", "peer", "ours", "theirs", "unit", "ratio", "equal", title=f"benchmarks.{name}")
    for r in rows:
        agreed = {True: "yes", False: "NO", None: "-"}[r.equal]
        table.add_row(r.what, r.peer, f"{r.ours:.4g}", f"{r.theirs:.4g}", r.unit, f"{r.ratio:.3g}", agreed)
    return table
