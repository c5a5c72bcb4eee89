"""Token files in the Megatron layout: `name.bin` holds the ids one after another, `name.idx` says where each run starts.

The layout is that of `megatron/core/datasets/indexed_dataset.py` (megatron-core 0.16), so that Megatron, and all that
reads its files, takes ours. All numbers are little endian:

    0       9 bytes   magic
    9       u64       version, 1
    17      u8        code of the ids' type (8: uint16, 4: int32)
    18      u64       S, number of sequences (here: documents)
    26      u64       D, number of document marks (documents + 1)
    34      S int32   length of each sequence in tokens
    34+4S   S int64   where it starts in `.bin`, in bytes
    34+12S  D int64   the sequence with which each document starts, and S at the end

What it gives up: modes of multimodal files, and documents of several sequences are read and merged, but not written.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from schemas.table import ContractError

Array = npt.NDArray[Any]
DtypeName = Literal["uint16", "int32"]

MAGIC = b"MMIDIDX\x00\x00"
HEADER = struct.Struct("<9sQBQQ")
DTYPES = {1: "<u1", 2: "<i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}  # 6 and 7 are floats: no ids
CODES = {"int32": 4, "uint16": 8}  # of what is written here
CODE_OF = {np.dtype(dtype).name: code for code, dtype in DTYPES.items()}
SEND_BYTES = 8 << 20  # of an index that are sent to the disk while the next are made, so that fsync waits for few
BLOCK_SEQUENCES = 1 << 16  # of an index that are worked on together: half a MiB, which stays in the cache
UINT16_VOCAB = 65_500  # Megatron's `optimal_dtype`: two bytes below this, else int32


def dtype_for(vocab_size: int) -> DtypeName:
    """Choose the type of ids as Megatron does for a vocabulary of this size."""
    return "uint16" if vocab_size < UINT16_VOCAB else "int32"


@dataclass(frozen=True)
class Indexed:
    """An open pair of token files: N tokens in S sequences.

    `tokens` (N ids, mapped, read-only), `lengths` (S int32, in tokens), `pointers` (S int64, bytes in `.bin`),
    `documents` (D int64: the first sequence of each document, then S).
    """

    tokens: Array
    lengths: Array
    pointers: Array
    documents: Array

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Array:
        """Sequence `index`, a view of the file."""
        start = int(self.pointers[index]) // self.tokens.itemsize
        return self.tokens[start : start + int(self.lengths[index])]


class IndexedWriter:
    """Writes `bin` as the documents come and, leaving its `with` block, `idx`; without it the pair is not readable.

    `lengths` are the documents that an earlier, interrupted writer put in `bin`: what comes after them is cut off.
    """

    def __init__(self, bin_file: Path, dtype: DtypeName, lengths: Array | None = None) -> None:
        self.bin, self.idx, self.dtype = bin_file, bin_file.with_suffix(".idx"), dtype
        self.num_tokens, self.num_documents = 0, 0
        self._type = np.dtype(DTYPES[CODES[dtype]])
        self._lengths: list[Array] = []
        self._count(np.zeros(0, "<i4") if lengths is None else lengths)
        bin_file.parent.mkdir(parents=True, exist_ok=True)
        self.idx.unlink(missing_ok=True)
        self._file = bin_file.open("ab")
        self._file.truncate(self.num_tokens * self._type.itemsize)

    def append(self, tokens: Array, lengths: Array) -> None:
        """Add documents: their ids one after another, and how many belong to each."""
        self._file.write(np.ascontiguousarray(tokens, self._type).data)
        self._count(lengths)

    def sync(self) -> None:
        """Put on disk what was appended."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def _count(self, lengths: Array) -> None:
        self._lengths.append(lengths.astype("<i4"))
        self.num_tokens += int(lengths.sum(dtype=np.int64))
        self.num_documents += len(lengths)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._file:
            self.sync()
        if kind is None:
            write_index(self.idx, np.concatenate(self._lengths), self.dtype)


def write_index(idx: Path, lengths: Array, dtype: DtypeName) -> None:
    """Write the `.idx` of documents of these lengths, one sequence each."""
    temporary, sent = idx.with_suffix(".idx.tmp"), 0
    with temporary.open("wb") as file:
        for block in index_blocks(CODES[dtype], [lengths], [range(len(lengths) + 1)]):
            file.write(block)
            if file.tell() - sent >= SEND_BYTES:
                os.posix_fadvise(file.fileno(), sent, file.tell() - sent, os.POSIX_FADV_DONTNEED)
                sent = file.tell()
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(idx)


def index_blocks(code: int, lengths: Sequence[Array], marks: Sequence[Array | range]) -> Iterator[bytes | memoryview]:
    """The bytes of an index, some at a time, each good until the next: of parts one after the other, their own marks."""
    num_sequences, num_marks = sum(map(len, lengths)), 1 + sum(len(m) - 1 for m in marks)
    yield HEADER.pack(MAGIC, 1, code, num_sequences, num_marks)
    for block in _blocks(lengths):
        yield block.astype("<i4", copy=False).data
    for pointers in _pointers(lengths, np.dtype(DTYPES[code]).itemsize):
        yield pointers.data
    before = 0
    for number, (part, own) in enumerate(zip(lengths, marks, strict=True)):
        for some in _blocks([own[number > 0 :]]):  # the first mark of a part is the last of the part before
            block = np.arange(some.start, some.stop) if isinstance(some, range) else some
            yield (block + before).astype("<i8", copy=False).data
        before += len(part)


def _pointers(lengths: Sequence[Array], itemsize: int) -> Iterator[Array]:
    start, buffer = 0, np.empty(BLOCK_SEQUENCES, "<i8")
    for block in _blocks(lengths):
        pointers = np.cumsum(block, out=buffer[: len(block)])
        tokens = int(pointers[-1])
        pointers -= block
        pointers *= itemsize
        pointers += start
        yield pointers
        start += tokens * itemsize


def _blocks(parts: Sequence[Any]) -> Iterator[Any]:
    for part in parts:
        for first in range(0, len(part), BLOCK_SEQUENCES):
            yield part[first : first + BLOCK_SEQUENCES]


def open_indexed(bin_file: Path, idx: Path) -> Indexed:
    """Map a pair of token files; `ContractError` says what is wrong with their sizes and ends, at any size at no cost.

    Whether all that lies between follows is `index_problems`, which reads the index.
    """
    dtype, lengths, pointers, documents = _read_index(idx)
    if not bin_file.is_file():
        raise ContractError(str(bin_file), ["no such file"])
    problems, found = [], bin_file.stat().st_size
    expected = int(pointers[-1]) + int(lengths[-1]) * dtype.itemsize if len(lengths) else 0
    if found != expected:
        problems.append(f"expected {expected} bytes ({dtype.name} ids up to the end of {idx.name}), found {found}")
    if len(documents) == 0 or documents[0] != 0 or documents[-1] != len(lengths):
        problems.append(f"{idx.name}: the document marks do not go from 0 to {len(lengths)}")
    if problems:
        raise ContractError(str(bin_file), problems)
    tokens = np.memmap(bin_file, dtype, mode="r") if found else np.zeros(0, dtype)  # an empty file cannot be mapped
    return Indexed(tokens, lengths, pointers, documents)


def index_problems(pair: Indexed) -> list[str]:
    """What is wrong inside an index: lengths below 0, starts that do not follow from them, marks that go back."""
    problems = []
    if any((block < 0).any() for block in _blocks([pair.lengths])):
        problems.append("a length is below 0")
    expected = _pointers([pair.lengths], pair.tokens.itemsize)
    if not all(np.array_equal(*pointers) for pointers in zip(_blocks([pair.pointers]), expected, strict=True)):
        problems.append("the starts do not follow from the lengths")
    last = 0
    for block in _blocks([pair.documents]):
        if block[0] < last or (np.diff(block) < 0).any():
            problems.append("the document marks go back")
            break
        last = block[-1]
    return problems


def _read_index(idx: Path) -> tuple[np.dtype[Any], Array, Array, Array]:
    if not idx.is_file():
        raise ContractError(str(idx), ["no such file"])
    size = idx.stat().st_size
    if size < HEADER.size:
        raise ContractError(str(idx), [f"expected at least {HEADER.size} bytes, found {size}: the file is cut off"])
    with idx.open("rb") as file:
        magic, version, code, num_sequences, num_marks = HEADER.unpack(file.read(HEADER.size))
    if magic != MAGIC:
        problem = f"expected the magic {MAGIC!r}, found {magic!r}: not a Megatron index"
    elif version != 1 or code not in DTYPES:
        problem = f"expected version 1 and a type among {sorted(DTYPES)}, found {version} and {code}"
    elif size != (expected := HEADER.size + 12 * num_sequences + 8 * num_marks):
        problem = f"expected {expected} bytes for {num_sequences} sequences, found {size}"
    else:
        return _map_index(idx, DTYPES[code], num_sequences)
    raise ContractError(str(idx), [problem])


def _map_index(idx: Path, dtype: str, num_sequences: int) -> tuple[np.dtype[Any], Array, Array, Array]:
    data = np.memmap(idx, np.uint8, mode="r", offset=HEADER.size)
    lengths, pointers, documents = np.split(data, [4 * num_sequences, 12 * num_sequences])
    return np.dtype(dtype), lengths.view("<i4"), pointers.view("<i8"), documents.view("<i8")
