"""The whole index of 2 trillion tokens in 2,419 files: Megatron's build, ours of the same bytes, and the virtual order.

What is measured, and how it is scaled. A file's three indices hang on that file alone and all files are alike (830,000
documents of a thousand tokens, one epoch), so all files cost as much as some of them times their number: 1/100 of the
corpus is 24 whole files. The blend is over all 2,419 files, and has 1/100 of the samples. Both are measured at 1/1000
too, and the rows "growth" compare the two (10 is linear). Arrays are built in memory on both sides, none is written.

The virtual order builds nothing. At each size a process opens 2,419 files and reads its first batch of 512 samples
(`first_batch.py`). Goals: Megatron's order in 1/20 of its time; the first batch in 1 s and 200 MB. `--plot FILE` draws
both costs from 2e9 to 2e12 tokens.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.first_batch import make_files
from benchmarks.megatron_peer import NAME, Array, build_blend, build_indices, document_lengths
from benchmarks.table import Comparison, Options, interleaved, main
from stages.stream.blend import blend, normalize
from stages.stream.gpt_index import Cutting, build

NUM_FILES, NUM_DOCUMENTS, SEQUENCE_TOKENS, SEED = 2419, 830_000, 4096, 1234
TOKENS = 2e12
SCALES = (1 / 1000, 1 / 100)
SIZES = (2e9, 2e10, 2e11, 2e12)
MAX_SECONDS, MAX_MEGABYTES = 1.0, 200.0


@dataclass(frozen=True)
class Cost:
    """Seconds of the files and of the blend at a part of the corpus, ours and Megatron's; whether all bytes agreed."""

    scale: float
    files: tuple[float, float]
    blend: tuple[float, float]
    equal: bool

    @property
    def totals(self) -> tuple[float, float]:
        """Ours and Megatron's."""
        return self.files[0] + self.blend[0], self.files[1] + self.blend[1]


def run(options: Options) -> Iterator[Comparison]:
    """Megatron's order on one core and on two, then the virtual order at each size."""
    scales = [scale / 20 for scale in SCALES] if options.quick else SCALES
    costs = {}
    for num_threads in (1, 2):
        costs[num_threads] = [measure(scale, num_threads) for scale in scales]
        yield from rows(costs[num_threads], f"{num_threads} core(s)")
    firsts = []
    with tempfile.TemporaryDirectory() as folder:
        for tokens in SIZES:
            table = make_files(Path(folder) / f"{tokens:.0e}", NUM_FILES, int(tokens))
            firsts.append(first_batch(table, 1 if options.quick else 5))
            name = f"{tokens:.0e} tokens, order virtual, first batch"
            for value, limit, unit in zip(firsts[-1], (MAX_SECONDS, MAX_MEGABYTES), ("s", "MB"), strict=True):
                yield Comparison(name, f"goal: {limit:g} {unit}", value, limit, unit, limit / value, None)
    if options.plot:
        draw(options.plot, costs[1], [seconds for seconds, _ in firsts])


def rows(costs: Sequence[Cost], cores: str) -> Iterator[Comparison]:
    """What was measured at each scale, how it grows, and what that makes of the whole."""
    for cost in costs:
        size = f"{TOKENS * cost.scale:.3g} tokens, {cores}"
        yield Comparison(f"files, {size}", NAME, *cost.files, "s", cost.files[1] / cost.files[0], cost.equal)
        yield Comparison(f"blend, {size}", NAME, *cost.blend, "s", cost.blend[1] / cost.blend[0], cost.equal)
    small, large = costs
    growth = [b / a for a, b in zip(small.totals, large.totals, strict=True)]
    yield Comparison(
        f"growth (10 is linear), {cores}", NAME, growth[0], growth[1], "times", growth[1] / growth[0], None
    )
    factor = 1 / large.scale
    mine, other = (total * factor for total in large.totals)
    for who, files, blended, total in zip(("ours", NAME), large.files, large.blend, (mine, other), strict=True):
        print(
            f"2e12 tokens, {cores}, {who}: ({files:.3f} s files + {blended:.3f} s blend) x {factor:.0f} = {total:.0f} s"
        )
    equal = all(cost.equal for cost in costs)
    yield Comparison(f"2e12 tokens, order megatron, {cores}", NAME, mine, other, "s", other / mine, equal)


def measure(scale: float, num_threads: int) -> Cost:
    """Build the files and the blend of a part of the corpus both ways, in turn."""
    num_files, num_samples = max(1, round(NUM_FILES * scale)), round(TOKENS / SEQUENCE_TOKENS * scale)
    lengths = [document_lengths(NUM_DOCUMENTS, seed) for seed in range(num_files)]
    equal = all(
        a.dtype == b.dtype and np.array_equal(a, b)
        for some in lengths[:4]
        for a, b in zip(build_ours(some), build_theirs(some), strict=True)
    )
    files = interleaved(partial(each, build_ours, lengths, num_threads), partial(each, build_theirs, lengths, 1), 3)
    weights = normalize(normalize(np.random.default_rng(0).lognormal(0, 0.5, NUM_FILES)))
    ours, theirs = partial(blend, weights, num_samples, num_threads), partial(build_blend, weights, num_samples)
    equal &= all(a.tobytes() == b.tobytes() for a, b in zip(ours(), theirs(), strict=True))
    blended = interleaved(ours, theirs, 2)
    share = NUM_FILES * scale / num_files  # whole files only
    return Cost(scale, (files[0] * share, files[1] * share), blended, equal)


def build_ours(lengths: Array) -> Sequence[Array]:
    """All indices of a file by ours."""
    return build(lengths, Cutting(SEQUENCE_TOKENS), SEED, samples_of(lengths))


def build_theirs(lengths: Array) -> Sequence[Array]:
    """All indices of a file by Megatron."""
    return build_indices(lengths, SEQUENCE_TOKENS, SEED, samples_of(lengths))


def samples_of(lengths: Array) -> int:
    """Samples of one epoch."""
    return (int(lengths.sum(dtype=np.int64)) - 1) // SEQUENCE_TOKENS


def each(work: Callable[[Array], object], lengths: Sequence[Array], num_threads: int) -> None:
    """Build file after file and keep nothing, on one thread or several."""
    with ThreadPoolExecutor(num_threads) as pool:
        for done in [pool.submit(lambda some: bool(work(some)), some) for some in lengths]:
            done.result()


def first_batch(table: Path, repetitions: int) -> tuple[float, float]:
    """Median seconds and largest megabytes of processes that read the first batch."""
    command = [sys.executable, "-m", "benchmarks.first_batch", str(table)]
    runs = [
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for _ in range(repetitions)
    ]
    return statistics.median(r["seconds"] for r in runs), max(r["megabytes"] for r in runs)


def draw(file: Path, costs: Sequence[Cost], firsts: Sequence[float]) -> None:
    """Cost against tokens, both logarithmic: what was measured as marks, what follows from it as dashes."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    tokens = [TOKENS * cost.scale for cost in costs]
    for side, name, color in ((1, "Megatron's build", "tab:red"), (0, "same arrays, ours", "tab:blue")):
        found = [cost.totals[side] for cost in costs]
        axes.plot(tokens, found, "o-", color=color, label=f"{name}, measured")
        axes.plot([tokens[-1], TOKENS], [found[-1], found[-1] / costs[-1].scale], "--", color=color)
        whole = found[-1] / costs[-1].scale
        axes.annotate(f"{whole:,.0f} s", (TOKENS, whole), (-2, 7), textcoords="offset points", ha="right")
    axes.plot(SIZES, firsts, "s-", color="tab:green", label="virtual order, first batch, measured")
    axes.annotate(f"{firsts[-1]:.2f} s", (SIZES[-1], firsts[-1]), (-2, 7), textcoords="offset points", ha="right")
    axes.set(xscale="log", yscale="log", xlabel="training tokens", ylabel="seconds before the first step")
    axes.set_title("An index of 2,419 files (dashed: extrapolated from 1/100)")
    axes.margins(x=0.08, y=0.12)
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(loc="upper left")
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    main("index_scale", run, plots=True)
