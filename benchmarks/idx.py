"""Writing the `.idx` of 20 million documents, the same file as Megatron's.

Goal: at least 25 times as fast as `IndexedDatasetBuilder.finalize`, which is called on a builder that holds the lists
that its `add_document` would have made. Ours also waits until the file is on disk, theirs does not.
"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.megatron_peer import NAME, document_lengths, megatron_module
from benchmarks.table import Comparison, Options, interleaved, main
from stages.stream.megatron import DtypeName, write_index


def run(options: Options) -> Iterator[Comparison]:
    """Compare both types of ids."""
    count = 500_000 if options.quick else 20_000_000
    lengths = document_lengths(count, seed=0)
    dtypes: tuple[DtypeName, ...] = ("uint16", "int32")
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder) / "ours.idx", Path(folder) / "theirs.idx"
        for dtype in dtypes:
            kind = np.dtype(dtype).type
            builder = megatron_module("indexed_dataset").IndexedDatasetBuilder(f"{folder}/theirs.bin", dtype=kind)
            builder.sequence_lengths, builder.document_indices = lengths.tolist(), list(range(count + 1))
            write, finalize = partial(write_index, ours, lengths, dtype), partial(builder.finalize, str(theirs))
            mine, other = interleaved(write, finalize, repetitions=3)
            equal = same(ours, theirs)
            yield Comparison(f".idx of {count:,} documents, {dtype}", NAME, mine, other, "s", other / mine, equal)


def same(ours: Path, theirs: Path) -> bool:
    """Whether two files have the same bytes, some at a time."""
    if ours.stat().st_size != theirs.stat().st_size:
        return False
    with ours.open("rb") as a, theirs.open("rb") as b:
        return all(block == b.read(1 << 24) for block in iter(lambda: a.read(1 << 24), b""))


if __name__ == "__main__":
    main("idx", run)
