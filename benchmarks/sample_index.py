"""The sample index of 20 million documents in shuffled order, and the shuffle, with all bytes equal.

Goals: the sample index at least as fast as Megatron's C++ on one core, 1.6 times as fast on two. The shuffle of the
documents, which numpy's legacy generator does for Megatron, is the other half of the work.
"""

from collections.abc import Iterator

import numpy as np

from benchmarks.megatron_peer import NAME, Array, build_indices, build_sample_index, document_lengths
from benchmarks.table import Comparison, Options, main, timed
from stages.stream.gpt_index import Cutting, build, sample_index
from stages.stream.mt19937 import shuffle

SEQUENCE_TOKENS, SEED = 4096, 1234


def run(options: Options) -> Iterator[Comparison]:
    """Compare the shuffle, the sample index on one core and two, and all indices of a dataset."""
    count = 500_000 if options.quick else 20_000_000
    lengths, cutting = document_lengths(count, seed=0), Cutting(SEQUENCE_TOKENS)
    documents, other = np.arange(count, dtype=np.int32), np.arange(count, dtype=np.int32)
    shuffle(np.random.RandomState(SEED), documents)
    np.random.RandomState(SEED).shuffle(other)
    yield timed(
        f"shuffle of {count:,} documents",
        f"numpy {np.__version__}, RandomState",
        lambda: shuffle(np.random.RandomState(SEED), np.arange(count, dtype=np.int32)),
        lambda: np.random.RandomState(SEED).shuffle(np.arange(count, dtype=np.int32)),
        equal=documents.tobytes() == other.tobytes(),
    )
    rows = build_sample_index(lengths, documents, SEQUENCE_TOKENS)
    for num_threads in (1, 2):
        yield timed(
            f"sample index, {count:,} documents, {num_threads} core(s)",
            NAME,
            lambda n=num_threads: sample_index(lengths, documents, cutting, n),
            lambda: build_sample_index(lengths, documents, SEQUENCE_TOKENS),
            equal=same(sample_index(lengths, documents, cutting, num_threads), rows),
        )
    num_samples = int(lengths.sum(dtype=np.int64)) // SEQUENCE_TOKENS * 3 // 2  # a last epoch that is shuffled apart
    ours = build(lengths, cutting, SEED, num_samples)
    theirs = build_indices(lengths, SEQUENCE_TOKENS, SEED, num_samples)
    equal = all(same(a, b) for a, b in zip(ours, theirs, strict=True))
    for num_threads in (1, 2):
        yield timed(
            f"all indices, {count:,} documents, 1.5 epochs, {num_threads} core(s)",
            NAME,
            lambda n=num_threads: build(lengths, cutting, SEED, num_samples, n),
            lambda: build_indices(lengths, SEQUENCE_TOKENS, SEED, num_samples),
            equal=equal,
        )


def same(ours: Array, theirs: Array) -> bool:
    """Equal in type, shape and value."""
    return ours.dtype == theirs.dtype and np.array_equal(ours, theirs)


if __name__ == "__main__":
    main("sample_index", run)
