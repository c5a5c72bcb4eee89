"""From a step's number to a rank's tokens. There is no other state: to resume, know the step.

Samples are copied from mapped files into one array a batch, in the order in which they lie on disk. The kernel is asked
for those of the next steps before, so that a cold batch waits at most once and not once a sample. A few steps are read
ahead in threads, which let go of the interpreter while they wait and copy. Every rank computes the order of the whole batch and reads its share.
"""

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stages.stream.corpus import Dataset, Tokens
from stages.stream.middle import Middle
from stages.stream.order import Indices, Pieces, SampleOrder, Samples

ORDERED_SAMPLES = 4096  # samples whose order is computed at a time: arrays this long cost little more than short ones
STEPS_AHEAD = 8  # steps whose tokens the kernel is asked for before they are due: a disk serves many requests at once
NUM_THREADS = 2


class Batch(NamedTuple):
    """A rank's share of a step: B rows of T + 1 tokens, inputs and what follows each of them.

    `lengths_B` counts the tokens of each row; what stands after them is the end token, and not to be learned.
    `datasets_B` says which dataset each row is of. `documents_BT` (B x (T + 1), if asked for) numbers the documents of a
    row from 0, what fills it up counting as one more: attention that stays inside a document compares these numbers.
    """

    step: int
    tokens_BT: Tokens
    lengths_B: Indices
    datasets_B: npt.NDArray[np.int32]
    documents_BT: npt.NDArray[np.int32] | None


@dataclass(frozen=True)
class Shape:
    """What a batch looks like over all ranks, and the token that fills up what a sample leaves empty."""

    sequence_tokens: int
    batch_sequences: int
    eod_id: int


class Loader:
    """Batches of the training tokens `datasets` in the order `samples`, this rank's share of each.

    Rank r of n reads rows r B // n to (r + 1) B // n of the batch, so all ranks' rows, in order, are the batch of one.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        samples: SampleOrder,
        shape: Shape,
        *,
        rank: int = 0,
        num_ranks: int = 1,
        with_documents: bool = False,
        middle: Middle | None = None,
    ) -> None:
        self.datasets, self.order, self.shape = list(datasets), samples, shape
        self.with_documents, self.middle = with_documents, middle
        self.first = rank * shape.batch_sequences // num_ranks
        self.last = (rank + 1) * shape.batch_sequences // num_ranks
        self._block_steps = max(1, ORDERED_SAMPLES // shape.batch_sequences)
        self._block = lru_cache(maxsize=4)(self._take_block)
        self._parts = lru_cache(maxsize=2 * STEPS_AHEAD)(self._announced)

    @property
    def num_steps(self) -> int:
        """Steps of the run."""
        return self.order.num_samples // self.shape.batch_sequences

    def samples(self, step: int) -> Samples:
        """The samples of all ranks at a step (from 1), in order; IndexError outside the run."""
        if not 1 <= step <= self.num_steps:
            raise IndexError(f"step {step} of a run of {self.num_steps}")
        block, inside = divmod(step - 1, self._block_steps)
        start = inside * self.shape.batch_sequences
        return self._block(block).part(start, start + self.shape.batch_sequences)

    def batch(self, step: int) -> Batch:
        """Read this rank's share of a step (from 1); IndexError outside the run."""
        datasets = self.samples(step).datasets[self.first : self.last]
        for later in range(step + 1, min(step + STEPS_AHEAD, self.num_steps) + 1):
            self._parts(later)
        rows = _Rows(len(datasets), self.shape.sequence_tokens + 1)
        for part in self._parts(step):
            turned = self.middle if self.middle and part.dataset.source in self.middle.sources else None
            part.copy(rows, with_starts=self.with_documents or turned is not None)
            if turned:
                for row in np.unique(part.rows).tolist():
                    rows.turn(row, turned, (step - 1) * self.shape.batch_sequences + self.first + row)
        rows.fill(self.shape.eod_id)
        documents_BT = rows.documents() if self.with_documents else None
        return Batch(step, rows.tokens_BT, rows.lengths_B, datasets, documents_BT)

    def batches(self, first: int = 1, last: int | None = None, ahead: int = 4) -> Generator[Batch, None, None]:
        """Batches of the steps `first..last` (default: to the end of the run), up to `ahead` of them before they are due."""
        last = self.num_steps if last is None else last
        waiting: deque[Future[Batch]] = deque()
        pool = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="loader")
        try:
            for step in range(first, last + 1):
                waiting.append(pool.submit(self.batch, step))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _announced(self, step: int) -> "list[_Part]":
        """What a step reads, after the kernel was asked for it."""
        datasets, samples = self.samples(step).part(self.first, self.last)
        chosen = [(int(d), np.flatnonzero(datasets == d)) for d in np.unique(datasets)]
        parts = [_Part(self.datasets[d], *_placed(self.order, d, samples[rows], rows)) for d, rows in chosen]
        for part in parts:
            part.will_need()
        return parts

    def _take_block(self, block: int) -> Samples:
        length = self._block_steps * self.shape.batch_sequences
        return self.order.take(block * length, min((block + 1) * length, self.order.num_samples))


class _Rows:
    """A batch that is being made: B x W tokens, how many each row has, and at which columns its documents begin."""

    def __init__(self, num_rows: int, width: int) -> None:
        self.tokens_BT = np.empty((num_rows, width), np.int64)
        self.lengths_B = np.zeros(num_rows, np.int64)
        self.starts: list[list[Indices]] = [[] for _ in range(num_rows)]

    def turn(self, row: int, middle: Middle, position: int) -> None:
        """Turn documents of a row, the sample at this position of the run, for fill in the middle."""
        tokens, width = self.tokens_BT[row, : self.lengths_B[row]], self.tokens_BT.shape[1]
        turned, starts = middle.turn(tokens, self._starts(row), position, width)
        self.tokens_BT[row, : len(turned)] = turned
        self.lengths_B[row], self.starts[row] = len(turned), [starts]

    def fill(self, eod_id: int) -> None:
        """Put the end token where rows have no tokens."""
        for row in np.flatnonzero(self.lengths_B < self.tokens_BT.shape[1]).tolist():
            self.tokens_BT[row, self.lengths_B[row] :] = eod_id

    def documents(self) -> npt.NDArray[np.int32]:
        """The number of the document at each position, B x W; what is filled up is one more."""
        documents_BT = np.empty(self.tokens_BT.shape, np.int32)
        for row, length in enumerate(self.lengths_B.tolist()):
            bounds = np.append(self._starts(row), [length, documents_BT.shape[1]])
            documents_BT[row] = np.repeat(np.arange(len(bounds) - 1, dtype=np.int32), np.diff(bounds))
        return documents_BT

    def _starts(self, row: int) -> Indices:
        return np.sort(np.concatenate(self.starts[row]))


class _Part:
    """What is read of one dataset: tokens `starts[i] : starts[i] + lengths[i]` go to `rows[i]`, from `columns[i]` on."""

    def __init__(self, dataset: Dataset, rows: Indices, columns: Indices, pieces: Pieces) -> None:
        by_position = np.argsort(pieces.starts, kind="stable")
        arrays = (rows, columns, pieces.starts, pieces.lengths)
        rows, columns, starts, lengths = (a[by_position] for a in arrays)
        files, offsets = dataset.locate(starts, lengths)
        self.dataset, self.rows, self.lengths = dataset, rows, lengths
        self._in_files = [a.tolist() for a in (files, offsets, offsets + lengths)]
        self._in_rows = [a.tolist() for a in (rows, columns, columns + lengths, starts)]

    def will_need(self) -> None:
        """Ask the kernel to read all of it ahead; the few pieces that go on in another file are left to the copy."""
        files = self.dataset.files
        for file, first, last in zip(*self._in_files, strict=True):
            if file >= 0:
                files[file].will_need(first, last)

    def copy(self, into: _Rows, *, with_starts: bool) -> None:
        """Copy the tokens, and say where documents begin: each piece does, and those inside it."""
        files, tokens_BT = self.dataset.files, into.tokens_BT
        for file, first, last, row, column, end, start in zip(*self._in_files, *self._in_rows, strict=True):
            if file >= 0:
                tokens_BT[row, column:end] = files[file].tokens[first:last]
            else:
                self.dataset.read_into(tokens_BT[row, column:end], start)
            if with_starts:
                inside = self.dataset.document_starts(start + 1, end - column - 1)
                into.starts[row].append(np.concatenate([[start], inside]) + (column - start))
        np.add.at(into.lengths_B, self.rows, self.lengths)


def _placed(order: SampleOrder, dataset: int, samples: Indices, rows: Indices) -> tuple[Indices, Indices, Pieces]:
    """The pieces of samples, and for each the row and the column to which it goes."""
    pieces = order.pieces(dataset, samples)
    if len(pieces.starts) == len(samples):
        return rows, np.zeros_like(rows), pieces
    begins = np.flatnonzero(np.append(True, pieces.samples[1:] != pieces.samples[:-1]))
    if len(begins) < len(samples):  # a sample twice in a row, where epochs meet: what is whose does not show
        alone = [_placed(order, dataset, samples[i : i + 1], rows[i : i + 1]) for i in range(len(samples))]
        each = [(*head, *tail) for *head, tail in alone]
        rows, columns, *arrays = (np.concatenate(a) for a in zip(*each, strict=True))
        return rows, columns, Pieces(*arrays)
    counts = np.diff(np.append(begins, len(pieces.starts)))
    before = np.cumsum(pieces.lengths) - pieces.lengths
    return np.repeat(rows, counts), before - np.repeat(before[begins], counts), pieces
