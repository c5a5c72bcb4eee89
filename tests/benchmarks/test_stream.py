"""The benchmarks of orders, indices, loaders and encoders: what they compare is what they say, and a difference is told."""

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import (
    blend,
    encode,
    first_batch,
    idx,
    index_scale,
    loader,
    loader_systems,
    megatron_peer,
    mixture,
    sample_index,
)
from benchmarks.loader_systems import EOD, Job, Measured, window_digest
from benchmarks.table import Comparison, Options
from schemas.corpus import Document
from schemas.tokens import TokenShard
from stages.stream.corpus import open_corpus
from stages.stream.mixture import plan
from stages.tables import Reader

QUICK = Options(True, None)


def once(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Call both sides once and say that each took a second."""

    def timed(what: str, peer: str, ours: Callable[[], Any], theirs: Callable[[], Any], *, equal: bool) -> Comparison:
        ours(), theirs()
        return Comparison(what, peer, 1, 1, "s", 1, equal)

    monkeypatch.setattr(module, "timed", timed)


# ---- Megatron's order


@pytest.mark.parametrize("law", ["lognormal", "by size", "by corpus"])
def test_weights_of_a_law(law: str) -> None:
    """Weights are positive and the same each time; by corpus there are at most fourteen kinds, by size each near its corpus'."""
    found = blend.draw(300, law)
    assert found.shape == (300,)
    assert (found > 0).all()
    assert np.array_equal(found, blend.draw(300, law))
    if law != "lognormal":
        shares = blend.draw(300, "by corpus")
        assert len(np.unique(shares)) <= 14
        assert (np.abs(found / shares - 1) <= 0.1 + 1e-12).all()


def test_a_blend_that_differs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours is equal to Megatron's bytes, on one thread and two; with one sample of another dataset it is not."""
    once(blend, monkeypatch)
    monkeypatch.setattr(blend, "CASES", [(3, "lognormal")])
    assert [r.equal for r in blend.run(QUICK)] == [True, True]
    whole = blend.blend

    def other(*arguments: Any) -> Any:
        datasets, samples = whole(*arguments)
        datasets[-1] ^= 1
        return datasets, samples

    monkeypatch.setattr(blend, "blend", other)
    assert [r.equal for r in blend.run(QUICK)] == [False, False]


def test_indices_that_differ_are_told() -> None:
    """Arrays are the same in type, shape and value, or they are not."""
    rows = np.arange(6, dtype=np.int32).reshape(3, 2)
    assert sample_index.same(rows, rows.copy())
    assert not sample_index.same(rows, rows.astype(np.int64))
    assert not sample_index.same(rows, rows[:2])
    assert not sample_index.same(rows, rows + 1)


def test_indices_are_megatrons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shuffle, sample index and all indices are the peers', on one core and two; a shuffle that differs is told."""
    once(sample_index, monkeypatch)
    assert [r.equal for r in sample_index.run(QUICK)] == [True] * 5
    monkeypatch.setattr(sample_index, "shuffle", lambda _, documents: documents[:2].sort())
    assert next(iter(sample_index.run(QUICK))).equal is False


def test_lengths_are_those_of_a_web_corpus() -> None:
    """A thousand tokens on average, none beyond the largest, the same by seed."""
    found = megatron_peer.document_lengths(100_000, 3)
    assert found.dtype == np.int32
    assert found.mean() == pytest.approx(1000, rel=0.05)
    assert found.max() <= 2_000_000
    assert not np.array_equal(found, megatron_peer.document_lengths(100_000, 4))


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_files_are_compared_to_the_last_byte(
    tmp_path_factory: pytest.TempPathFactory, ours: bytes, theirs: bytes
) -> None:
    """Two files are the same where all bytes are, and not where one is the beginning of the other."""
    folder = tmp_path_factory.getbasetemp()
    for name, data in (("ours", ours), ("theirs", theirs)):
        (folder / name).write_bytes(data)
    assert idx.same(folder / "ours", folder / "theirs") == (ours == theirs)


def test_an_index_file_is_megatrons(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is Megatron's; where one length differs that is told."""
    write = idx.write_index

    def wrong(file: Path, lengths: np.ndarray, dtype: Any) -> None:
        write(file, lengths + (np.arange(len(lengths)) == 7) * (dtype == "int32"), dtype)

    monkeypatch.setattr(idx, "write_index", wrong)
    monkeypatch.setattr(idx, "interleaved", lambda a, b, **_: (a(), b(), (1.0, 2.0))[2])
    assert [(r.equal, r.ratio) for r in idx.run(QUICK)] == [(True, 2), (False, 2)]


def test_a_part_of_the_corpus_is_scaled_to_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds of whole files are scaled to the files that a part would have; bytes are compared, and a difference is told."""
    monkeypatch.setattr(index_scale, "NUM_DOCUMENTS", 300)
    monkeypatch.setattr(index_scale, "interleaved", lambda a, b, _: (a(), b(), (1.0, 3.0))[2])
    found = index_scale.measure(1 / 20_000, 1)  # an eighth of a file: one is measured
    assert found.equal
    assert found.files == pytest.approx((2419 / 20_000, 3 * 2419 / 20_000))
    assert found.totals == pytest.approx((1 + 2419 / 20_000, 3 + 3 * 2419 / 20_000))
    ours = index_scale.build_ours
    monkeypatch.setattr(index_scale, "build_ours", lambda some: [a + 1 for a in ours(some)])
    assert not index_scale.measure(1 / 20_000, 2).equal


def test_growth_and_the_whole() -> None:
    """Ten times the cost at ten times the size is a growth of 10; the whole is the larger part by its share; one part that differs tells."""
    costs = [
        index_scale.Cost(scale, (2e3 * scale, 8e3 * scale), (1e3 * scale, 1e3 * scale), equal)
        for scale, equal in ((1e-3, True), (1e-2, False))
    ]
    rows = {r.what: r for r in index_scale.rows(costs, "1 core(s)")}
    growth, whole = rows["growth (10 is linear), 1 core(s)"], rows["2e12 tokens, order megatron, 1 core(s)"]
    assert (growth.ours, growth.theirs) == pytest.approx((10, 10))
    assert (whole.ours, whole.theirs, whole.ratio) == pytest.approx((3000, 9000, 3))
    assert whole.equal is False
    assert all(math.isfinite(v) for r in rows.values() for v in (r.ours, r.theirs, r.ratio))


def test_files_without_their_bytes(tmp_path: Path) -> None:
    """A table of holes opens as a corpus of so many tokens and takes no room; a first batch is read from it."""
    table = first_batch.make_files(tmp_path / "holes", 3, 9_000_000)
    datasets = open_corpus(Reader(table, TokenShard), "train")
    assert [len(d) for d in datasets] == [3_000_000] * 3
    assert sum(f.stat().st_blocks * 512 for f in (tmp_path / "holes").glob("*.bin")) < 1_000_000
    found = first_batch.first_batch(table)
    assert 0 < found["seconds"] < 1000
    assert 1 < found["megabytes"] < 100_000


# ---- mixtures


def test_every_batch_keeps_the_promise() -> None:
    """Worst deviations are those of the samples that the order takes, counted one by one."""
    weights = {"0": 5.0, "1": 3.0, "2": 1.0}
    (phase,) = plan([(1.0, weights)], list(weights), 40)
    worst, kept = mixture.ours([phase], list(weights))
    order = mixture.VirtualOrder(
        [mixture.Contiguous(s, 8 * 1_000_003 + 1, 8) for s in weights], [phase], mixture.BATCH, 0
    )
    counts = [np.bincount(order.take(b * 512, (b + 1) * 512).datasets, minlength=3) for b in range(40)]
    expected = max(np.abs(c - 512 * np.array([5, 3, 1]) / 9).max() for c in counts)
    assert worst == pytest.approx(expected, abs=1e-6)
    assert kept
    assert worst <= mixture.PROMISE


def test_an_order_that_takes_other_samples_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts that are not what the order takes, or that miss the weights by more than two, are not kept."""
    phases = mixture.staged(60)
    sources = [str(k) for k in range(100)]
    assert [p.last_step for p in phases][-1] == 60
    assert mixture.ours(phases, sources)[1]
    counts = mixture.Apportionment.counts
    monkeypatch.setattr(mixture.Apportionment, "counts", lambda self, batch: np.roll(counts(self, batch), 1))
    worst, kept = mixture.ours(phases, sources)
    assert not kept
    assert worst > mixture.PROMISE


@pytest.mark.filterwarnings("ignore")  # that parts of Megatron's package are not installed
def test_deviations_of_megatrons_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer's worst batch is that of its own blend, batch by batch, and it is said how many were counted."""
    weights = np.array([0.5, 0.3, 0.2])
    worst, counted = mixture.megatron(weights, 30)
    datasets, _ = megatron_peer.build_blend(weights, 30 * mixture.BATCH)
    counts = [Counter(datasets[i : i + 512].tolist()) for i in range(0, 30 * 512, 512)]
    assert worst == pytest.approx(max(abs(c[k] - 512 * w) for c in counts for k, w in enumerate(weights)))
    assert counted == 30
    monkeypatch.setattr(mixture, "LOOKS", 3 * mixture.BATCH * 4.5)
    assert mixture.megatron(weights, 30)[1] == 4


# ---- loaders


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A corpus of six batches of windows of 64 tokens."""
    return loader.make_corpus(tmp_path_factory.mktemp("loader"), 64, 6 * 32 * 64, [])


def test_the_corpus_is_whole_batches_of_documents(job: Job) -> None:
    """One token more than six batches of windows; documents end with the end token, which stands nowhere else."""
    assert (job.num_batches, job.limit) == (6, 6)
    (dataset,) = loader_systems.open_datasets(job)
    assert len(dataset) == 6 * 32 * 64 + 1
    tokens = np.fromfile(Path(job.folder) / "tokens" / "all.bin", np.uint16)
    lengths = dataset.document_lengths()
    assert lengths.sum() == len(tokens)
    assert np.flatnonzero(tokens == EOD).tolist() == (np.cumsum(lengths) - 1).tolist()


@given(st.integers(2, 6), st.integers(0, 1 << 32))
def test_digests_are_of_windows_whatever_their_order(count: int, seed: int) -> None:
    """The digest of a batch is that of its windows one by one, in any order; one window more or one other token changes it."""
    chance = np.random.default_rng(seed)
    batch = chance.integers(0, 60_000, (count, 5), np.uint16)
    shuffled = chance.permutation(batch)
    assert window_digest(batch) == window_digest(shuffled.astype(np.int64))
    assert window_digest(batch) == sum(window_digest(w[None]) for w in batch) % (1 << 64)
    assert window_digest(batch) != window_digest(batch[1:])
    other = batch.copy()
    other[0, 0] ^= 1
    assert window_digest(batch) != window_digest(other)


@pytest.fixture
def _no_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that tests stays as it is."""

    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(loader_systems.os, "sched_setscheduler", refused)


@pytest.mark.filterwarnings("ignore")  # that parts of Megatron's package are not installed
@pytest.mark.usefixtures("_no_priority")
def test_systems_read_the_windows_of_the_corpus(job: Job) -> None:
    """Ours reads every window once; in Megatron's order batch by batch what Megatron reads; fewer batches are other digests."""
    tokens = np.fromfile(Path(job.folder) / "tokens" / "all.bin", np.uint16)
    windows = np.lib.stride_tricks.sliding_window_view(tokens, 65)[::64]
    whole = replace(job, digest=True)
    found = {
        name: loader_systems.measure(name, whole) for name in ("borealis", "borealis, order megatron", "megatron-core")
    }
    assert found["borealis"].windows == window_digest(windows)
    assert [len(m.seconds) for m in found.values()] == [6, 6, 6]
    assert found["borealis, order megatron"].batches == found["megatron-core"].batches
    assert found["borealis, order megatron"].batches != found["borealis"].batches
    assert loader_systems.measure("borealis", replace(whole, limit=5)).windows != found["borealis"].windows
    assert len(loader_systems.measure("borealis", replace(job, limit=2, cold=True)).seconds) == 2


def test_windows_that_differ_are_told(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers that store windows are compared as multisets, Megatron batch by batch; its own windows with ours in no way."""
    found = {
        "borealis": Measured([], 7, 1),
        "litdata": Measured([], 7, 2),
        "mosaicml-streaming": Measured([], 8, 1),
        "borealis, order megatron": Measured([], 5, 3),
        "megatron-core": Measured([], 5, 4),
    }
    asked: list[Job] = []
    monkeypatch.setattr(loader, "read", lambda system, job: (asked.append(job), found[system])[1])
    assert loader.same_tokens("borealis", "litdata", job) is True
    assert loader.same_tokens("borealis", "mosaicml-streaming", job) is False
    assert loader.same_tokens("borealis, order megatron", "megatron-core", job) is False
    assert loader.same_tokens("borealis", "megatron-core", job) is None
    assert all(j.digest and j.limit == j.num_batches for j in asked)


def test_rates_and_latencies(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first batches do not count; samples a second are better when more, the 99th percentile when less."""
    slow, fast = [9.0] * loader.FIRST + [0.2] * 100, [9.0] * loader.FIRST + [0.1] * 99 + [5.0]
    monkeypatch.setattr(loader, "read", lambda system, _: Measured(fast if system == "borealis" else slow, 0, 0))
    rates, latencies = loader.compare(("borealis", "p"), job, 3, equal=False)
    assert rates.ours == pytest.approx(100 * 32 / (9.9 + 5))
    assert rates.theirs == pytest.approx(160)
    assert rates.ratio == rates.ours / rates.theirs
    assert latencies.ours == pytest.approx(1000 * np.quantile(fast[loader.FIRST :], 0.99))
    assert latencies.ratio == latencies.theirs / latencies.ours
    assert (rates.equal, latencies.equal) == (False, False)


def test_peers_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without any peer there is no row, and each is named with where to read how to have it."""
    monkeypatch.setattr(loader.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(loader, "make_corpus", lambda *_: None)
    assert list(loader.run(QUICK)) == []
    shown = capsys.readouterr().out.splitlines()
    assert sorted(shown) == [f"{n} is not installed here: see the head of this file" for n in sorted(loader.MODULES)]


def test_a_reading_that_fails_shows_why(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process wrote is part of the error."""
    monkeypatch.setattr(loader.sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="megatron-core"):
        loader.read("megatron-core", job)


# ---- encoders


@given(st.text(max_size=300), st.integers(1, 99))
def test_a_copy_has_other_numbers_and_few_other_letters(text: str, seed: int) -> None:
    """Digits stay digits, at most one small letter in 500 is another, all else is as it was; the first copy is the text."""
    text = (text + "abc 123 é ") * 30
    found = encode.perturbed(text, seed)
    assert encode.perturbed(text, 0) == text
    assert encode.perturbed(text, seed) == found
    assert len(found) == len(text)
    letters = 0
    for a, b in zip(text, found, strict=True):
        if a in "0123456789":
            assert b in "0123456789"
        elif a != b:
            assert a.isascii()
            assert a.islower()
            assert b.islower()
            letters += 1
    assert letters <= sum("a" <= c <= "z" for c in text) / encode.PER_LETTER


def test_both_sides_read_the_same_texts(tmp_path: Path) -> None:
    """The table and the lines of JSON hold the same documents in the same order, as many bytes as they say."""
    texts = ["heat 12 of coppers " * 40, "β"]
    made = encode.write(tmp_path / "x", texts, 2)
    ours = [d.text for d in Reader(made.documents, Document).rows()]
    theirs = [json.loads(line)["text"] for line in made.lines.read_text().splitlines()]
    assert ours == theirs
    assert ours[:2] == texts
    assert (ours[2] != texts[0], ours[3]) == (True, "β")
    assert made.num_bytes == sum(len(t.encode()) for t in ours)


def test_token_files_that_differ_are_told(tmp_path: Path) -> None:
    """Both files of a pair must have the peer's bytes."""
    ours, theirs = tmp_path / "ours" / "tokens" / "0", tmp_path / "theirs"
    for folder, name in ((ours, "train"), (theirs, "theirs")):
        folder.mkdir(parents=True)
        for kind in ("bin", "idx"):
            (folder / f"{name}.{kind}").write_bytes(kind.encode())
    assert encode.equal(tmp_path / "ours", theirs)
    for kind in ("bin", "idx"):
        (theirs / f"theirs.{kind}").write_bytes(b"other")
        assert not encode.equal(tmp_path / "ours", theirs)
        (theirs / f"theirs.{kind}").write_bytes(kind.encode())


def test_what_a_further_copy_costs() -> None:
    """Nine copies more than one cost nine times a further one, start and end not counted; a difference stays one."""
    small, large = Comparison("w", "p", 3, 10, "s", 10 / 3, True), Comparison("w", "p", 12, 100, "s", 100 / 12, False)
    row = encode.further("w", small, large)
    assert (row.ours, row.theirs, row.ratio, row.equal) == (1, 10, 10, False)


def test_gpt2_is_built_of_its_two_files(tmp_path: Path) -> None:
    """Vocabulary and merges give the ids that they say, and the end token is one."""
    from tokenizers import Tokenizer

    (tmp_path / "encoder.json").write_text(json.dumps({"a": 0, "b": 1, "ab": 2, "Ġ": 3, encode.EOD: 4}))
    (tmp_path / "vocab.bpe").write_text("#version: 0.2\na b\n")
    tokenizer = Tokenizer.from_file(str(encode.gpt2(tmp_path, tmp_path)))
    assert tokenizer.encode("ab ba" + encode.EOD).ids == [2, 3, 1, 0, 4]
