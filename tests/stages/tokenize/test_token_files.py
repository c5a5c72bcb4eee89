"""Files by split and source: safe names, any number of them, each row's tokens where the tables say."""

import random
import resource
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.corpus import Document
from schemas.tokens import SplitRule
from stages.stream.megatron import open_indexed
from stages.stream.split import held_out
from stages.tables import Reader
from stages.tokenize.encode import ahead, grouped, with_ends
from stages.tokenize.encoders import Encoded
from stages.tokenize.token_files import TokenFolder, file_name
from tests.stages.tokenize.conftest import Maker, write_documents
from tests.stages.tokenize.test_encode import datasets, files

HOSTILE = [
    "../../etc/passwd",
    "/absolute",
    "",
    ".",
    "..",
    'a/b\\c:d*e?f"g<h>i|j',
    "CON",
    "NUL.txt",
    "new\nline\ttab\x00null",
    "Papers",
    "papers",
    "PAPERS ",
    "étude Å 中文 😀",
    "e\u0301tude",
    "x" * 5000,
    "x" * 5001,
    "-rf",
    "a b",
    "a-b",
    "train-a-b",
    "%s{0}$HOME",
]


def test_names_are_safe_and_no_two_are_the_same() -> None:
    """Whatever a source is called, its file's name is short, of harmless characters, and its own, in any case."""
    names = [file_name(split, source) for split in ("train", "validation") for source in HOSTILE]
    assert len({name.lower() for name in names}) == len(names)
    assert all(name.isascii() and name.replace("-", "").isalnum() and len(name) < 80 for name in names)
    assert file_name("train", "Protein Data Bank (2024)").startswith("train-protein-data-bank-2024-")


@given(st.text(), st.text())
def test_names_differ_as_sources_do(one: str, other: str) -> None:
    """Two sources have one name only if they are one."""
    assert (file_name("train", one) == file_name("train", other)) == (one == other)


def test_hostile_sources(tmp_path: Path, make_inputs: Maker, articles: list[str]) -> None:
    """Sources of any name get their own files inside the stage's folder, and keep their names in the tables."""
    before = set(tmp_path.rglob("*"))
    assert make_inputs([*articles, *articles], HOSTILE, below=0.0).run(tmp_path / "out") == 0
    assert {source for _, source in datasets(tmp_path / "out")} == set(HOSTILE)
    outside = {f for f in set(tmp_path.rglob("*")) - before if not f.is_relative_to(tmp_path / "out")}
    assert {f.relative_to(tmp_path).parts[0] for f in outside} <= {"input", "tokenizer", "split"}


def test_more_sources_than_a_process_may_open_files(tmp_path: Path, make_inputs: Maker, articles: list[str]) -> None:
    """There is no limit on the number of sources: 320 of them where 128 files may be open, each with its own pair."""
    inputs = make_inputs([article[:50] for article in articles] * 8, [f"source {n}" for n in range(320)], below=0.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        assert inputs.run(tmp_path / "out") == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    found = {s.source: s.num_documents for s, _ in files(tmp_path / "out").values()}
    assert found == {f"source {n}": 1 for n in range(320)}


@given(
    st.lists(st.lists(st.integers(0, 60_000), max_size=5), max_size=8),
    st.sampled_from(["<u2", "<i4"]),
)
def test_end_tokens(texts: list[list[int]], dtype: str) -> None:
    """Each text that has tokens is followed by the end token, a text that has none by nothing."""
    encoded = Encoded(np.array([*chain(*texts)], np.uint32), np.array([len(t) for t in texts], np.int32))
    tokens, lengths = with_ends(encoded, 7, np.dtype(dtype))
    expected = [[*t, 7] if t else [] for t in texts]
    assert (tokens.tolist(), lengths.tolist()) == ([*chain(*expected)], [len(t) for t in expected])
    assert tokens.dtype == np.dtype(dtype)


def test_a_piece_keeps_the_order_of_rows(tmp_path: Path) -> None:
    """Rows are put together by file, in their order within it, and what is known of them comes back row by row."""
    rule = SplitRule(seed=3, validation_fraction=0.5, below=0.5)
    (batch,) = Reader(write_documents(tmp_path, [str(n) for n in range(60)], ["b", "a", "c"]), Document).batches()
    piece = grouped(batch, rule)
    sides, texts = held_out(rule, batch["doc_id"].to_pylist()), piece.texts().to_pylist()
    assert piece.in_row_order(np.array(texts)).tolist() == [str(n) for n in range(60)]
    for (split, source), rows in piece.slices():
        expected = [n for n in range(60) if ("train", "validation")[int(sides[n])] == split and "bac"[n % 3] == source]
        assert list(map(int, texts[rows])) == expected
    assert len(piece.groups) == 6


def test_files_hold_what_was_appended(tmp_path: Path) -> None:
    """Tokens and lengths of many appends are read back as they came, after a new process took them up at any of them."""
    draw, expected = random.Random(1), list[list[int]]()
    folder = TokenFolder(tmp_path / "t", tmp_path / "j", "key", "uint16")
    for step in range(40):
        texts = [[draw.randrange(60_000) for _ in range(draw.randrange(4))] for _ in range(draw.randrange(1, 5))]
        file = folder.file("train", "a")
        file.append(np.array([*chain(*texts)], "<u2"), np.array([len(t) for t in texts], np.int32))
        expected += texts
        if draw.random() < 0.4:
            folder._save(len(expected))
            folder = TokenFolder(tmp_path / "t", tmp_path / "j", "key", "uint16")
            assert folder.num_rows_done == len(expected)
            assert folder.file("train", "a").reread(len(expected)).tolist() == [len(t) for t in expected]
        assert folder.num_tokens == sum(map(len, expected)), step
    folder._save(len(expected))
    file = folder.file("train", "a")
    assert file.bin.read_bytes() == np.array([*chain(*expected)], "<u2").tobytes()
    assert file.num_documents == sum(map(bool, expected))
    assert TokenFolder(tmp_path / "t", tmp_path / "j", "another key", "uint16").num_rows_done == 0
    assert list((tmp_path / "t").iterdir()) == []


def test_an_index_has_only_documents_with_tokens(tmp_path: Path, make_inputs: Maker, articles: list[str]) -> None:
    """The index of each file lists its documents in row order, without gaps."""
    assert make_inputs(articles, ["a", "b"]).run(tmp_path / "out") == 0
    for shard, indexed in files(tmp_path / "out").values():
        again = open_indexed(tmp_path / "out" / shard.bin.path, tmp_path / "out" / shard.idx.path)
        assert (again.lengths > 1).all()
        assert int(again.lengths.sum()) == shard.num_tokens == len(indexed.tokens)


# ---- the thread that works ahead


def test_ahead_gives_the_same_items() -> None:
    """What comes out is what went in, in order, and nothing at all where there is nothing."""
    assert list(ahead(iter(range(100)))) == list(range(100))
    assert list(ahead(ahead(iter("abc")))) == ["a", "b", "c"]
    assert list(ahead(iter(()))) == []


def test_ahead_is_one_item_ahead() -> None:
    """At most one item more than asked for is made, so memory is that of two."""
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            yield number

    found = ahead(items())
    for number in range(5):
        assert next(found) == number
        deadline = time.monotonic() + 30
        while len(made) < number + 2 and time.monotonic() < deadline:
            time.sleep(0.001)
        assert made == list(range(number + 2))
    found.close()


def test_ahead_raises_where_the_item_was() -> None:
    """An error comes out after the items before it."""

    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no second item")

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(ValueError, match="no second item"):
        next(found)
