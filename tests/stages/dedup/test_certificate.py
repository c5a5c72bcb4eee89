"""A correct run passes its certificate, a broken one does not, and chance decides neither."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from schemas.corpus import Certificate, Document, Sketch
from schemas.table import ContractError
from stages.dedup import certificate
from stages.dedup.bloom import BandFilters
from stages.dedup.certificate import CHANCE, clopper_pearson, tail_above
from stages.dedup.family import Family
from stages.dedup.near import key_matrix
from stages.dedup.shape import Shape
from stages.sketch.minhash import MinHash, Sets
from stages.tables import Reader
from tests.stages.dedup.corpora import Corpus, Maker, rows, text


@pytest.mark.parametrize(
    ("found", "count", "share"), [(0, 10, 0.2), (3, 10, 0.2), (10, 10, 0.9), (4, 1000, 1.5e-5), (40, 200, 0.1)]
)
def test_tails_are_the_binomial_ones(found: int, count: int, share: float) -> None:
    """The chance of so many or more is SciPy's."""
    assert tail_above(found, count, share) == pytest.approx(stats.binom.sf(found - 1, count, share), rel=1e-9)


@pytest.mark.parametrize(("found", "count"), [(0, 50), (1, 50), (25, 50), (50, 50), (3, 1000)])
def test_intervals_are_clopper_and_pearsons(found: int, count: int) -> None:
    """The interval is SciPy's exact one."""
    expected = stats.binomtest(found, count).proportion_ci(0.95, method="exact")
    assert clopper_pearson(found, count) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_every_run_is_certified(make: Maker, texts: list[str]) -> None:
    """Decoys of six similarities are found as often as theory has it, with intervals, and all lines pass."""
    lines = rows(make(texts).dedup(num_decoys=100) / "certificate")
    assert [round(line["similarity"], 1) for line in lines] == [0, 0.3, 0.5, 0.7, 0.9, 1]
    assert all(
        line["passed"] and line["low"] <= line["num_found"] / line["num_decoys"] <= line["high"] for line in lines
    )
    for line in lines[1:]:
        s = float(line["similarity"])
        assert line["expected"] == pytest.approx(1 - (1 - s**4) ** 64, abs=0.05)
    assert lines[-1]["num_found"] == lines[-1]["num_decoys"]


def test_the_measured_recall_is_that_of_theory(make: Maker) -> None:
    """On enough documents the intervals hold the S-curve."""
    lines = rows(
        make([text(i) for i in range(400)], num_bands=20, rows_per_band=5).dedup(num_decoys=400) / "certificate"
    )
    for line in lines[1:]:
        assert stats.binomtest(line["num_found"], line["num_decoys"], line["expected"]).pvalue > 1e-4


@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_small_corpora_do_not_fail_by_chance(make: Maker, count: int) -> None:
    """A corpus of few documents passes, whatever the seed."""
    corpus = make([text(i, 60) for i in range(count)])
    assert [corpus.code(f"out-{seed}", num_decoys=50, seed=seed) for seed in range(5)] == [0] * 5


def test_the_chance_of_failing_a_correct_run() -> None:
    """However few the decoys, the lines that would fail have a chance below one in ten million each."""
    for count in (1, 5, 50, 400):
        for share in (1e-5, 0.02, 0.4):
            fails = [k for k in range(count + 1) if tail_above(k, count, share) < CHANCE]
            assert sum(stats.binom.pmf(k, count, share) for k in fails) < CHANCE


# ---- broken runs


def sums_of_minima(self: MinHash, sets: Sets) -> np.ndarray:
    """The keys of the reference implementation: each band's minima of 32-bit hashes, added up."""
    count, keys = self.bands[0] * self.bands[1], []
    draw = np.random.default_rng(1)
    factors, offsets = draw.integers(0, 2**62, (2, count, 1), np.uint64) * np.uint64(2) + np.uint64(1)
    for a, b in pairwise(sets.offsets):
        minima = ((factors * sets.hashes[a:b] + offsets) >> np.uint64(32)).min(axis=1)
        keys.append(minima.reshape(self.bands).sum(axis=1))
    return np.array(keys, np.uint64)


def sums_of(num_documents: int, num_ngrams: int) -> np.ndarray:
    """The same keys of unrelated documents, drawn from the distribution of their minima."""
    uniform = np.random.default_rng(2).random((num_documents, 64, 4))
    minima = (1 - (1 - uniform) ** (1 / num_ngrams)) * (2**32 - 1)
    return minima.astype(np.uint64).sum(axis=2)


def certified(corpus: Corpus, filters: BandFilters) -> list[Certificate]:
    """The certificate of these filters."""
    documents = Reader(corpus.folder / "in" / "documents", Document)
    family = Family.of(Reader(corpus.folder / "sketch" / "sketches", Sketch))
    test = certificate.Test(40, 1.5, 0.05, 0)
    return certificate.certify(documents, np.arange(documents.num_rows), family, filters, test)


def filled(file: Path, keys: np.ndarray, rate: float = 1e-5) -> BandFilters:
    """Filters that hold these keys."""
    filters = BandFilters.create(file, Shape(64, len(keys), rate))
    filters.insert(keys)
    return filters


def keys_of(corpus: Corpus) -> np.ndarray:
    """The band keys of a corpus."""
    keys = pa.array([s["band_keys"] for s in rows(corpus.folder / "sketch" / "sketches")], pa.binary())
    return key_matrix(keys, np.ones(len(keys), np.bool_))


def test_sums_of_minima_fail(make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that are sums, as in the reference, collide for unrelated long documents, and the certificate says so."""
    corpus = make([text(i, 2000) for i in range(20)])
    right = certified(corpus, filled(tmp_path / "right", keys_of(corpus)))
    assert all(line.passed for line in right)
    monkeypatch.setattr(MinHash, "keys", sums_of_minima)
    lines = certified(corpus, filled(tmp_path / "wrong", sums_of(20_000, 2000)))
    assert not lines[0].passed
    assert lines[0].low > 100 * lines[0].expected
    with pytest.raises(ContractError, match=r"similarity 0.0: .* decoys found.*failed"):
        certificate.check(lines)


def test_a_filter_that_is_too_small_fails(make: Maker, tmp_path: Path) -> None:
    """A filter whose real rate is a hundred and more times the nominal one fails."""
    corpus = make([text(i) for i in range(50)])
    draw = np.random.default_rng(0).integers(0, 2**64, (20_000, 64), np.uint64)
    filters = filled(tmp_path / "f", np.concatenate([keys_of(corpus), draw]), rate=0.5)
    filters.header["rate"] = 1e-5
    assert not certified(corpus, filters)[0].passed


def test_keys_that_do_not_agree_fail(make: Maker, tmp_path: Path) -> None:
    """A filter of another family finds none of the corpus' own documents."""
    corpus, other = make([text(i) for i in range(50)]), make([text(i) for i in range(50)], seed=1)
    lines = certified(corpus, filled(tmp_path / "f", keys_of(other)))
    assert lines[0].passed
    assert [line.passed for line in lines[3:]] == [False] * 3


def test_a_failed_certificate_ends_the_run(
    make: Maker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run says what failed, ends with exit code 3 and leaves no manifest."""
    corpus = make([text(i) for i in range(50)])
    monkeypatch.setattr(MinHash, "keys", lambda _, sets: np.zeros((len(sets.offsets) - 1, 64), np.uint64))
    assert corpus.code(num_decoys=40) == 3
    assert "the certificate of this run" in capsys.readouterr().err
    assert not (corpus.folder / "out" / "manifest.json").exists()
