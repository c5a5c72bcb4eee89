"""Best-fit packing: samples that cut no document that fits into one (Ding et al. 2024, "Fewer Truncations").

A document of more than T + 1 tokens is cut into windows of T + 1 that share a token, as contiguous samples do, and a
rest. Rests and short documents go, the longest first, each into the fullest bin that still takes it, or a new one; of
bins equally full, into the one last changed. Documents are packed some at a time in the order of the corpus, so memory
is bounded, and the bins do not depend on how many files the corpus has. Within a bin documents lie in corpus order.

What it gives up: the last positions of some bins stay empty, and are not learned from.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from stages.stream.corpus import Dataset
from stages.stream.order import Array, Indices, ranges
from stages.stream.virtual import BestFit

DOCUMENTS_AT_A_TIME = 1 << 20  # about 150 MiB while they are packed


@dataclass(frozen=True)
class Packed:
    """What packing made of a dataset, beside contiguous windows of the same length."""

    num_bins: int
    num_documents: int
    num_tokens: int
    """Tokens in the bins; one that two windows of a long document share counts twice."""
    num_positions: int
    """Tokens that the bins could hold."""
    num_cut: int
    """Documents longer than a sample."""
    num_cut_contiguous: int
    """Documents that contiguous windows would cut."""

    @property
    def padding_fraction(self) -> float:
        """Share of positions that stay empty."""
        return 1 - self.num_tokens / self.num_positions if self.num_positions else 0.0


def pack(dataset: Dataset, sequence_tokens: int, ends: Path, spans: Path) -> Packed:
    """Pack a dataset into bins of T + 1 tokens: B int64 to `ends`, N x 2 int64 (start, length) to `spans`, both `.npy`.

    Bin b holds the rows `ends[b - 1] : ends[b]` of `spans`; see `BestFit`.
    """
    start = num_bins = num_spans = num_tokens = num_cut = num_cut_contiguous = 0
    with _ArrayFile(ends, ()) as ends_file, _ArrayFile(spans, (2,)) as spans_file:
        for lengths in _chunks(dataset):
            starts = start + np.cumsum(lengths) - lengths
            bin_sizes, some = pack_documents(starts, lengths, sequence_tokens)
            ends_file.append(num_spans + np.cumsum(bin_sizes))
            spans_file.append(some)
            num_bins, num_spans = num_bins + len(bin_sizes), num_spans + len(some)
            num_tokens += int(some[:, 1].sum())
            num_cut += int((lengths > sequence_tokens + 1).sum())
            num_cut_contiguous += _cut_contiguous(starts, lengths, sequence_tokens)
            start += int(lengths.sum())
    documents = sum(f.shard.num_documents for f in dataset.files)
    positions = num_bins * (sequence_tokens + 1)
    return Packed(num_bins, documents, num_tokens, positions, num_cut, num_cut_contiguous)


def open_packed(source: str, ends: Path, spans: Path) -> BestFit:
    """The bins that `pack` wrote, mapped."""
    return BestFit(source, *(np.load(file, mmap_mode="r", allow_pickle=False) for file in (ends, spans)))


def pack_documents(starts: Indices, lengths: Indices, sequence_tokens: int) -> tuple[Indices, Indices]:
    """Pack documents at these positions: spans of each bin (B), and the spans, bin by bin (N x 2: start, length)."""
    from stages.stream.best_fit import best_fit  # it loads a compiler, which reading bins does not need

    windows = np.maximum(lengths - 1, 0) // sequence_tokens
    rests = lengths - windows * sequence_tokens
    packed = (rests > 1) | ((rests == 1) & (windows == 0))  # else the token is the last of the last window
    window_starts = np.repeat(starts, windows) + sequence_tokens * ranges(np.zeros_like(windows), windows)
    rest_starts, rests = (starts + windows * sequence_tokens)[packed], rests[packed]
    by_length = np.argsort(-rests, kind="stable")
    bins = np.empty_like(rests)
    bins[by_length] = best_fit(rests[by_length], sequence_tokens + 1) + len(window_starts)
    bins = np.concatenate([np.arange(len(window_starts)), bins])
    starts = np.concatenate([window_starts, rest_starts])
    lengths = np.concatenate([np.full_like(window_starts, sequence_tokens + 1), rests])
    return _by_first_document(bins, starts, lengths)


def _by_first_document(bins: Indices, starts: Indices, lengths: Indices) -> tuple[Indices, Indices]:
    """Bins in the order of their first document, and the documents of each in the order of the corpus."""
    num_bins = int(bins.max(initial=-1)) + 1
    first = np.full(num_bins, np.iinfo(np.int64).max)
    np.minimum.at(first, bins, starts)
    rank = np.empty(num_bins, np.int64)
    rank[np.argsort(first)] = np.arange(num_bins)
    order = np.lexsort((starts, rank[bins]))
    return np.bincount(rank[bins], minlength=num_bins), np.stack([starts, lengths], axis=1)[order]


def _cut_contiguous(starts: Indices, lengths: Indices, sequence_tokens: int) -> int:
    """Documents that do not lie in one contiguous window."""
    lasts = (starts + lengths - 1)[lengths > 0]
    return int(((lasts - 1) // sequence_tokens > starts[lengths > 0] // sequence_tokens).sum())


def _chunks(dataset: Dataset) -> Iterator[Indices]:
    """Lengths of the documents, some at a time, whatever files they lie in."""
    waiting: list[Array] = []
    for file in dataset.files:
        lengths = file.document_lengths()
        while len(lengths):
            waiting.append(lengths[: DOCUMENTS_AT_A_TIME - sum(map(len, waiting))])
            lengths = lengths[len(waiting[-1]) :]
            if sum(map(len, waiting)) == DOCUMENTS_AT_A_TIME:
                yield np.concatenate(waiting).astype(np.int64)
                waiting = []
    if waiting:
        yield np.concatenate(waiting).astype(np.int64)


class _ArrayFile:
    """A `.npy` file of int64 rows that grows: numpy leaves room in the header for the number of rows."""

    def __init__(self, file: Path, row: tuple[int, ...]) -> None:
        self._row, self._num_rows = row, 0
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file.open("wb")
        self._write_header()

    def append(self, rows: Indices) -> None:
        """Add rows at the end."""
        self._file.write(np.ascontiguousarray(rows, "<i8").data)
        self._num_rows += len(rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, _: TracebackType | None) -> None:
        with self._file:
            self._file.seek(0)
            self._write_header()

    def _write_header(self) -> None:
        shape = (self._num_rows, *self._row)
        np.lib.format.write_array_header_1_0(self._file, {"descr": "<i8", "fortran_order": False, "shape": shape})
