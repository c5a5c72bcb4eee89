"""Best fit: bins equal those of a plain search, hold every token that can be learned, and cut no document that fits."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.stream.corpus import Dataset
from stages.stream.order import Indices
from stages.stream.packing import open_packed, pack, pack_documents
from tests.stages.stream.token_table import Documents, corpus

LENGTHS = st.lists(st.integers(0, 40), max_size=60)


def searched(lengths: list[int], capacity: int) -> list[list[int]]:
    """Best fit decreasing by looking at every bin: the numbers of the documents in each bin, as they were put there."""
    rooms: list[int] = []
    changed: list[int] = []
    bins: list[list[int]] = []
    for turn, number in enumerate(sorted(range(len(lengths)), key=lambda n: -lengths[n])):
        fits = [b for b, room in enumerate(rooms) if room >= lengths[number]]
        if fits:
            chosen = min(fits, key=lambda b: (rooms[b], -changed[b]))
        else:
            chosen = len(bins)
            rooms.append(capacity)
            changed.append(0)
            bins.append([])
        rooms[chosen] -= lengths[number]
        changed[chosen] = turn
        bins[chosen].append(number)
    return bins


def packed(lengths: list[int], sequence_tokens: int) -> list[list[tuple[int, int]]]:
    """The spans of each bin of documents of these lengths, one after another."""
    sizes = np.array(lengths, np.int64)
    counts, spans = pack_documents(np.cumsum(sizes) - sizes, sizes, sequence_tokens)
    assert counts.sum() == len(spans)
    return (
        [[(int(s), int(n)) for s, n in part] for part in np.split(spans, np.cumsum(counts)[:-1])] if len(spans) else []
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(1, 16), min_size=1, max_size=80), st.sampled_from([16, 17, 20, 40]))
def test_bins_are_those_of_a_search(lengths: list[int], sequence_tokens: int) -> None:
    """With documents that all fit, the bins are those that looking at every bin finds."""
    starts = np.cumsum(lengths) - lengths
    expected = [sorted((int(starts[n]), lengths[n]) for n in b) for b in searched(lengths, sequence_tokens + 1)]
    assert packed(lengths, sequence_tokens) == sorted(expected)


@settings(max_examples=300, deadline=None)
@given(LENGTHS, st.integers(1, 20))
def test_every_token_is_there(lengths: list[int], sequence_tokens: int) -> None:
    """Each token lies in a bin, each but a document's first is predicted once, and bins hold what they can."""
    held: dict[int, int] = {}
    predicted: dict[int, int] = {}
    for spans in packed(lengths, sequence_tokens):
        assert sum(n for _, n in spans) <= sequence_tokens + 1
        assert spans == sorted(spans)
        for start, n in spans:
            for position in range(start, start + n):
                held[position] = held.get(position, 0) + 1
                predicted[position] = predicted.get(position, 0) + (position > start)
    firsts = {int(s) for s, n in zip(np.cumsum(lengths) - lengths, lengths, strict=True) if n} if lengths else set()
    assert set(held) == set(range(sum(lengths)))
    assert {p for p, n in predicted.items() if n != 1} == firsts
    assert all(predicted[p] == 0 for p in firsts)


@settings(max_examples=200, deadline=None)
@given(LENGTHS, st.integers(1, 20))
def test_what_fits_is_not_cut(lengths: list[int], sequence_tokens: int) -> None:
    """A document that fits into a sample is whole in one bin; a longer one has full bins and one rest at most."""
    spans = [s for b in packed(lengths, sequence_tokens) for s in b]
    start = 0
    for length in lengths:
        mine = sorted(s for s in spans if start <= s[0] < start + length)
        if length <= sequence_tokens + 1:
            assert mine == ([(start, length)] if length else [])
        else:
            assert all(n == sequence_tokens + 1 for _, n in mine[:-1])
            assert [s for s, _ in mine] == [start + i * sequence_tokens for i in range(len(mine))]
        start += length


def test_bins_follow_the_corpus() -> None:
    """Bins come in the order of their first document, so neighbours in the corpus are neighbours on disk."""
    firsts = [b[0][0] for b in packed([9, 3, 30, 2, 5, 5, 1], 9)]
    assert firsts == sorted(firsts)


def lengths_of(name: str, count: int) -> Indices:
    """Lengths of documents as corpora have them (log-normal), with the end token."""
    random = np.random.default_rng(len(name))
    return np.clip(random.lognormal(6.0, 1.2, count), 1, 100_000).astype(np.int64)


def test_padding_is_small() -> None:
    """Of many documents of natural lengths under a hundredth of the positions stays empty."""
    lengths = lengths_of("web", 20_000)
    counts, spans = pack_documents(np.cumsum(lengths) - lengths, lengths, 2048)
    assert 1 - spans[:, 1].sum() / (len(counts) * 2049) < 0.01


def documents(lengths: list[int]) -> Documents:
    """Documents of these lengths; tokens count up over all of them."""
    whole = np.arange(1, sum(lengths) + 1)
    return [d.tolist() for d in np.split(whole, np.cumsum(lengths)[:-1])]


def dataset(base: Path, lengths: list[int], num_files: int) -> Dataset:
    """The same documents in so many files."""
    made = documents(lengths)
    bounds = [len(made) * n // num_files for n in range(num_files + 1)]
    files = {f"s-{n}": made[bounds[n] : bounds[n + 1]] for n in range(num_files)}
    return corpus(base, files)[0]


def test_files_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The arrays are the same bytes for one file or seven, packed some documents at a time, and open as bins."""
    monkeypatch.setattr("stages.stream.packing.DOCUMENTS_AT_A_TIME", 16)
    lengths = np.random.default_rng(0).integers(0, 30, 60).tolist()
    written = []
    for num_files in (1, 7):
        base = tmp_path / str(num_files)
        made = dataset(base, lengths, num_files)
        report = pack(made, 12, base / "arrays" / "ends.npy", base / "arrays" / "spans.npy")
        written.append([(base / "arrays" / f"{name}.npy").read_bytes() for name in ("ends", "spans")])
    assert written[0] == written[1]
    bins = open_packed("s", base / "arrays" / "ends.npy", base / "arrays" / "spans.npy")
    assert len(bins) == report.num_bins
    pieces = bins.pieces(np.arange(len(bins)))
    chunks = [lengths[i : i + 16] for i in range(0, 60, 16)]
    expected, start = [], 0
    for chunk in chunks:
        expected += [[(start + s, n) for s, n in b] for b in packed(chunk, 12)]
        start += sum(chunk)
    found = list(zip(pieces.starts.tolist(), pieces.lengths.tolist(), strict=True))
    assert found == [s for b in expected for s in b]
    assert pieces.samples.tolist() == [n for n, b in enumerate(expected) for _ in b]
    for position in range(len(made)):
        holding = [n for n, b in enumerate(expected) if any(s <= position < s + k for s, k in b)]
        assert bins.covering(position, 1).tolist() == holding


def test_report(tmp_path: Path) -> None:
    """Bins, tokens, padding and documents cut are those counted by hand, here and by contiguous windows."""
    made = dataset(tmp_path, [5, 9, 20, 4, 0, 3], 2)
    report = pack(made, 8, tmp_path / "ends.npy", tmp_path / "spans.npy")
    # Bins: 9; two windows of 9 of the 20; its rest of 4 and 5; 4 and 3. Contiguous windows cut the 9 and the 20.
    assert (report.num_bins, report.num_documents) == (5, 6)
    assert (report.num_tokens, report.num_positions) == (43, 45)
    assert report.padding_fraction == pytest.approx(2 / 45)
    assert (report.num_cut, report.num_cut_contiguous) == (1, 2)


def test_nothing_to_pack(tmp_path: Path) -> None:
    """A dataset without tokens has no bins, and its arrays can be opened."""
    (made,) = corpus(tmp_path, {"s-0": [[], []]})
    report = pack(made, 8, tmp_path / "ends.npy", tmp_path / "spans.npy")
    assert (report.num_bins, report.padding_fraction) == (0, 0.0)
    assert len(open_packed("s", tmp_path / "ends.npy", tmp_path / "spans.npy")) == 0


def test_memory_does_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times the documents take no more memory at their peak."""
    monkeypatch.setattr("stages.stream.packing.DOCUMENTS_AT_A_TIME", 1000)
    peaks = []
    for count in (1000, 2000, 20_000):  # the first compiles
        (made,) = corpus(tmp_path / str(count), {"s-0": [[1, 2]] * count})
        made.files[0].document_lengths()
        tracemalloc.start()
        pack(made, 16, tmp_path / "ends.npy", tmp_path / "spans.npy")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.2 * peaks[1] + 20_000
