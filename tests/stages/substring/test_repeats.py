"""Repeated windows out of a part of the windows, and spans out of repeated windows, however they are cut into blocks."""

import itertools
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.dedup import spill
from stages.dedup.spill import U64, Part, Spill
from stages.substring import repeats as module
from stages.substring.repeats import Least, repeats, short_parts
from stages.substring.spans import FIRST, NUM_WORDS, PLACE, Rows, passages, spans, tally

CHECK_BITS = 40


def write(file: Path, windows: list[tuple[int, int]], bits: int = 64) -> Part:
    """A part of windows (hash, second hash of 24 bits), whose places are their numbers."""
    records = [(one, two << CHECK_BITS | place) for place, (one, two) in enumerate(windows)]
    return written(file, np.array(records, np.uint64).reshape(-1, 2), bits)


def written(file: Path, records: U64, bits: int = 64) -> Part:
    """A part of records whose first columns differ in `bits` bits."""
    file.unlink(missing_ok=True)
    whole = Spill(file, 2, 0, bits)
    whole.add(records)
    [part] = whole.parts()
    return part


def plain(windows: list[tuple[int, int]], ends: list[int], least: Least) -> list[tuple[int, int, int, int]]:
    """Place, first place, occurrences and documents of each repeated window."""
    found = defaultdict(list)
    for place, window in enumerate(windows):
        found[window].append(place)
    rows = np.searchsorted(ends, np.arange(len(windows)), side="right").tolist()
    out = []
    for places in found.values():
        documents = len({rows[p] for p in places})
        if len(places) >= least.occurrences and documents >= least.documents:
            out += [(p, places[0], len(places), documents) for p in places]
    return sorted(out)


def unpacked(found: list[U64]) -> list[tuple[int, int, int, int]]:
    """Blocks of repeats as `plain` has them."""
    return sorted((int(p), int(f), int(c) >> 32, int(c) & 0xFFFFFFFF) for block in found for p, f, c in block)


@pytest.mark.parametrize("part_records", [7, 64, 1 << 18])
def test_counts_are_the_plain_ones(tmp_path: Path, monkeypatch, part_records: int) -> None:
    """Occurrences and documents of each window are right in blocks of any size, also where one hash of two is the same."""
    monkeypatch.setattr(spill, "PART_RECORDS", part_records)
    monkeypatch.setattr(spill, "RUN_RECORDS", 2 * part_records)
    draw = np.random.default_rng(0)
    hashes = draw.integers(0, 1 << 64, 120, np.uint64).tolist()
    windows = [
        (hashes[i], int(two)) for i, two in zip(draw.zipf(1.4, 3000) % 120, draw.integers(0, 2, 3000), strict=True)
    ]
    ends = [*range(40, 3000, 40), 3000]
    for least in (Least(2, 1), Least(5, 3), Least(2, 70), Least(4000, 1)):
        found = repeats(write(tmp_path / "file", windows), np.array(ends), least)
        assert unpacked(list(found)) == plain(windows, ends, least)


def test_windows_that_share_a_slot_of_the_sieve_are_told_apart(tmp_path: Path) -> None:
    """Windows that differ only in bits that the sieve does not see are not taken for one."""
    windows = [(i << 42, 0) for i in range(1000)] + [(5 << 42, 0), (5 << 42, 1)]
    found = unpacked(list(repeats(write(tmp_path / "file", windows), np.array([1002]), Least(2, 1))))
    assert found == [(5, 5, 2, 1), (1000, 5, 2, 1)]


def test_a_window_a_million_times_takes_one_row(tmp_path: Path) -> None:
    """The table does not grow with how often a window occurs, and all its places come out in order."""
    count = 1_000_000
    records = np.empty((count, 2), np.uint64)
    records[:, 0], records[:, 1] = 77, np.arange(count)
    found = list(repeats(written(tmp_path / "file", records), np.array([count // 2, count]), Least(2, 2)))
    assert np.concatenate([block[:, 0] for block in found]).tolist() == list(range(count))
    assert {tuple(row) for block in found for row in block[:, 1:].tolist()} == {(0, count << 32 | 2)}


def test_a_long_part_is_cut_by_further_bits(tmp_path: Path, monkeypatch) -> None:
    """Pieces of a long part hold all its windows, equal ones in one piece, none long; what is one window stays one piece."""
    monkeypatch.setattr(module, "LONG_RECORDS", 1000)
    monkeypatch.setattr(spill, "PART_RECORDS", 256)
    hashes = np.random.default_rng(1).integers(0, 1 << 60, 2000, np.uint64)
    windows = [(int(h), 0) for h in np.tile(hashes, 3)]
    parts = short_parts(write(tmp_path / "file", windows, 60))
    sizes, found = [], []
    for part in parts:
        sizes.append(part.num_records)
        found += repeats(part, np.array([6000]), Least(3, 1))
    assert sum(sizes) == 6000
    assert max(sizes) <= 1000
    assert unpacked(found) == plain(windows, [6000], Least(3, 1))
    assert [p.num_records for p in short_parts(write(tmp_path / "same", [(3, 0)] * 5000, 60))] == [5000]


@given(
    places=st.sets(st.integers(0, 90), max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    again=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_spans_do_not_depend_on_blocks(places: set[int], cuts: list[int], again: bool) -> None:
    """A span goes on over the end of a block, ends with its document, and belongs to its most frequent window."""
    size, ends = 3, np.array([20, 21, 60, 100])
    inside = [p for p in sorted(places) if p + size <= ends[np.searchsorted(ends, p, side="right")]]
    rows = [(p, p // 2 * 2 % 50, (p % 5 + 2) << 32 | 1) for p in inside]
    records = np.array(rows, np.uint64).reshape(-1, 3)
    edges = [0, *sorted(min(c, len(rows)) for c in cuts), len(rows)]
    parts = [records[a:b] for a, b in itertools.pairwise(edges)]
    found = np.concatenate([np.zeros((0, 5), np.int64), *spans(parts, ends, size, again=again)])
    expected: list[list[tuple[int, int, int]]] = []
    for place, first, counts in rows:
        if again and place == first:
            continue
        last = expected[-1][-1][0] if expected else -100
        if place <= last + size and np.searchsorted(ends, place, "right") == np.searchsorted(ends, last, "right"):
            expected[-1].append((place, first, counts))
        else:
            expected.append([(place, first, counts)])
    assert found[:, PLACE].tolist() == [run[0][0] for run in expected]
    assert found[:, NUM_WORDS].tolist() == [run[-1][0] + size - run[0][0] for run in expected]
    best = [min(run, key=lambda w: (-(w[2] >> 32), w[1])) for run in expected]
    assert found[:, FIRST].tolist() == [w[1] for w in best]


def test_passages_are_the_same_tallied_in_parts() -> None:
    """Passages of two blocks of spans, tallied again together, are those of all spans."""
    draw = np.random.default_rng(2)
    found = np.column_stack(
        [np.arange(50), draw.integers(1, 9, 50), draw.integers(0, 6, 50), np.full(50, 7), np.arange(50)]
    )
    found[:, 3] = found[:, FIRST] + 100
    together = tally(np.concatenate([passages(found[:20]), passages(found[20:])]))
    assert together.tolist() == passages(found).tolist()
    assert together[:, 2].sum() == 50
    assert passages(found[:0]).tolist() == []


def test_rows_are_found_by_their_first_number(tmp_path: Path) -> None:
    """Rows between two values are those of the file, and an empty file has none."""
    rows = np.array([[2, 0], [5, 1], [5, 2], [9, 3]], np.int64)
    rows.tofile(tmp_path / "rows")
    found = Rows(tmp_path / "rows", 2)
    assert found.between(3, 9).tolist() == [[5, 1], [5, 2]]
    assert (found.find(0), found.find(6), found.find(10)) == (0, 3, 4)
    (tmp_path / "none").touch()
    assert len(Rows(tmp_path / "none", 2)) == len(Rows(tmp_path / "none", 2).between(0, 5)) == 0
