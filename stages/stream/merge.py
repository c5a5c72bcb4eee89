"""Many pairs of token files as one a source, for those who go on with Megatron.

    python -m stages.stream.merge OUT --tokens runs/.../tokenize/.../shards

The `.bin` files are put one behind the other by the kernel (`copy_file_range`, which shares blocks where the file system
can), so no token passes through Python; the `.idx` is joined. The result is what Megatron's own merge writes
(`IndexedDatasetBuilder.add_index`). Both files get their names when they are complete, `.idx` last, so a pair that was
cut off is never taken for a finished one.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from schemas.table import ContractError
from schemas.tokens import TokenShard
from stages.stream.corpus import Dataset, allow_open_files, open_corpus
from stages.stream.megatron import CODE_OF, Indexed, index_blocks, index_problems, open_indexed
from stages.tables import Reader

BLOCK_BYTES = 4 << 20

Pair = tuple[Path, Path]  # `.bin`, `.idx`


def merge(parts: Sequence[Pair], out: Path) -> Pair:
    """Write the sequences of all parts, in order, to `out` (a `.bin`) and the `.idx` beside it.

    ContractError names every part that is broken, or of another type than the first; nothing is written then.
    """
    pairs = _open(parts)
    idx = out.with_suffix(".idx")
    bin_temporary, idx_temporary = (file.with_suffix(f"{file.suffix}.tmp") for file in (out, idx))
    out.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for file in (bin_temporary, idx_temporary):
            stack.callback(file.unlink, missing_ok=True)
        with bin_temporary.open("wb", buffering=0) as target:
            for bin_file, _ in parts:
                _append(bin_file, target.fileno())
            os.fsync(target.fileno())
        with idx_temporary.open("wb") as joined:
            code = CODE_OF[pairs[0].tokens.dtype.name]
            for block in index_blocks(code, [p.lengths for p in pairs], [p.documents for p in pairs]):
                joined.write(block)
            joined.flush()
            os.fsync(joined.fileno())
        idx.unlink(missing_ok=True)  # until the last rename there is no readable pair
        bin_temporary.replace(out)
        idx_temporary.replace(idx)
    _sync_folder(out.parent)
    return out, idx


def _open(parts: Sequence[Pair]) -> list[Indexed]:
    allow_open_files(2 * len(parts))
    problems, pairs = [], []
    for bin_file, idx in parts:
        try:
            pair = open_indexed(bin_file, idx)
        except ContractError as error:
            problems += [f"{bin_file}: {problem}" for problem in error.problems]
            continue
        pairs.append(pair)
        problems += [f"{idx}: {problem}" for problem in index_problems(pair)]
        if pair.tokens.dtype != pairs[0].tokens.dtype:
            found = f"ids of {pair.tokens.dtype}, but {pairs[0].tokens.dtype} in the parts before"
            problems.append(f"{bin_file}: {found}: encode all parts with one tokenizer")
    if problems or not pairs:
        raise ContractError("the parts to merge", problems or ["none were given"])
    return pairs


def _append(source: Path, target: int) -> None:
    """Copy a file to where `target` stands, by the first of three ways that kernel and file systems offer."""
    with source.open("rb", buffering=0) as stream:
        file, left = stream.fileno(), os.fstat(stream.fileno()).st_size
        ways: list[Callable[[int], int]] = [
            lambda count: os.copy_file_range(file, target, count),
            lambda count: os.sendfile(target, file, None, count),
            lambda count: _copy(file, target, count),
        ]
        for way in ways:
            try:
                while left and (count := way(left)):
                    left -= count
            except OSError:
                if way is ways[-1]:
                    raise
    if left:
        raise ContractError(str(source), [f"its last {left} bytes went away while it was copied"])


def _copy(source: int, target: int, count: int) -> int:
    data = os.read(source, min(count, BLOCK_BYTES))
    left = memoryview(data)
    while left:
        left = left[os.write(target, left) :]
    return len(data)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def merge_table(tokens: Reader, out: Path) -> Iterator[tuple[Dataset, Path]]:
    """Merge the files of each split and source of a table into `out/SPLIT-SOURCE.bin`; yields what was merged, where."""
    names: set[str] = set()
    for split in ("train", "validation"):
        for dataset in open_corpus(tokens, split):
            name = stem = re.sub("[^A-Za-z0-9._-]+", "-", f"{split}-{dataset.source}")
            while name in names:  # two sources that differ in signs a file's name cannot have
                name = f"{stem}-{len(names)}"
            names.add(name)
            merge([(file.bin, file.idx) for file in dataset.files], out / f"{name}.bin")
            yield dataset, out / name


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; prints a line a pair, in Megatron's words its prefix first."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.stream.merge", description="Merge token files, a pair a source."
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the merged pairs, SPLIT-SOURCE.bin and .idx")
    parser.add_argument("--tokens", type=Path, required=True, help="table of TokenShard rows (tokenize's `shards`)")
    options = parser.parse_args(arguments)
    try:
        for dataset, prefix in merge_table(Reader(options.tokens, TokenShard), options.out):
            documents = sum(file.shard.num_documents for file in dataset.files)
            print(f"{prefix}  {len(dataset):,} tokens, {documents:,} documents, {len(dataset.files)} files", flush=True)
    except ContractError as error:
        print(f"stages.stream.merge: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
