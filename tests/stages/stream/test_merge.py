"""Merged token files are what Megatron's own merge writes, and are there whole or not at all."""

import errno
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.table import ContractError
from stages.base import PACKAGE_ROOT
from stages.stream.megatron import IndexedWriter, open_indexed
from stages.stream.merge import Pair, main, merge
from tests.stages.stream.token_table import Documents, shard, token_reader

PARTS: list[Documents] = [[[1, 2, 3], [], [4]], [[5]], [], [[6, 7], [8, 9, 10, 11]], [[]]]


def write(folder: Path, parts: Sequence[Documents], dtype: str = "uint16") -> list[Pair]:
    """Write each part as a pair of files."""
    pairs = []
    for number, documents in enumerate(parts):
        with IndexedWriter(folder / f"part-{number}.bin", dtype) as writer:  # type: ignore[arg-type]
            ids = np.array([t for d in documents for t in d], np.int64)
            writer.append(ids, np.array([len(d) for d in documents], np.int32))
        pairs.append((writer.bin, writer.idx))
    return pairs


def theirs(megatron: ModuleType, folder: Path, pairs: Sequence[Pair], dtype: type = np.uint16) -> Pair:
    """Merge with Megatron's builder."""
    builder = megatron.IndexedDatasetBuilder(str(folder / "theirs.bin"), dtype=dtype)
    for bin_file, _ in pairs:
        builder.add_index(str(bin_file.with_suffix("")))
    builder.finalize(str(folder / "theirs.idx"))
    return folder / "theirs.bin", folder / "theirs.idx"


def same(ours: Pair, other: Pair) -> bool:
    """Whether both files of two pairs have the same bytes."""
    return all(a.read_bytes() == b.read_bytes() for a, b in zip(ours, other, strict=True))


@pytest.mark.parametrize("dtype", ["uint16", "int32"])
def test_merge_is_megatrons(megatron: ModuleType, tmp_path: Path, dtype: str) -> None:
    """Both files are byte for byte those of Megatron's merge, in either type."""
    pairs = write(tmp_path, [p for p in PARTS if p and p != [[]]], dtype)  # Megatron cannot map a `.bin` without a byte
    merged = merge(pairs, tmp_path / "out" / "all.bin")
    assert same(merged, theirs(megatron, tmp_path, pairs, np.dtype(dtype).type))
    dataset = megatron.IndexedDataset(str(tmp_path / "out" / "all"))
    assert [dataset[i].tolist() for i in range(len(dataset))] == [d for part in PARTS if part != [[]] for d in part]


def test_empty_parts(tmp_path: Path) -> None:
    """Parts without documents, or with empty ones, add what they have."""
    opened = open_indexed(*merge(write(tmp_path, PARTS), tmp_path / "all.bin"))
    assert [opened[i].tolist() for i in range(len(opened))] == [d for part in PARTS for d in part]
    assert opened.documents.tolist() == list(range(8))


Documents_ = st.lists(st.lists(st.integers(0, 65_499), max_size=5), max_size=5)


@settings(max_examples=12, deadline=None)
@given(st.lists(Documents_.filter(any), min_size=1, max_size=5))
def test_any_parts(megatron: ModuleType, tmp_path_factory: pytest.TempPathFactory, parts: list[Documents]) -> None:
    """Whatever the parts, the merge is Megatron's."""
    folder = tmp_path_factory.mktemp("merge")
    pairs = write(folder, parts)
    assert same(merge(pairs, folder / "all.bin"), theirs(megatron, folder, pairs))


def test_documents_of_several_sequences(megatron: ModuleType, tmp_path: Path) -> None:
    """Marks of files that others wrote, with documents of several sequences, are kept."""
    for number in range(2):
        builder = megatron.IndexedDatasetBuilder(str(tmp_path / f"{number}.bin"), dtype=np.int32)
        builder.add_document(np.arange(5, dtype=np.int32), [2, 3])
        builder.add_document(np.arange(7, dtype=np.int32), [7])
        builder.finalize(str(tmp_path / f"{number}.idx"))
    pairs = [(tmp_path / f"{number}.bin", tmp_path / f"{number}.idx") for number in range(2)]
    merged = merge(pairs, tmp_path / "all.bin")
    assert same(merged, theirs(megatron, tmp_path, pairs, np.int32))
    assert open_indexed(*merged).documents.tolist() == [0, 2, 3, 5, 6]


@pytest.mark.parametrize("missing", [[], ["copy_file_range"], ["copy_file_range", "sendfile"]])
@pytest.mark.parametrize("error", [errno.EXDEV, errno.ENOSYS])
def test_every_way_of_copying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: list[str], error: int) -> None:
    """Where the kernel cannot copy between two files one way, the next way gives the same bytes."""
    pairs = write(tmp_path, PARTS)
    expected = [f.read_bytes() for f in merge(pairs, tmp_path / "first.bin")]

    def refuse(*_: object) -> NoReturn:
        raise OSError(error, os.strerror(error))

    for name in missing:
        monkeypatch.setattr(os, name, refuse)
    assert [f.read_bytes() for f in merge(pairs, tmp_path / "again.bin")] == expected


def test_a_way_that_stops_halfway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one way copied before it stopped is not copied again by the next."""
    pairs, real = write(tmp_path, PARTS), os.copy_file_range
    expected = [f.read_bytes() for f in merge(pairs, tmp_path / "first.bin")]
    monkeypatch.setattr(os, "sendfile", lambda *_: 0)
    calls = iter([3, 2, 0, 1] + [0] * 50)
    monkeypatch.setattr(os, "copy_file_range", lambda s, t, n: real(s, t, c) if (c := min(next(calls), n)) else 0)
    assert [f.read_bytes() for f in merge(pairs, tmp_path / "again.bin")] == expected


@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
def test_a_merge_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """A full disk at any moment leaves no pair that looks done, and no temporary file."""
    pairs = write(tmp_path / "parts", PARTS)
    merge(pairs[:1], tmp_path / "all.bin")  # an earlier pair stands where the new one goes

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if moment == "write":
        for name in ("copy_file_range", "sendfile", "write"):
            monkeypatch.setattr(os, name, full)
    elif moment == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        merge(pairs, tmp_path / "all.bin")
    assert not list(tmp_path.glob("*.tmp"))
    assert (tmp_path / "all.idx").exists() == (moment != "replace")
    if moment != "replace":
        assert len(open_indexed(tmp_path / "all.bin", tmp_path / "all.idx")) == len(PARTS[0])


def test_broken_parts_are_all_named(tmp_path: Path) -> None:
    """Every part that is cut, of another type or damaged inside is named, and nothing is written."""
    pairs = write(tmp_path, PARTS)
    pairs += write(tmp_path / "other", [[[1, 2]]], "int32")
    pairs[0][0].write_bytes(pairs[0][0].read_bytes()[:-2])
    damaged = bytearray(pairs[3][1].read_bytes())
    damaged[34 + 4 * 2] ^= 6
    pairs[3][1].write_bytes(damaged)
    with pytest.raises(ContractError) as caught:
        merge(pairs, tmp_path / "all.bin")
    words = str(caught.value)
    assert "part-0.bin: expected 8 bytes" in words
    assert "part-3.idx: the starts do not follow" in words
    assert "ids of int32, but uint16 in the parts before" in words
    assert not list(tmp_path.glob("all*"))
    with pytest.raises(ContractError, match="none were given"):
        merge([], tmp_path / "all.bin")


def test_command_merges_each_split_and_source(
    megatron: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command writes one pair a split and source of a table, named for them, and tells their prefixes."""
    rows = [
        shard(tmp_path / "t", "web-0", [[1, 2], [3]]),
        shard(tmp_path / "t", "web-1", [[4, 5, 6]]),
        shard(tmp_path / "t", "a b-0", [[7]]),
        shard(tmp_path / "t", "a+b-0", [[8]]),
        shard(tmp_path / "t", "web-2", [[9]], "validation"),
    ]
    folder = token_reader(tmp_path / "t", rows).folder
    assert main([str(tmp_path / "out"), "--tokens", str(folder)]) == 0
    names = {f.stem for f in (tmp_path / "out").iterdir()}
    assert names == {"train-web", "train-a-b", "train-a-b-1", "validation-web"}
    dataset = megatron.IndexedDataset(str(tmp_path / "out" / "train-web"))
    assert [dataset[i].tolist() for i in range(len(dataset))] == [[1, 2], [3], [4, 5, 6]]
    assert f"{tmp_path / 'out' / 'train-web'}  6 tokens, 3 documents, 2 files" in capsys.readouterr().out


def test_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A broken table ends the command with exit code 3 and its words."""
    row = shard(tmp_path / "t", "web-0", [[1, 2], [3]])
    folder = token_reader(tmp_path / "t", [row]).folder
    (tmp_path / "t" / row.bin.path).unlink()
    assert main([str(tmp_path / "out"), "--tokens", str(folder)]) == 3
    assert "missing" in capsys.readouterr().err


def test_command_is_light() -> None:
    """The command needs no compiler and no tensor library."""
    code = (
        "import sys, stages.stream.merge; print([m for m in ('torch', 'numba', 'parsl', 'duckdb') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE_ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
