"""What every order of samples offers, and the digest by which a step's samples are known.

A *dataset* is one source's training tokens: its token files one after the other, as if they were one file. A *sample* is
one training sequence of T + 1 tokens of one dataset. A *run* takes `num_samples` samples, `batch_sequences` a step, so
sample `i` of the run belongs to step `i // batch_sequences + 1`, whatever the number of ranks.
"""

import hashlib
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]


class Span(NamedTuple):
    """Tokens `start : start + length` of a dataset."""

    start: int
    length: int


class Pieces(NamedTuple):
    """Spans of many samples, flat (K int64 each): tokens `starts[i] : starts[i] + lengths[i]` are of `samples[i]`."""

    samples: Indices
    starts: Indices
    lengths: Indices


class Samples(NamedTuple):
    """N samples in the order in which a run takes them: which dataset (N int32), which of its samples (N int64)."""

    datasets: npt.NDArray[np.int32]
    samples: Indices

    def part(self, first: int, last: int) -> "Samples":
        """Samples `first : last` of these."""
        return Samples(self.datasets[first:last], self.samples[first:last])

    def digest(self) -> str:
        """32 hex digits that stand for these samples in this order; what the ledger keeps of a step."""
        hashed = hashlib.blake2b(self.datasets.astype("<i4").tobytes(), digest_size=16)
        hashed.update(self.samples.astype("<i8").tobytes())
        return hashed.hexdigest()


def ranges(firsts: Indices, counts: Indices) -> Indices:
    """`firsts[i], firsts[i] + 1, ...`, `counts[i]` of them, one range after the other."""
    before = np.cumsum(counts) - counts
    indices: Indices = np.arange(counts.sum()) + np.repeat(firsts - before, counts)
    return indices


class SampleOrder(Protocol):
    """An order of samples. All positions count from 0 over the whole run; nothing depends on ranks or workers."""

    @property
    def num_samples(self) -> int:
        """Samples that the run takes."""

    def take(self, first: int, last: int) -> Samples:
        """Samples `first : last` of the run; `IndexError` outside it."""

    def spans(self, dataset: int, sample: int) -> list[Span]:
        """Where the tokens of a sample lie, in order; together at most T + 1."""

    def pieces(self, dataset: int, samples: Indices) -> Pieces:
        """`spans` of many samples at once: samples in the order given, the spans of each in order."""

    def covering(self, dataset: int, start: int, length: int) -> Indices:
        """Samples of a dataset, ascending, that hold any of its tokens `start : start + length`."""

    def find(self, dataset: int, samples: Indices) -> Indices:
        """Positions in the run, ascending, at which any of these samples of a dataset are taken."""
