"""The deduplication benchmark: its corpora hold the copies that the truth says, its measures are the formulas."""

import gzip
import importlib.util
import itertools
import json
import math
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import harmonic_mean

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import dedup_accuracy, dedup_corpus, dedup_datatrove, dedup_filters, dedup_near, dedup_scale
from benchmarks.dedup_accuracy import Score, Texts
from benchmarks.dedup_corpus import Corpus, cut, similarity
from benchmarks.dedup_tables import Ran, write_documents
from benchmarks.table import Options
from schemas.corpus import Document
from stages.tables import Reader

WORDS = [f"{a}{b}" for a in "bcdfghklmnprst" for b in ("ol", "ent", "ar", "ite", "um", "ane")]


def paper(seed: int, length: int = 120) -> str:
    """Words of a seed."""
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def lines(file: Path, rows: list[dict[str, str]]) -> None:
    """A file of JSON lines, packed."""
    with gzip.open(file, "wt", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve papers, and a labelled file of one paper in three variants and of a stranger that looks alike."""
    lines(tmp_path / dedup_corpus.PAPERS, [{"text": paper(seed, 400)} for seed in range(12)])
    gold = paper(100)
    rows = [("gold", gold), ("pdftotext", gold + " one more"), ("pymupdf", gold + " two more")]
    labelled = [
        {"doc_id": f"d-{v}", "cluster": "c", "variant": v, "relation": "same", "text": text} for v, text in rows
    ]
    labelled.append(
        {"doc_id": "s", "cluster": "s", "variant": "gold", "relation": "near-but-not-duplicate", "text": "x"}
    )
    lines(tmp_path / dedup_corpus.LABELLED, labelled)
    for module in (dedup_corpus, dedup_accuracy):
        monkeypatch.setattr(module, "CORPORA", tmp_path)
    return tmp_path


# ---- the corpus


@given(st.text("ab c", max_size=60), st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0]), st.floats(0, 1))
def test_a_cut_takes_out_so_many_characters_in_one_place(text: str, share: float, centre: float) -> None:
    """What stays are a beginning and an end of the text, together shorter by the share, wherever the cut is."""
    found = cut(text, share, centre)
    assert len(found) == len(text) - round(share * len(text))
    assert any(found == text[:at] + text[len(text) - len(found) + at :] for at in range(len(found) + 1))


@given(*[st.lists(st.sampled_from("abc"), max_size=30).map(" ".join)] * 2)
def test_similarity_is_that_of_sets_of_five_words(left: str, right: str) -> None:
    """Jaccard's index of the sets of word 5-grams, a shorter text being one gram."""
    one, two = ({tuple(w[i : i + 5]) for i in range(len(w) - 4)} or {tuple(w)} for w in (left.split(), right.split()))
    assert similarity(left, right) == len(one & two) / len(one | two)


def test_copies_are_where_the_truth_says(corpora: Path) -> None:
    """Every row that is a copy is its original less one stretch, or of its cluster; others share hardly a shingle."""
    corpus = dedup_corpus.load(None, 12, one_in=4)
    assert corpus.of == [None, 0, 0, None, *[None] * 12, 4, 8, 12]
    assert corpus.size_bytes == sum(len(t) for t in corpus.texts)
    for i, of in enumerate(corpus.of):
        if of is None:
            assert corpus.jaccard[i] == 0
            assert max(similarity(corpus.texts[i], t) for t in corpus.texts[:i] or [""]) < 0.05
        else:
            assert 0.5 < corpus.jaccard[i] == similarity(corpus.texts[of], corpus.texts[i]) < 1
    for k, i in enumerate((16, 17, 18)):
        share, _ = dedup_corpus.CUTS[k]
        assert len(corpus.texts[i]) == pytest.approx((1 - share) * len(corpus.texts[corpus.of[i] or 0]), abs=1)
    assert dedup_corpus.load(corpora / dedup_corpus.LABELLED, 12).of == [None, 0, 0, None]
    with pytest.raises(SystemExit, match="is missing: name another labelled file with --data"):
        dedup_corpus.load(corpora / "none.gz", 1)


HAND = Corpus(["a", "a'", "b", "b'", "c", "d"], [None, 0, None, 2, None, None], [0, 0.9, 0, 0.3, 0, 0])


def test_measures_of_flags() -> None:
    """Recall counts copies of a similarity of a half; resolved is either of a pair; strangers are neither copy nor copied."""
    flags = [True, False, False, True, False, True]
    assert HAND.recall(flags) == 0  # b' is not alike enough, a' is not flagged
    assert HAND.recall([False, True] + [False] * 4) == 1
    assert HAND.resolved(flags) == 1  # a went in place of its copy
    assert HAND.resolved([False] * 6) == 0
    assert HAND.false(flags) == 1
    assert HAND.false([False, False, False, False, True, True]) == 2


# ---- the near pass


def passes() -> Iterator[str]:
    """Peers whose library is here."""
    yield "ours"
    yield from (name for name, module in dedup_near.MODULES.items() if importlib.util.find_spec(module))


@pytest.mark.parametrize("name", [*passes()])
def test_a_pass_flags_copies_and_no_strangers(name: str) -> None:
    """Of texts that are the same, or nearly, the later ones are flagged, with any seed; strangers and firsts never."""
    work = dedup_near.ours if name == "ours" else dedup_near.PEERS[name]
    first = paper(1, 300)
    texts = [first, paper(2, 300), first, first + " end", paper(3, 300)]
    for seed in (1, 2):
        assert work(texts, seed) == [False, False, True, True, False]


def in_turn(flags: tuple[list[bool], list[bool]]) -> tuple[list[bool], list[bool], list[bool | None]]:
    """What the rows say of such flags of ours and a peer."""
    corpus = Corpus(["a", "a'", "c"], [None, 0, None], [0, 1, 0])
    rows = list(dedup_near._rows("p", corpus, ([flags[0]], [flags[1]]), (6.0, 2.0)))
    assert [r.unit for r in rows] == ["share", "texts", "MB/s a core"]
    assert rows[2].ratio == 3
    return *flags, [r.equal for r in rows]


def test_less_found_or_more_strangers_is_not_equal() -> None:
    """Ours agrees with a peer if it finds as much and flags no stranger more, whatever its speed; a difference is told."""
    copy, nothing, stranger = [False, True, False], [False] * 3, [False, True, True]
    assert in_turn((copy, copy))[2] == [True] * 3
    assert in_turn((copy, stranger))[2] == [True] * 3
    assert in_turn((nothing, copy))[2] == [False] * 3
    assert in_turn((stranger, copy))[2] == [False] * 3


def test_a_peer_that_is_missing_is_named(
    corpora: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is not installed is said with where to read how to have it, the others are compared."""
    monkeypatch.setattr(dedup_near, "MODULES", dict.fromkeys(dedup_near.PEERS, "no_such_module") | {"rensa": ""})
    monkeypatch.setitem(dedup_near.PEERS, "rensa", lambda texts, _: [False] * len(texts))
    rows = list(dedup_near.near(Options(True, corpora / dedup_corpus.LABELLED)))
    shown = capsys.readouterr().out
    assert (
        "datasketch MinHashLSH: not compared, no_such_module is not installed (see the head of benchmarks/dedup.py)"
        in shown
    )
    assert [(r.peer, r.what) for r in rows] == [
        ("rensa", w) for w in ("near pass: recall", "near pass: strangers flagged", "near pass")
    ]
    assert (rows[0].ours, rows[0].theirs, rows[0].equal) == (1, 0, True)
    assert all(math.isfinite(v) for r in rows for v in (r.ours, r.theirs, r.ratio))
    monkeypatch.setattr(dedup_datatrove.importlib.util, "find_spec", lambda _: None)
    assert list(dedup_datatrove.end_to_end(Options(True, None))) == []
    assert "datatrove: not compared" in capsys.readouterr().out


def test_recall_in_theory() -> None:
    """The mean over true copies of 1 - (1 - J^r)^b, by a draw of bands; a set without any copy has none to speak of."""
    draw = np.random.default_rng(0)
    agree = draw.random((4000, dedup_near.NUM_BANDS, dedup_near.ROWS_PER_BAND)) < 0.6
    expected = agree.all(axis=2).any(axis=1).mean()
    found = dedup_near._theory(Corpus(["a", "b", "c"], [None, 0, 0], [0, 0.6, 0.4]))
    assert found == pytest.approx(expected, abs=0.03)
    assert math.isnan(dedup_near._theory(Corpus(["a"], [None], [0])))


# ---- accuracy


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=12), st.data())
def test_scores_are_of_texts_that_are_one_too_many(origins: list[str], data: st.DataObject) -> None:
    """A group of n has n - 1 to drop, whichever; beyond that a dropped text is wrong."""
    dropped = data.draw(st.sets(st.integers(0, len(origins) - 1)))
    right = 0
    for origin in set(origins):
        mine = [i for i, o in enumerate(origins) if o == origin]
        gone = [i for i in mine if i in dropped]
        right += len(gone) if len(gone) < len(mine) else len(gone) - 1
    found = dedup_accuracy._score(Texts([""] * len(origins), origins), dropped)
    extra = len(origins) - len(set(origins))
    assert found == (right / max(len(dropped), 1), right / max(extra, 1))
    assert found.f1 == pytest.approx(2 * right / max(len(dropped) + extra, 1), abs=1e-6)


def test_f1_is_the_harmonic_mean() -> None:
    """As the standard library has it; nothing of nothing is 0."""
    assert Score(0.75, 0.6).f1 == pytest.approx(harmonic_mean([0.75, 0.6]))
    assert Score(0, 0).f1 == 0


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_constructed_sets_have_as_many_copies_as_they_say(corpora: Path, share: float) -> None:
    """So many texts, of which the share is one too many; a copy is a text of its origin with a stretch cut out, or parsed."""
    articles = [paper(200 + i, 200) for i in range(40)]
    found = dedup_accuracy._construct(articles, share, 40, seed=1)
    assert len(found.texts) == len(found.origins) == 40
    groups = Counter(found.origins)
    assert sum(groups.values()) - len(groups) == round(40 * share)
    by_origin: dict[str, list[str]] = {}
    for text, origin in zip(*found, strict=True):
        by_origin.setdefault(origin, []).append(text)
    for texts in by_origin.values():
        original = max(texts, key=len)
        assert all(similarity(original, t) > 0.2 for t in texts)
    firsts = [max(texts, key=len) for texts in by_origin.values()]
    assert all(similarity(a, b) < 0.2 for a, b in itertools.pairwise(firsts))
    assert found == dedup_accuracy._construct(articles, share, 40, seed=1)


def test_strangers_of_the_labelled_file_have_origins_of_their_own(corpora: Path) -> None:
    """A text that only looks like a copy is nobody's copy; variants may be chosen."""
    file = corpora / dedup_corpus.LABELLED
    assert dedup_accuracy._labelled(file).origins == ["c", "c", "c", "s"]
    assert dedup_accuracy._labelled(file, ("pymupdf",)).origins == ["c"]


def test_abstracts_and_their_copies(corpora: Path) -> None:
    """Each third abstract has a copy that is cut; the parsed papers come behind; short ones are left out."""
    head = [f"# T\n\n## Abstract\n\n{paper(i)}\n\n## Introduction\n\nx" for i in range(6)] + ["## Abstract\n\nshort"]
    found = dedup_accuracy._abstracts(head)
    assert found.origins == [*(f"abstract {i}" for i in (*range(6), 0, 3)), "c", "c", "c", "s"]
    assert [len(t) for t in found.texts[:6]] == [len(paper(i)) for i in range(6)]
    assert similarity(found.texts[6], found.texts[0]) > 0.5


def test_the_tuned_peer_drops_what_it_knows() -> None:
    """MinHashLSH drops later ones of the same; a text that was dropped is not put in."""
    first = paper(1)
    found = Texts([first, paper(2), first, first], ["a", "b", "a", "a"])
    assert dedup_accuracy._peer(found, 5, 0.5) == {2, 3}
    assert dedup_accuracy._score(found, {2, 3}) == (1, 1)


def test_f1_against_nothing_found_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the peer drops nothing, ours is still shown beside it."""
    monkeypatch.setattr(dedup_accuracy, "_ours", lambda *_, **__: {1: 0})
    monkeypatch.setattr(dedup_accuracy, "_peer", lambda *_: set[int]())
    row = dedup_accuracy._f1("w", Texts(["a", "a"], ["o", "o"]), dedup_accuracy.Settings(5, (5, 0.5)))
    assert (row.ours, row.theirs) == (1, 0)
    assert math.isfinite(row.ratio)


def test_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link is right within an origin or between alike texts; a copy is resolved if either of a pair went."""
    one, two = paper(1), paper(2)
    found = Texts([one, two, one + " end", two, paper(3)], ["a", "b", "a", "other", "c"])
    monkeypatch.setattr(dedup_accuracy, "_ours", lambda *_: {0: 2, 3: 1, 4: 0})
    precision, recall = dedup_accuracy._links(found)
    assert precision.ours == pytest.approx(2 / 3)
    assert recall.what == "abstracts, recall of 1 copies"
    assert recall.ours == 1
    monkeypatch.setattr(dedup_accuracy, "_ours", lambda *_: {})
    precision, recall = dedup_accuracy._links(found)
    assert recall.ours == 0


# ---- filters


@given(st.integers(1, 400), st.data())
@settings(deadline=None, max_examples=40)
def test_intervals_are_those_of_scipy(count: int, data: st.DataObject) -> None:
    """Clopper's and Pearson's interval of any share, of none and of all too."""
    stats = pytest.importorskip("scipy.stats")
    found = data.draw(st.integers(0, count))
    expected = stats.binomtest(found, count).proportion_ci(method="exact")
    assert dedup_filters.interval(found, count) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_sums_collide_as_the_model_says() -> None:
    """Drawn minima and the closed form give the same share of strangers whose sums are known."""
    assert dedup_filters.sums_rate(10_000, 4000) == pytest.approx(dedup_filters.model(10_000, 4000), rel=0.2)


def test_disjoint_documents_have_no_key_in_common() -> None:
    """Blocks are of documents that share nothing, whichever block they are in; a block made again has the same keys."""
    one, two = (dedup_filters.disjoint_keys(first, 50, 30) for first in (0, 50))
    keys = np.concatenate([one, two])
    assert keys.shape == (100, dedup_near.NUM_BANDS)
    assert all(len(np.unique(column)) == 100 for column in keys.T)
    assert np.array_equal(dedup_filters.disjoint_keys(25, 50, 30), np.concatenate([one[25:], two[:25]]))


def test_strangers_are_rarely_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate of a filter is at most what it was made for, and not nothing where that is a tenth (whole pages make it less)."""
    monkeypatch.setattr(dedup_filters, "RATE", 0.1)
    assert 0.04 < dedup_filters.our_rate(20_000, 20) < 0.105


# ---- how it grows


def test_every_twentieth_text_is_nearly_an_earlier_one() -> None:
    """A text at 19, 39, ... is that of seven rows before but for its end; no other pair shares a shingle."""
    (texts,) = dedup_scale.texts(200)
    rows = texts.to_pylist()
    assert {len(t) for t in rows} == {dedup_scale.TEXT_BYTES}
    for i, text in enumerate(rows):
        copied = i % dedup_scale.COPY_EVERY == dedup_scale.COPY_EVERY - 1
        before = rows[i - dedup_scale.COPY_BEHIND] if i >= dedup_scale.COPY_BEHIND else ""
        kept = dedup_scale.TEXT_BYTES - dedup_scale.COPY_CHANGED
        assert (text[:kept] == before[:kept]) == copied
        assert (similarity(text, before) > 0.7) == copied
    owners = Counter(g for t in rows for g in dedup_corpus.shingles(t))
    assert max(owners.values()) == 2
    mean = np.mean([len(w) for t in rows for w in t.split()])
    assert mean == pytest.approx(dedup_scale.MEAN_WORD_BYTES, rel=0.1)


def test_texts_of_several_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many as asked for in all, and as many copies as are counted on."""
    monkeypatch.setattr(dedup_scale, "BATCH_ROWS", 60)
    batches = [b.to_pylist() for b in dedup_scale.texts(200)]
    assert [len(b) for b in batches] == [60, 60, 60, 20]
    rows = [t for b in batches for t in b]
    copies = sum(a[:300] == b[:300] for a, b in zip(rows, rows[7:], strict=False))
    assert copies == 200 // dedup_scale.COPY_EVERY


def test_tables_are_finished_and_numbered(tmp_path: Path) -> None:
    """Batches of texts become one table of documents with a path and a name of its own for each row."""
    table = write_documents(tmp_path / "in", [pa.array(["a", "β"]), pa.array(["c"])])
    found = list(Reader(table, Document).rows())
    assert [(d.text, d.path) for d in found] == [("a", "0.txt"), ("β", "1.txt"), ("c", "2.txt")]
    assert len({d.doc_id for d in found}) == 3


def test_growth_is_by_the_size_before(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A size that takes ten times the time of a tenth has a ratio of 1; memory beyond the filter's is not equal."""
    runs = iter([(1.0, 2.0, 10**6, 1.0), (20.0, 10.0, 10**6, 0.9)])

    def run(_: Path, count: int) -> tuple[Ran, Ran, int, float]:
        sketch, dedup, filter_bytes, share = next(runs)
        return Ran(sketch, 0), Ran(dedup, 10**6 * (301 if count == 1000 else 302)), filter_bytes, share

    monkeypatch.setattr(dedup_scale, "_run", run)
    small, large, growth = dedup_scale.scale(Options(True, None))
    assert (small.equal, large.equal) == (True, False)
    assert (growth.ours, growth.theirs, growth.ratio, growth.equal) == (30, 30, 1, False)
    shown = capsys.readouterr().out
    assert "5,000,000,000 documents" in shown
    assert "sketch: 2000.0 us a document" in shown
