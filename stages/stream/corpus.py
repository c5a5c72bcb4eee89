"""Datasets: a source's token files of one split, one after the other, as if they were one file.

Opening reads sizes and the 34 bytes of each index's header; a file is mapped when it is first touched, so thousands of
files cost milliseconds and next to no memory. Positions count tokens from 0 over the whole dataset and do not change
with the number of files. A *document* is a sequence of the index (`TokenShard.num_documents` counts these), as it is to
Megatron's own GPT dataset.
"""

import mmap
import resource
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.table import BlobRef, ContractError
from schemas.tokens import Split, TokenShard
from stages.stream.megatron import CODES, DTYPES, HEADER, MAGIC
from stages.tables import Reader

Array = npt.NDArray[Any]
Tokens = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int64]

FILES_BESIDE = 256  # open files that a process needs besides the mapped ones


class Place(NamedTuple):
    """Where a token lies: the row of its file and the offset, in tokens, in `shard.bin`."""

    shard: TokenShard
    offset: int


class TokenFile:
    """A pair of token files, mapped when first read; what the row and the headers say of them was checked before."""

    def __init__(self, shard: TokenShard, bin_file: Path, idx: Path) -> None:
        self.shard, self.bin, self.idx = shard, bin_file, idx
        self.itemsize = np.dtype(shard.dtype).itemsize

    def __len__(self) -> int:
        return self.shard.num_tokens

    @cached_property
    def tokens(self) -> Array:
        """The ids, a view of the mapped file."""
        dtype = DTYPES[CODES[self.shard.dtype]]
        return np.frombuffer(self._mapped, dtype) if len(self) else np.empty(0, dtype)  # nothing cannot be mapped

    @cached_property
    def _mapped(self) -> mmap.mmap:
        with self.bin.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    @cached_property
    def _index(self) -> Array:
        """The bytes of the mapped index after its header: lengths, pointers, marks."""
        return np.memmap(self.idx, np.uint8, mode="r", offset=HEADER.size).view(np.ndarray)

    @cached_property
    def _pointers(self) -> memoryview:
        # They lie at odd addresses, of which numpy's searchsorted would copy all; bisection touches a few pages.
        count = self.shard.num_documents
        return memoryview(self._index[4 * count : 12 * count].data).cast("q")

    def document_lengths(self) -> Array:
        """Tokens of each document (int32), a view of the mapped index."""
        return self._index[: 4 * self.shard.num_documents].view("<i4")

    def document_starts(self, start: int, stop: int) -> Indices:
        """Offsets from `start` up to `stop` at which a document of at least one token begins."""
        pointers, size = self._pointers, self.itemsize
        first = last = bisect_left(pointers, start * size)
        stride = 1
        while (last := last + stride) < len(pointers) and pointers[last] < stop * size:  # few lie in a sample
            stride *= 2
        last = bisect_left(pointers, stop * size, lo=max(first, last - stride), hi=min(last, len(pointers)))
        starts = np.frombuffer(pointers[first:last], np.int64) // size
        distinct: Indices = starts[np.append(starts[1:], stop) != starts]
        return distinct

    def document_spans(self, documents: Indices) -> tuple[Indices, Indices]:
        """Offsets and lengths, in tokens, of documents by their number in the file (int64)."""
        count = self.shard.num_documents
        pointers = self._index[4 * count : 12 * count].view("<i8")
        return pointers[documents] // self.itemsize, self.document_lengths()[documents].astype(np.int64)

    def document_at(self, offset: int) -> int:
        """The document that holds a token."""
        return bisect_right(self._pointers, offset * self.itemsize) - 1

    def will_need(self, start: int, stop: int) -> None:
        """Ask the kernel to read these tokens ahead, without waiting for them."""
        if start < stop:
            first = start * self.itemsize & -mmap.PAGESIZE
            self._mapped.madvise(mmap.MADV_WILLNEED, first, stop * self.itemsize - first)


class Dataset:
    """The tokens of one source and split; `len()` counts them."""

    def __init__(self, source: str, files: Sequence[TokenFile]) -> None:
        self.source, self.files = source, tuple(files)
        self._sizes = np.array([len(f) for f in self.files], np.int64)
        self.ends = np.cumsum(self._sizes)
        self._document_ends = np.cumsum([f.shard.num_documents for f in self.files], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.ends[-1]) if self.files else 0

    def read(self, start: int, length: int) -> Tokens:
        """`length` tokens from position `start`, across files; IndexError outside the dataset."""
        tokens = np.empty(length, np.int64)
        self.read_into(tokens, start)
        return tokens

    def read_into(self, out: Tokens, start: int) -> None:
        """Fill `out` with the tokens from position `start`; IndexError outside the dataset."""
        done = 0
        for file, first, last in self._pieces(start, len(out)):
            out[done : done + last - first] = file.tokens[first:last]
            done += last - first

    def locate(self, starts: Indices, lengths: Indices) -> tuple[Indices, Indices]:
        """The number of the file that holds each range, -1 where a range goes on in another, and the offset in it."""
        files = self.ends.searchsorted(starts, side="right")
        offsets = starts - (self.ends - self._sizes)[files]
        return np.where(starts + lengths > self.ends[files], -1, files), offsets

    def document_starts(self, start: int, length: int) -> Indices:
        """Positions in the dataset, ascending, in `start : start + length`, at which a document begins."""
        found, position = [np.empty(0, np.int64)], start
        for file, first, last in self._pieces(start, length):
            found.append(file.document_starts(first, last) + (position - first))
            position += last - first
        return np.concatenate(found)

    def document_spans(self, documents: Indices) -> tuple[Indices, Indices]:
        """Where documents of these numbers, counted over all files, begin, and their lengths (int64)."""
        files = self._document_ends.searchsorted(documents, side="right")
        starts, lengths = np.empty_like(files), np.empty_like(files)
        for number in np.unique(files):
            some, file = files == number, self.files[number]
            before = self._document_ends[number] - file.shard.num_documents
            starts[some], lengths[some] = file.document_spans(documents[some] - before)
            starts[some] += self.ends[number] - len(file)
        return starts, lengths

    def documents_in(self, start: int, length: int) -> range:
        """Numbers of the documents that hold the tokens `start : start + length`, and of empty ones between."""
        pieces = list(self._pieces(start, length))
        if not pieces:
            return range(0)
        (head, begin, _), (tail, _, end) = pieces[0], pieces[-1]
        first, last = self.ends.searchsorted([start, start + length - 1], side="right")
        before = self._document_ends[[first, last]] - [head.shard.num_documents, tail.shard.num_documents]
        return range(int(before[0]) + head.document_at(begin), int(before[1]) + tail.document_at(end - 1) + 1)

    def document_lengths(self) -> npt.NDArray[np.int32]:
        """Tokens of every document, in order; reads the lengths of all files, 4 bytes a document."""
        lengths = [f.document_lengths() for f in self.files]
        return np.concatenate([np.empty(0, np.int32), *lengths]).astype(np.int32, copy=False)

    def file_at(self, position: int) -> Place:
        """The file that holds a token, and where in it; IndexError outside the dataset."""
        ((file, first, _),) = self._pieces(position, 1)
        return Place(file.shard, first)

    def _pieces(self, start: int, length: int) -> Iterable[tuple[TokenFile, int, int]]:
        """The parts of files that make up a range: file, first token, end."""
        if not 0 <= start <= start + length <= len(self):
            raise IndexError(f"tokens {start}:{start + length} of {self.source}, which has {len(self)}")
        stop, index, pieces = start + length, int(self.ends.searchsorted(start, side="right")), []
        while start < stop:
            end = int(self.ends[index])
            file, last = self.files[index], min(stop, end)
            offset = end - len(file)
            if start < last:
                pieces.append((file, start - offset, last - offset))
            start, index = last, index + 1
        return pieces


def open_corpus(reader: Reader, split: Split) -> list[Dataset]:
    """The datasets of a split of a `TokenShard` table, by source; files in the order of their rows.

    Raises ContractError with every file that is missing or not what its row says.
    """
    sources: dict[str, list[TokenFile]] = {}
    problems: list[str] = []
    for row in reader.rows():
        if row.split == split:
            file = TokenFile(row, reader.base / row.bin.path, reader.base / row.idx.path)
            problems += _problems(file, reader.base)
            sources.setdefault(row.source, []).append(file)
    if problems:
        raise ContractError(str(reader.folder), problems)
    allow_open_files(2 * sum(map(len, sources.values())) + FILES_BESIDE)
    return [Dataset(source, sources[source]) for source in sorted(sources)]


def _problems(file: TokenFile, base: Path) -> list[str]:
    shard = file.shard
    problems = [p for blob in (shard.bin, shard.idx) for p in _blob_problems(blob, base)]
    if problems:
        return problems
    if shard.bin.size_bytes != shard.num_tokens * file.itemsize:
        found = f"the file holds {shard.bin.size_bytes / file.itemsize:g}"
        problems.append(f"{shard.bin.path}: the row says {shard.num_tokens} tokens, {found}")
    with file.idx.open("rb") as stream:
        head = stream.read(HEADER.size)
    if len(head) < HEADER.size or not head.startswith(MAGIC):
        return [*problems, f"{shard.idx.path}: not a Megatron index"]
    _, _, code, num_sequences, num_marks = HEADER.unpack(head)
    if code != CODES[shard.dtype]:
        found = DTYPES.get(code, f"type code {code}")
        problems.append(f"{shard.idx.path}: the row says ids of {shard.dtype}, the index {found}")
    if num_sequences != shard.num_documents:
        found = f"the index holds {num_sequences}"
        problems.append(f"{shard.idx.path}: the row says {shard.num_documents} documents, {found}")
    elif shard.idx.size_bytes != (size := HEADER.size + 12 * num_sequences + 8 * num_marks):
        found = f"found {shard.idx.size_bytes}"
        problems.append(f"{shard.idx.path}: expected {size} bytes for {num_sequences} documents, {found}")
    return problems


def _blob_problems(blob: BlobRef, base: Path) -> list[str]:
    try:
        blob.open_path(base)
    except ContractError as error:
        return [f"{blob.path}: {p}" for p in error.problems]
    return []


def allow_open_files(count: int) -> None:
    """A mapped file stays open: raise this process's own limit as far as it needs, if it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return
    if hard != resource.RLIM_INFINITY and hard < count:
        raise ContractError("the token files", [f"{count} files must be open at once, the limit is {hard}: ulimit -Hn"])
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
