"""Datasets read as one stream a source, and what is wrong with files is said before training."""

import os
import resource
import struct
import tracemalloc
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.table import ContractError
from stages.stream.corpus import Dataset, open_corpus
from tests.stages.stream.token_table import Documents, corpus, counting, nowhere, shard, sizes, token_reader

FILES: dict[str, Documents] = {
    "arxiv-0": [[1, 2, 3], [], [4, 5]],
    "arxiv-1": [],
    "arxiv-2": [[6]],
    "arxiv-3": [[], [7, 8, 9, 10], []],
    "web-0": [[11, 12]],
}


def naive_starts(files: Documents) -> list[int]:
    """Where documents with tokens begin, counted one by one."""
    starts, position = [], 0
    for document in files:
        if document:
            starts.append(position)
        position += len(document)
    return starts


def test_files_read_as_one(tmp_path: Path) -> None:
    """Any range comes back as if all files of a source were one, across seams, empty files and empty documents."""
    arxiv, web = corpus(tmp_path, FILES)
    assert [(d.source, len(d), len(d.files)) for d in (arxiv, web)] == [("arxiv", 10, 4), ("web", 2, 1)]
    for start in range(11):
        for length in range(11 - start):
            assert arxiv.read(start, length).tolist() == list(range(start + 1, start + length + 1))
    assert web.read(0, 2).tolist() == [11, 12]
    assert web.read(0, 2).dtype == np.int64


def test_document_starts(tmp_path: Path) -> None:
    """The starts in any range are those of the whole in that range; documents without tokens have none."""
    arxiv = corpus(tmp_path, FILES)[0]
    whole = naive_starts(list(chain(*[f for name, f in FILES.items() if name.startswith("arxiv")])))
    assert whole == [0, 3, 5, 6]
    for start in range(11):
        for length in range(11 - start):
            assert arxiv.document_starts(start, length).tolist() == [s for s in whole if start <= s < start + length]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.lists(st.integers(0, 999), max_size=5), max_size=6), min_size=1, max_size=4), st.data())
def test_any_files(tmp_path_factory: pytest.TempPathFactory, files: list[Documents], data: st.DataObject) -> None:
    """Tokens, starts, lengths and places agree with plain lists, whatever the documents and their files."""
    names = [f"s-{n}" for n in range(len(files))]
    (dataset,) = corpus(tmp_path_factory.mktemp("c"), dict(zip(names, files, strict=True)))
    flat = [t for f in files for d in f for t in d]
    assert dataset.read(0, len(dataset)).tolist() == flat
    assert dataset.document_lengths().tolist() == [len(d) for f in files for d in f]
    assert dataset.document_starts(0, len(flat)).tolist() == naive_starts([d for f in files for d in f])
    if flat:
        position = data.draw(st.integers(0, len(flat) - 1))
        place = dataset.file_at(position)
        tokens = [t for d in files[names.index(Path(place.shard.bin.path).stem)] for t in d]
        assert tokens[place.offset] == flat[position]


def test_outside_is_refused(tmp_path: Path) -> None:
    """A range that leaves the dataset is an error, not a short read."""
    (dataset,) = counting(tmp_path, a=10)
    for start, length in ((-1, 1), (0, 11), (10, 1), (5, 6)):
        with pytest.raises(IndexError, match="of a, which has 10"):
            dataset.read(start, length)
    with pytest.raises(IndexError):
        dataset.file_at(10)
    assert dataset.read(10, 0).tolist() == []


def test_splits_and_types(tmp_path: Path) -> None:
    """A split's datasets hold its own files, in row order, whatever the type of their ids."""
    rows = [
        shard(tmp_path, "b-1", [[70_000, 2]], dtype="int32"),
        shard(tmp_path, "a-0", [[9]], "validation"),
        shard(tmp_path, "b-0", [[3]]),
    ]
    reader = token_reader(tmp_path, rows)
    (train,) = open_corpus(reader, "train")
    assert train.read(0, 3).tolist() == [70_000, 2, 3]
    assert [d.source for d in open_corpus(reader, "validation")] == ["a"]


def test_read_ahead_changes_nothing(tmp_path: Path) -> None:
    """Asking for tokens ahead of time reads the same tokens, at any range and for an empty file."""
    (dataset,) = corpus(tmp_path, {"s-0": [range(10_000)], "s-1": []})
    for start, stop in ((0, 10_000), (0, 0), (4095, 4097), (9_999, 10_000)):
        dataset.files[0].will_need(start, stop)
    dataset.files[1].will_need(0, 0)
    assert dataset.read(0, 10_000).tolist() == list(range(10_000))


def test_ranges_are_located(tmp_path: Path) -> None:
    """Each range is found in the one file that holds it, with its offset, or said to go on in another."""
    arxiv = corpus(tmp_path, FILES)[0]
    files, offsets = arxiv.locate(np.array([0, 4, 4, 5, 6, 9]), np.array([5, 1, 2, 1, 4, 1]))
    assert files.tolist() == [0, 0, -1, 2, 3, 3]
    assert offsets.tolist() == [0, 4, 4, 0, 0, 3]


def test_all_problems_at_once(tmp_path: Path) -> None:
    """Every file that is missing, short, of another type or count is named in one error."""
    rows = [shard(tmp_path, f"s-{n}", [[1, 2, 3], [4]]) for n in range(7)]
    (tmp_path / rows[0].bin.path).unlink()
    os.truncate(tmp_path / rows[1].bin.path, 6)
    rows[2] = rows[2].model_copy(update={"num_tokens": 5})
    rows[3] = rows[3].model_copy(update={"num_documents": 3})
    damaged = bytearray((tmp_path / rows[4].idx.path).read_bytes())
    damaged[17:18] = struct.pack("<B", 4)
    (tmp_path / rows[4].idx.path).write_bytes(damaged)
    (tmp_path / rows[5].idx.path).write_bytes(b"\0" * rows[5].idx.size_bytes)
    cut = rows[6].idx.model_copy(update={"size_bytes": 60})
    rows[6] = rows[6].model_copy(update={"idx": cut})
    os.truncate(tmp_path / rows[6].idx.path, 60)
    with pytest.raises(ContractError) as error:
        open_corpus(token_reader(tmp_path, rows), "train")
    words = [
        "s-0.bin: the file that a row points at is missing",
        "s-1.bin: expected 8 bytes, found 6",
        "s-2.bin: the row says 5 tokens, the file holds 4",
        "s-3.idx: the row says 3 documents, the index holds 2",
        "s-4.idx: the row says ids of uint16, the index <i4",
        "s-5.idx: not a Megatron index",
        "s-6.idx: expected 82 bytes for 2 documents, found 60",
    ]
    assert [p.removeprefix("files/") for p in error.value.problems] == words


def test_opening_reads_no_tokens(tmp_path: Path) -> None:
    """Opening maps nothing: its memory does not grow with the tokens."""
    peaks = []
    for num_tokens in (1_000, 1_000_000):
        base = tmp_path / str(num_tokens)
        reader = token_reader(base, [shard(base, f"s-{n}", [range(num_tokens // 50)] * 5) for n in range(10)])
        tracemalloc.start()
        (dataset,) = open_corpus(reader, "train")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert not any({"_mapped", "_index"} & vars(f).keys() for f in dataset.files)
    assert peaks[1] < peaks[0] + 50_000


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the process may not hold all files open, that is said at the start, with the way out."""
    reader = token_reader(tmp_path, [shard(tmp_path, "s-0", [[1]])])
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 100))
    with pytest.raises(ContractError, match=r"258 files must be open at once, the limit is 100: ulimit -Hn"):
        open_corpus(reader, "train")


def test_many_files_may_be_open(tmp_path: Path) -> None:
    """A corpus of more files than the process may hold open raises the process's limit."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    reader = token_reader(tmp_path, [shard(tmp_path, f"s-{n}", [[n]]) for n in range(40)])
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, before[1]))
        (dataset,) = open_corpus(reader, "train")
        assert dataset.read(0, 40).tolist() == list(range(40))
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 80
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_dataset_without_files() -> None:
    """Sizes are known without files, and a dataset of nothing is empty."""
    assert [len(d) for d in sizes(b=3, a=2 * 10**12)] == [2 * 10**12, 3]
    assert len(Dataset("x", [])) == 0
    assert len(Dataset("x", [nowhere("x", 0)])) == 0
