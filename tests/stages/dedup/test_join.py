"""Sorting outside memory, and joining sorted columns, against the plain way."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.table import ContractError
from stages.dedup import spill
from stages.dedup.clusters import flatten, union_all
from stages.dedup.join import WINDOW, first_of_each, groups, matches, pairs, stars
from stages.dedup.keys import open_keys, write_keys
from stages.dedup.spill import Spill

SMALL = st.lists(st.integers(0, 6), max_size=30).map(sorted)


def u64(values: list[int]) -> spill.U64:
    """An array of keys or rows."""
    return np.array(values, np.uint64)


# ---- sorting


@pytest.mark.parametrize("bits", [64, 20, 3, 0])
@pytest.mark.parametrize("workers", [1, 3])
def test_spill_sorts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: int, workers: int) -> None:
    """Records come back in the order of all columns, in one file or in many, and equal first columns stay together."""
    monkeypatch.setattr(spill, "PART_RECORDS", 100)
    monkeypatch.setattr(spill, "RUN_RECORDS", 999)
    draw = np.random.default_rng(0)
    records = (
        draw.integers(0, 1 << bits, (3000, 3), np.uint64)
        if bits < 64
        else draw.integers(0, 2**64, (3000, 3), np.uint64)
    )
    records[:500, 0] = records[0, 0]
    sorter = Spill(tmp_path / "s", 3, len(records), bits)
    for part in np.array_split(records, 7):
        sorter.add(part)
    blocks = list(sorter.sorted(workers))
    assert np.array_equal(np.concatenate(blocks), records[np.lexsort(records.T[::-1])])
    firsts = [set(block[:, 0].tolist()) for block in blocks]
    assert sum(map(len, firsts)) == len(set().union(*firsts))
    assert sorter.num_records == 3000


@pytest.mark.parametrize("run_records", [64, 1000, 1 << 19])
def test_the_parts_of_a_spill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_records: int) -> None:
    """A part has all records of its high bits in the order in which they came, from however many runs and in any blocks."""
    monkeypatch.setattr(spill, "PART_RECORDS", 100)
    monkeypatch.setattr(spill, "RUN_RECORDS", run_records)
    records = np.random.default_rng(1).integers(0, 1 << 20, (3000, 2), np.uint64)
    records[:, 1] = np.arange(3000)
    records[records[:, 0] >> np.uint64(15) == 3, 0] = 0  # leaves a part empty
    whole = Spill(tmp_path / "s", 2, len(records), 20)
    assert (whole.num_parts, whole.bits_in_part) == (32, 15)
    for first in range(0, 3000, 50):
        whole.room(50)[:] = records[first : first + 50]
    parts = whole.parts()
    assert [part.number for part in parts] == [n for n in range(32) if n != 3]
    for part in parts:
        expected = records[records[:, 0] >> np.uint64(15) == part.number]
        assert part.num_records == len(expected)
        assert np.array_equal(part.read(), expected)
        blocks = list(part.blocks())
        assert np.array_equal(np.concatenate(blocks), expected)
        assert max(map(len, blocks)) <= 100
    whole.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_spill_that_was_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that are gone from the disk are an error, not fewer records."""
    monkeypatch.setattr(spill, "RUN_RECORDS", 100)
    whole = Spill(tmp_path / "s", 2, 1000)
    whole.add(np.ones((1000, 2), np.uint64))
    [part] = whole.parts()
    (tmp_path / "s").write_bytes((tmp_path / "s").read_bytes()[:-8])
    with pytest.raises(OSError, match="cut short"):
        part.read()


def test_an_empty_spill_is_empty(tmp_path: Path) -> None:
    """Nothing in, nothing out."""
    sorter = Spill(tmp_path / "s", 2, 0)
    sorter.add(np.zeros((0, 2), np.uint64))
    assert sum(map(len, sorter.sorted())) == 0


# ---- key files


def test_a_key_file_is_what_was_written(tmp_path: Path) -> None:
    """Blocks one after the other are the columns of the file."""
    entries = np.arange(30, dtype=np.uint64).reshape(10, 3)
    write_keys(tmp_path / "keys" / "k.npy", iter([entries[:4], entries[4:]]), 3, 10)
    assert np.array_equal(open_keys(tmp_path / "keys" / "k.npy"), entries.T)


@pytest.mark.parametrize("size", [0, 5, 60, 200])
def test_a_key_file_cut_short_is_refused(tmp_path: Path, size: int) -> None:
    """A key file of which a part is missing is refused with the cure."""
    file = tmp_path / "k.npy"
    write_keys(file, [np.arange(30, dtype=np.uint64).reshape(10, 3)], 3, 10)
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(ContractError, match="run dedup again"):
        open_keys(file)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    """An array of another kind is no key file."""
    np.save(tmp_path / "k.npy", np.zeros(3))
    with pytest.raises(ContractError, match="not a key file: float64"):
        open_keys(tmp_path / "k.npy")


# ---- joining


@given(SMALL)
def test_groups_are_runs_of_equal_values(values: list[int]) -> None:
    """Each run of two or more is found once, and no other; the first of each run too."""
    starts, ends = groups(u64(values))
    expected = [
        (values.index(v), values.index(v) + values.count(v)) for v in sorted(set(values)) if values.count(v) > 1
    ]
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == expected
    assert first_of_each(u64(values)).tolist() == [values.index(v) for v in sorted(set(values))]


@given(SMALL, SMALL)
def test_groups_of_two_columns(first: list[int], second: list[int]) -> None:
    """Equal in one column is not equal."""
    size = min(len(first), len(second))
    both = sorted(zip(first[:size], second[:size], strict=True))
    starts, ends = groups(u64([a for a, _ in both]), u64([b for _, b in both]))
    found = [both[a:b] for a, b in zip(starts, ends, strict=True)]
    assert found == [[v] * both.count(v) for v in sorted(set(both)) if both.count(v) > 1]


@given(SMALL, SMALL)
def test_matches_are_those_of_two_loops(needles: list[int], haystack: list[int]) -> None:
    """Every needle meets every equal value of the haystack, the first `WINDOW` of them."""
    ours, theirs = matches(u64(needles), u64(haystack))
    expected = []
    for i, needle in enumerate(needles):
        expected += [(i, j) for j, value in enumerate(haystack) if value == needle][:WINDOW]
    assert list(zip(ours.tolist(), theirs.tolist(), strict=True)) == expected


@given(SMALL.filter(lambda v: len(v) <= WINDOW))
def test_pairs_of_small_groups_are_all_pairs(values: list[int]) -> None:
    """Within a group every row meets every other, the larger first."""
    rows = np.random.default_rng(len(values)).permutation(len(values)).astype(np.uint64)
    found = pairs(rows, *groups(u64(values)))
    where = {v: [int(rows[i]) for i, w in enumerate(values) if w == v] for v in values}
    expected = {(max(p), min(p)) for members in where.values() for p in combinations(members, 2)}
    assert sorted(map(tuple, found.tolist())) == sorted(expected)


def test_pairs_of_a_large_group_are_few_and_connect_it() -> None:
    """A thousand rows with one key make some tens of pairs each, and all are joined."""
    rows = np.arange(1000, dtype=np.uint64)
    found = pairs(rows, np.array([0]), np.array([1000]))
    assert len(found) <= 1000 * (WINDOW + 1)
    parents = np.arange(1000)
    union_all(parents, found.astype(np.int64))
    flatten(parents)
    assert not parents.any()


def test_stars_link_to_the_first() -> None:
    """Each row of a group but the first is linked to the first."""
    assert stars(u64([4, 7, 9, 3, 5]), np.array([0, 3]), np.array([3, 5])).tolist() == [[7, 4], [9, 4], [5, 3]]


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=15), st.randoms())
def test_clusters_do_not_depend_on_the_order_of_links(links: list[tuple[int, int]], chance) -> None:
    """The least of each connected component stands for it, in whatever order and direction the links come."""
    shuffled = [(b, a) if chance.random() < 0.5 else (a, b) for a, b in chance.sample(links, len(links))]
    found = []
    for some in (links, shuffled):
        parents = np.arange(12)
        union_all(parents, np.array(some, np.int64).reshape(-1, 2))
        flatten(parents)
        found.append(parents.tolist())
    assert found[0] == found[1]
    component = list(range(12))
    for _ in range(12):
        for a, b in links:
            component[a] = component[b] = min(component[a], component[b])
    assert found[0] == component
