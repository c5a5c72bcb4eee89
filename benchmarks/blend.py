"""Blending: which dataset gives each sample, in Megatron's order, with all bytes equal.

Goals on one core: 2,419 files (the list of Dolma 1.7), 3 million samples, at least 30 times as fast; 100 files at least
3 times, 14 files at least as fast. The same on two threads, which Megatron has no use for. Weights: `lognormal` are
unlike each other; `by size` are files of 14 corpora, each of about the size of its fellows; `by corpus` gives all files
of a corpus the same weight.
"""

from collections.abc import Iterator

import numpy as np

from benchmarks.megatron_peer import NAME, Array, build_blend
from benchmarks.table import Comparison, Options, main, timed
from stages.stream.blend import blend, normalize

CASES = [(2419, "lognormal"), (2419, "by size"), (2419, "by corpus"), (100, "lognormal"), (14, "lognormal")]


def run(options: Options) -> Iterator[Comparison]:
    """Compare every case, on one thread and on two."""
    num_samples = 100_000 if options.quick else 3_000_000
    for num_datasets, law in CASES:
        weights = normalize(normalize(draw(num_datasets, law)))
        theirs = build_blend(weights, num_samples)
        for num_threads in (1, 2):
            ours = blend(weights, num_samples, num_threads)
            equal = all(a.tobytes() == b.tobytes() for a, b in zip(ours, theirs, strict=True))
            yield timed(
                f"blend, {num_datasets} files, {law}, {num_samples:,} samples, {num_threads} thread(s)",
                NAME,
                lambda w=weights, n=num_threads: blend(w, num_samples, n),
                lambda w=weights: build_blend(w, num_samples),
                equal=equal,
            )


def draw(num_datasets: int, law: str) -> Array:
    """Weights of a kind."""
    chance = np.random.default_rng(7)
    if law == "lognormal":
        return chance.lognormal(0, 1, num_datasets)
    corpus = chance.integers(0, 14, num_datasets)
    shares = chance.lognormal(0, 1.5, 14)[corpus]
    return shares * chance.uniform(0.9, 1.1, num_datasets) if law == "by size" else shares


if __name__ == "__main__":
    main("blend", run)
