"""The token files are Megatron's, read and written."""

import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.table import ContractError
from stages.base import PACKAGE_ROOT
from stages.stream import megatron as module
from stages.stream.megatron import IndexedWriter, dtype_for, index_problems, open_indexed, write_index

DOCUMENTS = [[5, 6, 7, 0], [0], [65_000, 0], [], [1, 2, 3, 4, 5, 6, 0]]


def write(stem: Path, documents: list[list[int]], dtype: str = "uint16", batch: int = 2) -> tuple[Path, Path]:
    """Write `documents` in batches of `batch`."""
    with IndexedWriter(stem.with_suffix(".bin"), dtype) as writer:  # type: ignore[arg-type]
        for start in range(0, len(documents), batch):
            part = documents[start : start + batch]
            writer.append(np.array([t for d in part for t in d], np.int64), np.array([len(d) for d in part]))
    return writer.bin, writer.idx


@pytest.mark.parametrize("dtype", ["uint16", "int32"])
def test_bytes_are_megatrons(megatron: ModuleType, tmp_path: Path, dtype: str) -> None:
    """Both files are byte for byte what Megatron's own builder writes."""
    files = write(tmp_path / "ours", DOCUMENTS, dtype)
    builder = megatron.IndexedDatasetBuilder(str(tmp_path / "theirs.bin"), dtype=np.dtype(dtype).type)
    for document in DOCUMENTS:
        builder.add_document(np.array(document, dtype), [len(document)])
    builder.finalize(str(tmp_path / "theirs.idx"))
    for ours in files:
        assert ours.read_bytes() == (tmp_path / f"theirs{ours.suffix}").read_bytes()


def test_megatron_reads_ours(megatron: ModuleType, tmp_path: Path) -> None:
    """Megatron's dataset gives back the documents that were written."""
    write(tmp_path / "ours", DOCUMENTS)
    dataset = megatron.IndexedDataset(str(tmp_path / "ours"))
    assert [dataset[i].tolist() for i in range(len(dataset))] == DOCUMENTS
    assert dataset.document_indices.tolist() == [0, 1, 2, 3, 4, 5]


def test_we_read_megatrons(megatron: ModuleType, tmp_path: Path) -> None:
    """A file of Megatron's with documents of several sequences opens, marks included."""
    builder = megatron.IndexedDatasetBuilder(str(tmp_path / "theirs.bin"), dtype=np.int32)
    builder.add_document(np.arange(5, dtype=np.int32), [2, 3])
    builder.add_document(np.arange(9, dtype=np.int32), [9])
    builder.finalize(str(tmp_path / "theirs.idx"))
    opened = open_indexed(tmp_path / "theirs.bin", tmp_path / "theirs.idx")
    assert [opened[i].tolist() for i in range(len(opened))] == [[0, 1], [2, 3, 4], list(range(9))]
    assert opened.documents.tolist() == [0, 2, 3]


def test_type_follows_megatrons_rule(megatron: ModuleType) -> None:
    """The type of ids changes where Megatron changes it."""
    for size in (1, 65_499, 65_500, 65_536, 128_000):
        assert np.dtype(dtype_for(size)) == np.dtype(megatron.DType.optimal_dtype(size))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 65_499), max_size=6), max_size=12), st.integers(1, 5))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, documents: list[list[int]], batch: int) -> None:
    """What is written is read back, whatever the documents and the batches."""
    opened = open_indexed(*write(tmp_path_factory.mktemp("pair") / "x", documents, batch=batch))
    assert [opened[i].tolist() for i in range(len(opened))] == documents
    assert opened.tokens.tolist() == [t for d in documents for t in d]
    assert (opened.lengths.dtype, opened.pointers.dtype) == (np.dtype("<i4"), np.dtype("<i8"))


def test_writer_goes_on_after_a_kill(tmp_path: Path) -> None:
    """A writer told what was finished cuts off the rest and ends with the bytes of an unbroken run."""
    unbroken = write(tmp_path / "unbroken", DOCUMENTS)
    with suppress(KeyboardInterrupt), IndexedWriter(tmp_path / "killed.bin", "uint16") as killed:
        killed.append(np.array([5, 6, 7, 0, 0, 99, 99]), np.array([4, 1, 2]))
        raise KeyboardInterrupt
    assert not killed.idx.exists()
    with IndexedWriter(killed.bin, "uint16", np.array([4, 1])) as again:
        assert (again.num_documents, again.num_tokens) == (2, 5)
        for document in DOCUMENTS[2:]:
            again.append(np.array(document, np.int64), np.array([len(document)]))
    assert [f.read_bytes() for f in (again.bin, again.idx)] == [f.read_bytes() for f in unbroken]


def test_cut_index(tmp_path: Path) -> None:
    """An index cut at any byte is refused with the sizes, and so is one with a byte too many."""
    bin_file, idx = write(tmp_path / "x", DOCUMENTS)
    whole = idx.read_bytes()
    for kept in range(len(whole)):
        idx.write_bytes(whole[:kept])
        with pytest.raises(ContractError, match=rf"found {kept}\b"):
            open_indexed(bin_file, idx)
    idx.write_bytes(whole + b"\0")
    with pytest.raises(ContractError, match=f"found {len(whole) + 1}"):
        open_indexed(bin_file, idx)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_damage_to_an_index_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Changed bytes of an index are refused when it is opened or checked, or are no damage: they change no document."""
    bin_file, idx = write(tmp_path_factory.mktemp("pair") / "x", DOCUMENTS)
    damaged = bytearray(idx.read_bytes())
    for position in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=3)):
        damaged[position] = data.draw(st.integers(0, 255))
    idx.write_bytes(damaged)
    try:
        opened = open_indexed(bin_file, idx)
        problems = index_problems(opened)
    except ContractError:
        return
    if not problems:
        assert opened.lengths.sum() == len(opened.tokens)
        assert sum(len(opened[i]) for i in range(len(opened))) == len(opened.tokens)
        assert (opened.documents[0], opened.documents[-1]) == (0, len(opened))


@pytest.mark.parametrize("change", [-1, -2, 2])
def test_wrong_size_of_bin(tmp_path: Path, change: int) -> None:
    """A token file that is shorter or longer than its index says is refused."""
    bin_file, idx = write(tmp_path / "x", DOCUMENTS)
    data = bin_file.read_bytes()
    bin_file.write_bytes(data[:change] if change < 0 else data + b"\0" * change)
    with pytest.raises(ContractError, match=f"expected 28 bytes .* found {28 + change}"):
        open_indexed(bin_file, idx)


@pytest.mark.parametrize(
    ("offset", "data", "words"),
    [
        (0, b"NOTIDX!\0\0", "not a Megatron index"),
        (9, struct.pack("<Q", 2), "version 1"),
        (17, b"\x07", "type among"),
        (34 + 4 * 5 + 8 * 4, struct.pack("<q", 6), "expected 20 bytes"),
        (34 + 12 * 5, struct.pack("<q", 1), "document marks"),
    ],
)
def test_damaged_index(tmp_path: Path, offset: int, data: bytes, words: str) -> None:
    """Each field of the index is checked, and the message says which is wrong."""
    bin_file, idx = write(tmp_path / "x", DOCUMENTS)
    damaged = bytearray(idx.read_bytes())
    damaged[offset : offset + len(data)] = data
    idx.write_bytes(damaged)
    with pytest.raises(ContractError, match=words):
        open_indexed(bin_file, idx)


@pytest.mark.parametrize(
    ("offset", "data", "words"),
    [
        (34 + 4 * 5 + 8, struct.pack("<q", 6), ["the starts do not follow from the lengths"]),
        (34, struct.pack("<i", -4), ["a length is below 0", "the starts do not follow from the lengths"]),
        (34 + 12 * 5 + 8, struct.pack("<q", 4), ["the document marks go back"]),
        (34 + 12 * 5 + 8, struct.pack("<q", 2), []),  # a document of two sequences
    ],
)
def test_damage_inside(tmp_path: Path, offset: int, data: bytes, words: list[str]) -> None:
    """What an index says between its ends opens, and is told by a check that reads it."""
    bin_file, idx = write(tmp_path / "x", DOCUMENTS)
    damaged = bytearray(idx.read_bytes())
    damaged[offset : offset + len(data)] = data
    idx.write_bytes(damaged)
    assert index_problems(open_indexed(bin_file, idx)) == words


def test_large_index_is_checked_by_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write and a check of many blocks give and accept the same file as one block."""
    lengths = np.random.default_rng(0).integers(0, 9, 1000).astype(np.int32)
    write_index(tmp_path / "one.idx", lengths, "int32")
    monkeypatch.setattr(module, "BLOCK_SEQUENCES", 7)
    write_index(tmp_path / "many.idx", lengths, "int32")
    assert (tmp_path / "one.idx").read_bytes() == (tmp_path / "many.idx").read_bytes()
    (tmp_path / "many.bin").write_bytes(bytes(4 * int(lengths.sum())))
    assert index_problems(open_indexed(tmp_path / "many.bin", tmp_path / "many.idx")) == []


def test_opening_reads_next_to_nothing(tmp_path: Path) -> None:
    """Opening a pair of 2 million documents touches a few pages of its index, not its 40 MB."""
    write_index(tmp_path / "x.idx", np.full(2_000_000, 3, np.int32), "uint16")
    with (tmp_path / "x.bin").open("wb") as file:
        file.truncate(12_000_000)  # a hole: no byte is written
    code = (
        "import resource, sys; from pathlib import Path; from stages.stream.megatron import open_indexed\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "open_indexed(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "x.bin"), str(tmp_path / "x.idx")]
    done = subprocess.run(command, cwd=PACKAGE_ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 500


def test_missing_files(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(ContractError, match=r"x\.idx"):
        open_indexed(tmp_path / "x.bin", tmp_path / "x.idx")
    write_index(tmp_path / "x.idx", np.array([3]), "uint16")
    with pytest.raises(ContractError, match=r"x\.bin"):
        open_indexed(tmp_path / "x.bin", tmp_path / "x.idx")
