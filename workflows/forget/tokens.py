"""Cutting documents out of token files: a new `.bin` and `.idx` beside the old ones, which then take their names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from schemas.table import BlobRef, ContractError
from schemas.tokens import TokenShard
from stages.stream.megatron import open_indexed, write_index

BLOCK_TOKENS = 1 << 22
Row = dict[str, Any]


def cut(shard: TokenShard, base: Path, gone: Sequence[Row]) -> TokenShard:
    """Cut the documents of these `TokenizedDocument` rows out of a pair; its row as it is now.

    Both new files are whole before the first takes its name, so work that was cut short can be taken up.
    """
    gone = [row for row in gone if row["bin"] == shard.bin.path]
    if not gone:
        return shard
    bin_file, idx = base / shard.bin.path, base / shard.idx.path
    new_bin, new_idx = bin_file.with_suffix(".bin.new"), bin_file.with_suffix(".idx.new")
    if bin_file.stat().st_size == shard.bin.size_bytes:
        _write(shard, (bin_file, idx), (new_bin, new_idx), gone)
        new_bin.replace(bin_file)
    if new_idx.exists():
        new_idx.replace(idx)
    left = {"num_tokens": shard.num_tokens - _num_tokens(gone), "num_documents": shard.num_documents - len(gone)}
    return shard.model_copy(update={**left, "bin": BlobRef.of(bin_file, base), "idx": BlobRef.of(idx, base)})


def moved(row: Row, gone: Sequence[Row]) -> Row:
    """A document's row after others of its file have gone."""
    before = [g for g in gone if g["bin"] == row["bin"] and g["start"] < row["start"]]
    return {**row, "start": row["start"] - _num_tokens(before)}


def _num_tokens(rows: Sequence[Row]) -> int:
    return sum(row["num_tokens"] for row in rows)


def _write(shard: TokenShard, old: tuple[Path, Path], new: tuple[Path, Path], gone: Sequence[Row]) -> None:
    indexed = open_indexed(*old)
    starts = np.cumsum(indexed.lengths, dtype=np.int64) - indexed.lengths
    stay = ~np.isin(starts, [row["start"] for row in gone]) | (indexed.lengths == 0)
    lengths = indexed.lengths[stay].copy()
    if lengths.sum(dtype=np.int64) != shard.num_tokens - _num_tokens(gone):
        raise ContractError(str(old[1]), ["its documents are not those of the table: tokenize again"])
    _copy(indexed.tokens, starts[stay], lengths, new[0])
    write_index(new[1], lengths, shard.dtype)


def _copy(tokens: Any, starts: Any, lengths: Any, file: Path) -> None:
    with file.open("wb") as out:
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            for first in range(start, start + length, BLOCK_TOKENS):
                out.write(np.ascontiguousarray(tokens[first : min(first + BLOCK_TOKENS, start + length)]).data)
