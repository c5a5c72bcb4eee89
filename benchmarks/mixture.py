"""How far a batch is from its mixture: the worst batch and source of 100,000 batches, in samples.

The promise is at most 2 samples for every source in every batch. Ours is counted in exact integers, and what the counts
say is compared with the samples that the order really takes. The peer is Megatron's blend (`build_blending_indices` of
megatron-core), the same weights and batches, of which fewer are counted where many sources would take it hours. Its
counts stay near their targets as a run goes on; a batch is the difference of two such counts.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from benchmarks.table import Comparison, Options, main
from stages.stream.apportion import ONE, Apportionment
from stages.stream.mixture import Phase, plan
from stages.stream.virtual import Contiguous, VirtualOrder

Array = npt.NDArray[np.float64]

BATCH = 512
PROMISE = 2.0
LOOKS = 5e8  # Megatron looks at every source for every sample: so many looks a case
LAWS: dict[str, Callable[[int], Array]] = {
    "Zipf": lambda k: 1 / np.arange(1, k + 1),
    "uniform": lambda k: np.full(k, 1 / k),
    "one of 1e-6": lambda k: np.append(np.full(k - 1, (1 - 1e-6) / (k - 1)), 1e-6),
}


def run(options: Options) -> Iterator[Comparison]:
    """Every law and number of sources, then three phases."""
    num_batches = 2_000 if options.quick else 100_000
    for num_sources in (3, 14, 100, 2419):
        for law, weights_of in LAWS.items():
            weights = dict(zip(map(str, range(num_sources)), weights_of(num_sources).tolist(), strict=True))
            (phase,) = plan([(1.0, weights)], list(weights), num_batches)
            worst, kept = ours([phase], list(weights))
            what = f"{num_sources} sources, {law}: worst of {num_batches:,} batches"
            theirs, counted = megatron(weights_of(num_sources) / weights_of(num_sources).sum(), num_batches)
            peer = f"megatron-core, {counted:,} batches"
            yield Comparison(what, peer, worst, theirs, "samples", theirs / worst, kept)
    phases = staged(num_batches)
    worst, kept = ours(phases, [str(k) for k in range(100)])
    what = f"100 sources, 3 phases: worst of {num_batches:,} batches"
    yield Comparison(what, "the promise", worst, PROMISE, "samples", PROMISE / worst, kept)


def staged(num_batches: int) -> list[Phase]:
    """Zipf, then the reverse, then a few sources only."""
    names = [str(k) for k in range(100)]
    zipf = {name: 1 / (k + 1) for k, name in enumerate(names)}
    reverse = dict(zip(names, reversed(zipf.values()), strict=True))
    return plan([(0.31, zipf), (0.83, reverse), (1.0, {"3": 1, "14": 2, "15": 1e-3})], names, num_batches)


def ours(phases: list[Phase], sources: list[str]) -> tuple[float, bool]:
    """Worst deviation over all batches, and whether every batch is full, kept the promise, and is what the order takes."""
    packings = [Contiguous(s, 8 * 1_000_003 + 1, 8) for s in sources]
    order = VirtualOrder(packings, phases, BATCH, seed=0)
    looked_at = set(np.random.default_rng(0).integers(0, phases[-1].last_step, 300).tolist())
    worst, kept = 0.0, True
    for phase in phases:
        share = Apportionment(phase.parts, BATCH)
        for step in range(phase.first_step - 1, phase.last_step):
            counts = share.counts(step - phase.first_step + 1)
            worst = max(worst, float(np.abs(counts - phase.parts * (BATCH / ONE)).max()))
            kept &= int(counts.sum()) == BATCH
            if step in looked_at:
                taken = order.take(step * BATCH, (step + 1) * BATCH).datasets
                kept &= bool(np.array_equal(np.bincount(taken, minlength=len(sources)), counts))
    return worst, kept and worst <= PROMISE


def megatron(weights: Array, num_batches: int) -> tuple[float, int]:
    """Worst deviation of the peer's batches, and how many were counted."""
    from megatron.core.datasets import helpers_cpp

    num_batches = min(num_batches, int(LOOKS / len(weights) / BATCH))
    datasets = np.zeros(num_batches * BATCH, np.int16)
    samples = np.zeros(num_batches * BATCH, np.int64)
    helpers_cpp.build_blending_indices(datasets, samples, weights, len(weights), len(datasets), False)  # noqa: FBT003
    counts = (np.bincount(batch, minlength=len(weights)) for batch in datasets.reshape(num_batches, BATCH))
    return max(float(np.abs(count - weights * BATCH).max()) for count in counts), num_batches


if __name__ == "__main__":
    main("mixture", run)
