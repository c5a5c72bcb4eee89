"""The token files are Megatron's, read and written."""

import struct
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.table import ContractError
from stages.stream.megatron import IndexedWriter, dtype_for, open_indexed, write_index

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


@pytest.mark.parametrize("kept", [0, 10, 33, 34, 60, 100])
def test_cut_index(tmp_path: Path, kept: int) -> None:
    """An index cut anywhere is refused with the sizes."""
    bin_file, idx = write(tmp_path / "x", DOCUMENTS)
    idx.write_bytes(idx.read_bytes()[:kept])
    with pytest.raises(ContractError, match=rf"found {kept}"):
        open_indexed(bin_file, idx)


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
        (34 + 4 * 5 + 8, struct.pack("<q", 6), "starts do not follow"),
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


def test_missing_files(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(ContractError, match=r"x\.idx"):
        open_indexed(tmp_path / "x.bin", tmp_path / "x.idx")
    write_index(tmp_path / "x.idx", np.array([3]), "uint16")
    with pytest.raises(ContractError, match=r"x\.bin"):
        open_indexed(tmp_path / "x.bin", tmp_path / "x.idx")
