"""Whether the token files are what their rows say: digests, ids of the vocabulary, and starts that follow from lengths.

Files are read side by side in threads (hashing and numpy let go of the interpreter), a block at a time into a buffer a
thread, so memory is a few blocks whatever the corpus. A `.bin` that is not the recorded one can hold anything, so its
ids are only spoken of when its digest is right.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from schemas.table import BlobRef, ContractError, sha256_file
from schemas.tokens import Tokenizer, TokenShard
from stages.base import num_workers
from stages.progress import Progress
from stages.stream.megatron import DTYPES, HEADER, Indexed, index_problems
from stages.stream.order import Array
from stages.tables import Reader

BLOCK_BYTES = 4 << 20
MAX_PROBLEMS = 50  # of thousands of broken files the first say what is wrong


def tokenizer_problems(rows: Iterable[TokenShard], tokenizer: Tokenizer) -> list[str]:
    """Files whose ids another tokenizer made."""
    given = tokenizer.file.sha256
    return [
        f"{row.bin.path}: made with tokenizer {row.tokenizer_sha256[:12]}, given is {given[:12]}"
        for row in rows
        if row.tokenizer_sha256 != given
    ]


def file_problems(rows: Sequence[TokenShard], reader: Reader, vocab_size: int, progress: Progress) -> list[str]:
    """What is wrong with the bytes of these pairs of files."""
    progress.start("bytes", sum(row.bin.size_bytes for row in rows))
    found: list[str] = []
    with ThreadPoolExecutor(num_workers()) as pool:
        for row, problems in zip(rows, pool.map(lambda r: list(_problems(r, reader, vocab_size)), rows), strict=True):
            found += problems
            progress.advance(row.bin.size_bytes)
    return found


def refuse(what: str, problems: Sequence[str]) -> None:
    """`ContractError` if there are problems, with the first of very many."""
    if more := len(problems) - MAX_PROBLEMS:
        problems = [*problems[:MAX_PROBLEMS], f"and {more} more"] if more > 0 else problems
    if problems:
        raise ContractError(what, problems)


def _problems(row: TokenShard, reader: Reader, vocab_size: int) -> Iterator[str]:
    bin_file, idx = (reader.base / blob.path for blob in (row.bin, row.idx))
    sizes = [f.stat().st_size if f.is_file() else None for f in (bin_file, idx)]
    if sizes != [row.bin.size_bytes, row.idx.size_bytes]:
        return  # opening the corpus says so of every file
    if (digest := sha256_file(idx)) != row.idx.sha256:
        yield _changed(row.idx, digest)
    else:
        yield from (f"{row.idx.path}: {problem}" for problem in stored_index_problems(idx))
    digest, wrong, first = scan(bin_file, np.dtype(row.dtype).newbyteorder("<"), vocab_size)
    if digest != row.bin.sha256:
        yield _changed(row.bin, digest)
    elif wrong:
        yield f"{row.bin.path}: {wrong} id(s) are not in 0..{vocab_size - 1}, the tokenizer's vocabulary; {first}"


def _changed(blob: BlobRef, found: str) -> str:
    cure = "copy it again, or run tokenize again (--force)"
    return f"{blob.path}: expected SHA-256 {blob.sha256[:12]}, found {found[:12]}: its bytes have changed; {cure}"


def stored_index_problems(idx: Path) -> list[str]:
    """What is wrong inside an `.idx`, read a block at a time and not mapped, so that nothing of it stays in memory."""
    with idx.open("rb") as stream:
        _, _, code, num_sequences, num_marks = HEADER.unpack(stream.read(HEADER.size))
    if idx.stat().st_size != (expected := HEADER.size + 12 * num_sequences + 8 * num_marks):
        return [f"expected {expected} bytes for {num_sequences} sequences, found {idx.stat().st_size}"]
    lengths: Any = _Stored(idx, "<i4", HEADER.size, num_sequences)
    pointers: Any = _Stored(idx, "<i8", HEADER.size + 4 * num_sequences, num_sequences)
    marks: Any = _Stored(idx, "<i8", HEADER.size + 12 * num_sequences, num_marks)
    return index_problems(Indexed(np.zeros(0, DTYPES[code]), lengths, pointers, marks))


@dataclass(frozen=True)
class _Stored:
    """An array in a file, of which slices are read when they are asked for."""

    file: Path
    dtype: str
    offset: int
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, part: slice) -> Array:
        first, last, _ = part.indices(self.length)
        offset = self.offset + first * np.dtype(self.dtype).itemsize
        return np.fromfile(self.file, self.dtype, last - first, offset=offset)


def scan(file: Path, dtype: np.dtype[Any], vocab_size: int) -> tuple[str, int, str]:
    """Read a file once: its SHA-256, how many of its ids are not in the vocabulary, and where the first of them is."""
    digest, wrong, first, start = hashlib.sha256(), 0, "", 0
    buffer = np.empty(BLOCK_BYTES, np.uint8)
    with file.open("rb") as stream:
        while size := stream.readinto(buffer.data):
            digest.update(buffer[:size].data)
            ids = buffer[: size // dtype.itemsize * dtype.itemsize].view(dtype)
            if ids.size and (int(ids.max()) >= vocab_size or int(ids.min()) < 0):
                positions = np.flatnonzero((ids >= vocab_size) | (ids < 0))
                wrong += len(positions)
                first = first or f"the first is {ids[positions[0]]} at token {start + int(positions[0])}"
            start += len(ids)
    return digest.hexdigest(), wrong, first
