"""The filter file: no key is forgotten, strangers are taken for known at the rate that was asked for, damage is refused."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.table import ContractError
from stages.dedup.bloom import HEADER, BandFilters
from stages.dedup.shape import PAGE_BITS, PAGE_BYTES, Shape, expected_rate, pages_and_probes
from tests.stages.sketch.plain import mix

Keys = npt.NDArray[np.uint64]


def keys(count: int, num_bands: int, seed: int) -> Keys:
    """Draw keys of documents that have nothing in common."""
    return np.random.default_rng(seed).integers(0, 2**64, (count, num_bands), np.uint64)


def filled(path: Path, shape: Shape, keys_: Keys) -> BandFilters:
    """Make a filter with these keys."""
    filters = BandFilters.create(path, shape)
    filters.insert(keys_)
    return filters


def upper(found: int, count: int) -> float:
    """Five standard errors above a share that was found."""
    return (found + 5 * math.sqrt(found + 1)) / count


# ---- what a filter says


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), max_size=40), st.integers(1, 7))
def test_first_seen_is_a_set_of_each_band(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[int]], capacity: int
) -> None:
    """Row by row, a key was seen if it stood in its band before; growing on the way changes nothing."""
    path = tmp_path_factory.mktemp("bloom") / "filters"
    given_ = np.array(rows, np.uint64).reshape(-1, 3)
    before: list[set[int]] = [set(), set(), set()]
    expected = []
    for row in rows:
        expected.append([key in band for key, band in zip(row, before, strict=True)])
        for key, band in zip(row, before, strict=True):
            band.add(key)
    filters = BandFilters.create(path, Shape(3, capacity, 1e-9))
    assert filters.first_seen(given_).tolist() == expected
    assert filters.num_documents == len(rows)
    assert filters.contains(given_).all()


def test_batches_and_workers_do_not_matter(tmp_path: Path) -> None:
    """Batches of 1, 7 or all rows, one worker or three, growing or not, write the same file and say the same."""
    rows = np.concatenate([keys(300, 5, 0), keys(100, 5, 0), keys(100, 5, 1)])
    files, answers = [], []
    for size, workers in ((1, 1), (7, 3), (500, 1), (500, 3)):
        path = tmp_path / f"{size}-{workers}"
        with BandFilters.create(path, Shape(5, 90, 1e-3)) as filters:
            seen = [filters.first_seen(rows[i : i + size], workers) for i in range(0, len(rows), size)]
            assert len(filters.slices) == 3
        answers.append(np.concatenate(seen))
        files.append(path.read_bytes())
    assert all(file == files[0] for file in files)
    assert all((answer == answers[0]).all() for answer in answers)
    assert answers[0][300:400].all()


@pytest.mark.parametrize("rate", [0.05, 1e-3])
def test_strangers_are_taken_for_known_at_the_nominal_rate(tmp_path: Path, rate: float) -> None:
    """A full filter takes at most the nominal share of 100,000 new documents for seen, and not a tenth of it."""
    filters = filled(tmp_path / "f", Shape(7, 20_000, rate), keys(20_000, 7, 0))
    found = int(filters.contains(keys(100_000, 7, 1)).any(axis=1).sum())
    assert found <= upper(round(rate * 100_000), 100_000) * 100_000
    assert found > 0.1 * rate * 100_000


def test_the_rate_holds_while_a_filter_grows(tmp_path: Path) -> None:
    """Filled to 15 times its capacity, a filter still errs at the nominal rate and knows all it took."""
    rows = keys(30_000, 3, 0)
    filters = filled(tmp_path / "f", Shape(3, 2000, 0.02), rows)
    assert [int(n) for n in filters.slices["capacity"]] == [2000, 4000, 8000, 16_000]
    assert filters.contains(rows).all()
    found = int(filters.contains(keys(50_000, 3, 1)).any(axis=1).sum())
    assert found <= upper(1000, 50_000) * 50_000


def test_keys_that_differ_little(tmp_path: Path) -> None:
    """Keys that are small numbers, or share their high bits, are told apart as random ones are."""
    small = np.arange(60_000, dtype=np.uint64).reshape(-1, 3)
    for high in (np.uint64(0), np.uint64(2**63)):
        filters = filled(tmp_path / "f", Shape(3, 20_000, 1e-3), small | high)
        strangers = (small + np.uint64(60_000)) | high
        assert filters.contains(strangers).any(axis=1).sum() <= 20 + 5 * 20**0.5


def test_a_key_is_of_its_band(tmp_path: Path) -> None:
    """A key in one band is not in another."""
    filters = filled(tmp_path / "f", Shape(2, 100, 1e-6), keys(100, 2, 0))
    assert not filters.contains(keys(100, 2, 0)[:, ::-1].copy()).any()


# ---- how large


@pytest.mark.parametrize("capacity", [100_000, 1_000_000, 50_000_000])
def test_size_is_near_theory(capacity: int) -> None:
    """A filter for 100,000 documents or more has at most 1.05 times the bytes of theory, growth and paging included."""
    shape = Shape(42, capacity, 1e-5)
    _, num_pages, _ = shape.slice_size(0)
    assert 1 <= PAGE_BYTES * (1 + 42 * num_pages) / shape.theory_bytes() <= 1.05


def test_rates_of_bands_make_the_whole() -> None:
    """Each band's rate is such that all bands together have the rate that was set."""
    assert 1 - (1 - Shape(42, 10, 1e-5).rate_per_band) ** 42 == pytest.approx(1e-5)


def test_rates_of_slices_add_up_to_no_more() -> None:
    """However often a filter grows, the rates of its slices together stay below the band's."""
    shape = Shape(10, 100_000, 0.01)
    total = 0.0
    for index in range(7):
        capacity, num_pages, num_probes = shape.slice_size(index)
        total += expected_rate(capacity, num_pages, num_probes)
    assert 0.7 * shape.rate_per_band < total <= shape.rate_per_band


@pytest.mark.parametrize(("capacity", "rate"), [(1, 0.5), (10, 1e-9), (1200, 1e-6), (300_000, 2.4e-7)])
def test_pages_are_the_fewest(capacity: int, rate: float) -> None:
    """One page less would err too often."""
    num_pages, num_probes = pages_and_probes(capacity, rate)
    assert expected_rate(capacity, num_pages, num_probes) <= rate
    assert num_pages == 1 or expected_rate(capacity, num_pages - 1, num_probes) > rate


def test_expected_rate_is_that_of_a_simulation() -> None:
    """The formula for unevenly filled pages agrees with pages filled at random."""
    draw, num_pages, num_keys, num_probes = np.random.default_rng(0), 30, 30_000, 20
    rates = []
    for _ in range(20):
        loads = np.bincount(draw.integers(0, num_pages, num_keys), minlength=num_pages)
        filled_ = [np.unique(draw.integers(0, PAGE_BITS, n * num_probes)).size / PAGE_BITS for n in loads]
        rates.append(np.mean(np.power(filled_, num_probes)))
    assert expected_rate(num_keys, num_pages, num_probes) == pytest.approx(np.mean(rates), rel=0.05)


# ---- the file


def test_closed_and_opened_again(tmp_path: Path) -> None:
    """A closed file says the same when opened, can be written on, and other processes read it at the same time."""
    path, rows, shape = tmp_path / "f", keys(50, 4, 0), Shape(4, 200, 1e-6, "abc", 2**63)
    with filled(path, shape, rows):
        pass
    with BandFilters.open(path, "abc", write=True) as filters:
        assert filters.shape == shape
        filters.insert(keys(10, 4, 1))
    reader = BandFilters.open(path)
    assert (reader.num_documents, reader.size_bytes) == (60, path.stat().st_size)
    assert reader.contains(np.concatenate([rows, keys(10, 4, 1)])).all()
    code = (
        "import sys, pathlib, numpy\nfrom stages.dedup.bloom import BandFilters\n"
        "keys = numpy.random.default_rng(0).integers(0, 2**64, (50, 4), numpy.uint64)\n"
        "print(BandFilters.open(pathlib.Path(sys.argv[1])).contains(keys).all())"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_an_opened_file_grows(tmp_path: Path) -> None:
    """A file that is opened and filled past its capacity is byte for byte the file that was filled at once."""
    shape, rows = Shape(3, 40, 1e-4), keys(150, 3, 0)
    with filled(tmp_path / "a", shape, rows):
        pass
    for part in np.array_split(rows, 4):
        existing = (tmp_path / "b").exists()
        opened = BandFilters.open(tmp_path / "b", write=True) if existing else BandFilters.create(tmp_path / "b", shape)
        with opened as filters:
            filters.insert(part, 2)
    assert len(BandFilters.open(tmp_path / "b").slices) == 3
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()


def test_an_opened_file_that_was_given_up_is_refused(tmp_path: Path) -> None:
    """A writer that dies after it opened a whole file leaves it marked as not whole."""
    with filled(tmp_path / "f", Shape(2, 10, 1e-3), keys(5, 2, 0)):
        pass
    BandFilters.open(tmp_path / "f", write=True).insert(keys(30, 2, 1))
    with pytest.raises(ContractError, match="not closed"):
        BandFilters.open(tmp_path / "f")


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    """A filter that was opened for reading stays as it is."""
    with filled(tmp_path / "f", Shape(2, 10, 1e-3), keys(5, 2, 0)):
        pass
    before = (tmp_path / "f").read_bytes()
    with pytest.raises(ValueError, match="read-only"):
        BandFilters.open(tmp_path / "f").insert(keys(1, 2, 1))
    assert (tmp_path / "f").read_bytes() == before


def test_damage_is_refused(tmp_path: Path) -> None:
    """A file that is cut, too long, foreign, of another layout, or that was not closed is refused in words."""
    path = tmp_path / "f"
    with filled(path, Shape(2, 10, 1e-3), keys(5, 2, 0)):
        pass
    whole = path.read_bytes()
    newer = bytearray(whole)
    newer[HEADER.fields["version"][1]] = 9  # type: ignore[index]
    cases = {
        "header": whole[:100],
        "expected 12288 bytes, found 12287": whole[:-1],
        "found 12289": whole + b"x",
        "not a filter": b"x" + whole[1:],
        "expected version 1, found 9": bytes(newer),
        "found 0 bytes": b"",
    }
    for words, data in cases.items():
        path.write_bytes(data)
        with pytest.raises(ContractError, match=words):
            BandFilters.open(path)
    filled(path, Shape(2, 10, 1e-3), keys(5, 2, 0))
    with pytest.raises(ContractError, match="not closed"):
        BandFilters.open(path)


def test_an_error_leaves_the_file_unfinished(tmp_path: Path) -> None:
    """A writer that fails on the way does not mark its file as whole."""
    with pytest.raises(RuntimeError), BandFilters.create(tmp_path / "f", Shape(2, 10, 1e-3)):
        raise RuntimeError
    with pytest.raises(ContractError, match="not closed"):
        BandFilters.open(tmp_path / "f")


def test_other_settings_are_refused(tmp_path: Path) -> None:
    """Keys that were made with other settings mean nothing to a filter: it says whose it is."""
    with filled(tmp_path / "f", Shape(2, 10, 1e-3, "ours"), keys(5, 2, 0)):
        pass
    with pytest.raises(ContractError, match="expected 'theirs', found 'ours'"):
        BandFilters.open(tmp_path / "f", "theirs")
    with pytest.raises(ContractError, match="missing"):
        BandFilters.open(tmp_path / "nothing")


def test_the_layout_is_the_formula(tmp_path: Path) -> None:
    """Each bit is where Python's integers put it, so the same keys make the same file on every machine."""
    with filled(tmp_path / "f", Shape(2, 3, 0.01, "s", 1), np.arange(10, dtype=np.uint64).reshape(5, 2)) as filters:
        probes = int(filters.slices["num_probes"][0])
    data = np.frombuffer((tmp_path / "f").read_bytes(), np.uint8)
    assert data.size == PAGE_BYTES * (1 + 2 * 2)
    expected = set()
    for key in (1, 3, 5):  # of the second band, of the rows that the first slice holds
        state = mix(key ^ 1)
        for _ in range(probes):
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
            expected.add(state >> 49)
    band = data[2 * PAGE_BYTES : 3 * PAGE_BYTES]
    assert set(np.flatnonzero(np.unpackbits(band, bitorder="little")).tolist()) == expected


# ---- two filters


def test_merged_is_as_if_one(tmp_path: Path) -> None:
    """A filter that took in another is byte for byte the filter that was given all keys."""
    shape, first, second = Shape(3, 100, 1e-4), keys(40, 3, 0), keys(60, 3, 1)
    with filled(tmp_path / "a", shape, first) as left, filled(tmp_path / "b", shape, second) as right:
        left.merge(right)
    with filled(tmp_path / "c", shape, np.concatenate([first, second])):
        pass
    assert (tmp_path / "a").read_bytes() == (tmp_path / "c").read_bytes()


def test_merging_with_more_slices(tmp_path: Path) -> None:
    """What another filter had grown by comes along."""
    shape, first = Shape(3, 50, 1e-4), keys(80, 3, 0)
    left, right = BandFilters.create(tmp_path / "a", shape), filled(tmp_path / "b", shape, first)
    left.merge(right)
    assert left.contains(first).all()
    assert (left.num_documents, len(left.slices)) == (80, 2)


def test_what_does_not_fit_is_not_merged(tmp_path: Path) -> None:
    """Filters of another shape, or too full for one, are refused with all reasons, and nothing changes."""
    left = filled(tmp_path / "a", Shape(3, 50, 1e-4), keys(30, 3, 0))
    with pytest.raises(ContractError, match=r"60 documents in both, capacity 50"):
        left.merge(filled(tmp_path / "b", Shape(3, 50, 1e-4), keys(30, 3, 1)))
    with pytest.raises(ContractError, match="expected Shape"):
        left.merge(filled(tmp_path / "c", Shape(3, 50, 1e-4, seed=1), keys(3, 3, 1)))
    assert left.num_documents == 30
    assert not left.contains(keys(30, 3, 1)).any()
