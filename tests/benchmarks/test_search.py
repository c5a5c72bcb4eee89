"""The benchmarks of decontamination, repeated passages and semantic duplicates: what they plant, and what they call equal."""

import gzip
import json
import math
import multiprocessing
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import decontaminate, semantic, substring
from benchmarks.dedup_tables import Ran, write_table
from benchmarks.table import Options
from schemas.corpus import Embedding
from stages.decontaminate.plant import by_ocr
from stages.substring import Substring
from tests.stages.substring.corpora import LICENCE, prose

HOST = " ".join(f"host{i}" for i in range(1000))
NEEDLES = [f"What is the melting point of substance {i}?" for i in range(8)]


# ---- decontamination


@given(st.text(max_size=80), st.integers(0, 9999), st.integers(0, 5000))
def test_a_planted_text_stands_in_the_middle_of_a_stretch(text: str, seed: int, length: int) -> None:
    """Around it are two halves of a part of the article, of at most so many characters, or all of a short one."""
    host = HOST[:length]
    found = decontaminate.planted(text, host, random.Random(seed))
    around = found.replace(f"\n\n{text}\n\n", "", 1)
    assert len(found) == len(around) + len(text) + 4
    assert around in host
    assert len(around) == min(length, decontaminate.STRETCH)
    assert found[len(around) // 2 :].startswith(f"\n\n{text}\n\n")


def test_rewording_is_as_strong_as_it_says() -> None:
    """Of many words the rate is other ones, and every twentieth is gone; nothing else changes."""
    text = " ".join(f"w{i}" for i in range(20_000))
    for rate in (0.1, 0.35):
        found = decontaminate.reworded(text, random.Random(0), rate, ["new"]).split()
        assert len(found) / 20_000 == pytest.approx(0.95, abs=0.01)
        assert found.count("new") / len(found) == pytest.approx(rate, abs=0.015)
        kept = [int(w[1:]) for w in found if w != "new"]
        assert kept == sorted(set(kept))


def test_misread_letters_are_as_many_as_they_say() -> None:
    """Of letters that look like no other the rate is another one; a hyphen and a line's end come after one in a hundred."""
    for name, rate in (("OCR, 2% of letters", 0.02), ("OCR, 8% of letters", 0.08)):
        damaged = decontaminate.damages(["some host words"])[name]("x" * 50_000, random.Random(0))
        assert sum(c not in "x-\n" for c in damaged) / 50_000 == pytest.approx(rate, rel=0.1)
        assert damaged.count("-\n") / 50_000 == pytest.approx(0.01, rel=0.2)
        assert damaged == by_ocr("x" * 50_000, random.Random(0), rate)


def test_other_damages() -> None:
    """Verbatim is as it was; other numbers change digits only; words come from the articles, not from the item."""
    found = decontaminate.damages(["lower Upper 123 host"])
    text = "At 25 K, 3.75 mol"
    assert found["verbatim"](text, random.Random(0)) == text
    other = found["other numbers"](text, random.Random(1))
    assert other != text
    assert [c for c in other if not c.isdigit()] == [c for c in text if not c.isdigit()]
    words = found["35% of words replaced"](" ".join("abcdefgh" * 30), random.Random(0)).split()
    assert set(words) - set("abcdefgh") == {"lower", "host"}


class Fake:
    """A search that finds needles as they stand, but for some that it cannot find."""

    def __init__(self, blind: set[int]) -> None:
        self.blind, self.needles, self.items = (
            blind,
            NEEDLES,
            [SimpleNamespace(benchmark="b", item_id=n) for n in NEEDLES],
        )

    def __call__(self, texts: pa.Array) -> list[Any]:
        """Rows and numbers."""
        verdict = SimpleNamespace(tier="exact", score=1.0)
        return [
            SimpleNamespace(row=row, number=n, start=0, end=9, verdict=verdict)
            for row, text in enumerate(texts.to_pylist())
            for n, words in enumerate(NEEDLES)
            if n not in self.blind and words in text
        ]


def recalled(blind: set[int], peer: set[int] | None) -> tuple[float, float, bool | None]:
    """The shares of ours and a peer's that cannot find some, and whether they are called equal."""
    search: Any = Fake(blind)
    other: Any = (lambda texts: [i not in peer for i in range(len(texts))]) if peer is not None else None
    row = decontaminate.recall(search, other, ("verbatim", lambda t, _: t), list(range(8)), [HOST])
    assert math.isfinite(row.ratio)
    return row.ours, row.theirs, row.equal


def test_items_that_only_the_peer_finds_are_told() -> None:
    """Shares are of the planted items; ours is equal where it has found all that the peer has, which is not so by numbers."""
    assert recalled(set(), set()) == (1, 1, True)
    assert recalled({0, 1}, {0, 1, 2, 3}) == (0.75, 0.5, True)
    assert recalled({0}, {1, 2}) == (0.875, 0.75, False)
    assert recalled({0}, None) == (0.875, 0, None)


def test_false_documents_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """The share of articles with an item, each printed with item and place; the peer judges the first ones."""
    texts = [HOST, f"{NEEDLES[2]} {HOST}", f"{NEEDLES[1]} and {NEEDLES[2]}", HOST]
    search: Any = Fake({5})
    peer: Any = lambda some: [False] * (len(some) - 1) + [True]  # noqa: E731 - the peer is a callable
    row = decontaminate.false_documents(search, peer, texts)
    assert (row.ours, row.theirs) == (0.5, 0.25)
    shown = capsys.readouterr().out
    assert shown.count("(exact, 1.00)") == 3
    assert decontaminate.false_documents(search, None, texts[:1]).ratio == 1


def test_articles_are_read_in_order(tmp_path: Path) -> None:
    """All files of articles, by name, and no other file."""
    (tmp_path / "corpora").mkdir()
    for name, texts in (("pmc-b", ["3"]), ("pmc-a", ["1", "2"]), ("other", ["x"])):
        with gzip.open(tmp_path / "corpora" / f"{name}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps({"text": t}) + "\n" for t in texts)
    assert decontaminate.articles(tmp_path) == ["1", "2", "3"]
    assert substring.papers(tmp_path / "corpora", 2) == ["1", "2"]


# ---- repeated passages


@pytest.fixture
def suffixes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A suffix array by sorting, in place of the peer's library."""
    module = ModuleType("pydivsufsort")

    def divsufsort(data: np.ndarray) -> np.ndarray:
        whole = data.tobytes()
        return np.array(sorted(range(len(whole)), key=lambda i: whole[i:]), np.int64)

    def kasai(data: np.ndarray, order: np.ndarray) -> np.ndarray:
        whole, found = data.tobytes(), np.zeros(len(order), np.int64)
        for k, (i, j) in enumerate(pairwise(order.tolist())):
            while max(i, j) + found[k] < len(whole) and whole[i + found[k]] == whole[j + found[k]]:
                found[k] += 1
        return found

    vars(module).update(divsufsort=divsufsort, kasai=kasai)
    monkeypatch.setitem(sys.modules, "pydivsufsort", module)


def plain(texts: list[str], stage: Substring) -> list[bool]:
    """Which words go: windows in a dictionary."""
    places: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    for row, text in enumerate(texts):
        words = text.split()
        for i in range(len(words) - stage.min_words + 1):
            window = tuple(words[i : i + stage.min_words])
            if 2 * sum(any(c.isalpha() for c in w) for w in window) >= stage.min_words:
                places[window].append((row, i))
    gone = [[False] * len(text.split()) for text in texts]
    for found in places.values():
        if len(found) < 2 or len({row for row, _ in found}) < stage.min_documents:
            continue
        for row, i in found[1:] if stage.keep == "first" else found:
            gone[row][i : i + stage.min_words] = [True] * stage.min_words
    return [g for row in gone for g in row]


@given(
    st.lists(st.lists(st.sampled_from(["a", "b", "7"]), max_size=14).map(" ".join), min_size=2, max_size=5), st.data()
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_suffix_array_marks_what_dictionaries_do(suffixes: None, texts: list[str], data: st.DataObject) -> None:
    """The words that go by a suffix array are those by windows in a dictionary, documents without a word among them."""
    settled: Any = {
        "keep": data.draw(st.sampled_from(["first", "none"])),
        "min_words": data.draw(st.integers(2, 4)),
        "min_documents": data.draw(st.integers(1, 3)),
    }
    if not any(texts):
        texts = [*texts, "a b"]
    stage = Substring(**settled)
    found, mask = substring.peer(texts, stage)
    assert mask.tolist() == plain(texts, stage)
    assert len(found.ids) == sum(len(t.split()) for t in texts)


def test_ours_and_the_peer_agree_and_a_difference_is_told(
    suffixes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On texts with a licence in each the words that go are the same; with one span gone from ours they are not equal."""
    texts = [f"{prose(i, 12)} {LICENCE} é {prose(10 + i, 5)}" for i in range(4)]
    made = substring.table(tmp_path / "in", texts)
    rows = list(substring.equality(tmp_path, texts, made))
    size = len(LICENCE.split()) + 1
    assert [(r.ours, r.theirs, r.equal) for r in rows] == [(3 * size, 3 * size, True), (4 * size, 4 * size, True)]
    whole = substring.ours

    def less(made: Path, out: Path, **settings: Any) -> None:
        whole(made, out, **settings)
        (file,) = (out / "spans").glob("*.parquet")
        spans = pq.read_table(file)
        pq.write_table(spans.slice(1), file)

    monkeypatch.setattr(substring, "ours", less)
    assert [r.equal for r in substring.equality(tmp_path, texts, made)] == [False, False]


def test_without_the_peer_growth_is_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is missing is said; nothing is compared with it."""
    monkeypatch.setattr(substring, "papers", lambda *_: ["a b"])
    monkeypatch.setattr(substring.importlib.util, "find_spec", lambda _: None)
    assert list(substring.compare(Options(True, tmp_path, ("equal", "speed")))) == []
    assert "pydivsufsort is not installed (see the head of this file)" in capsys.readouterr().out


def test_ten_times_the_text_has_words_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No two words of different tenths are the same but for a text's first ones; linear growth is a ratio of 1."""
    made: list[list[str]] = []
    monkeypatch.setattr(substring, "ours", lambda *_: None)
    monkeypatch.setattr(substring, "peak", lambda *_: 1.0)
    monkeypatch.setattr(substring, "table", lambda _, texts: made.append(list(texts)))
    times = iter([2.0, 20.0])
    monkeypatch.setattr(substring, "seconds", lambda _: next(times))
    row = substring.growth(tmp_path, ["x y x", "x z y"], tmp_path)
    assert (row.ours, row.theirs, row.ratio) == (20, 20, 1)
    tenths = [made[0][i : i + 2] for i in range(0, 20, 2)]
    owners = Counter(w for tenth in tenths for w in {w for t in tenth for w in t.split()[1:]})
    assert set(owners.values()) == {1}


def test_a_process_that_fails_is_told_and_not_waited_for() -> None:
    """Peak memory of a function that raises is an error at once; that of one that returns is some megabytes."""
    with pytest.raises(RuntimeError, match="divmod ended with 1"):
        substring.peak(divmod, 1, 0)
    assert not multiprocessing.active_children()


# ---- semantic duplicates


def vectors(count: int) -> np.ndarray:
    """The synthetic vectors, as the benchmark reads them."""
    found = np.concatenate([
        np.frombuffer(b"".join(t["vector"].to_pylist()), "<f2").reshape(len(t), -1) for t in semantic._vectors(count)
    ])  # fmt: skip
    return found.astype(np.float64)


def test_every_twentieth_vector_is_a_near_copy() -> None:
    """A copy is nearer to its original than any threshold that is taken; no two others are; all have length 1."""
    found = vectors(400)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=2e-3)
    cosines = found @ found.T
    np.fill_diagonal(cosines, 0)
    pairs = {(int(i), int(j)) for i, j in np.argwhere(np.triu(cosines) > 0.95)}
    assert pairs == {(i - 7, i) for i in range(19, 400, semantic.COPY_EVERY)}
    assert np.median([cosines[i] for i in pairs]) > 0.98
    assert cosines[tuple(np.array([p for p in np.ndindex(400, 400) if p[0] < p[1] and p not in pairs]).T)].max() < 0.8


def test_vectors_come_back(tmp_path: Path) -> None:
    """What the tables hold is read as rows of length 1."""
    table = write_table(tmp_path / "v", "embeddings", Embedding, semantic._vectors(30))
    np.testing.assert_allclose(semantic._read(table), vectors(30) / np.linalg.norm(vectors(30), axis=1)[:, None])


@pytest.mark.parametrize(("num_decoys", "num_found", "agrees"), [(6, 5, True), (20, 20, False), (0, 0, False)])
def test_pairs_are_counted_against_all_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_decoys: int, num_found: int, *, agrees: bool
) -> None:
    """The stage's own count of pairs, seen from both ends, must be that of the exact cosines; else the row is not equal."""
    found = vectors(80)
    exact = found @ found.T
    np.fill_diagonal(exact, -1)

    def run(_: str, out: Path, settings: dict[str, Any], *__: object) -> Ran:
        out.mkdir()
        alone = settings["num_clusters"] == 1
        pq.write_table(pa.table({"doc_id": ["a", "b"] if alone else ["b"]}), out / "duplicates")
        pq.write_table(pa.table({"num_found": [num_found], "num_decoys": [num_decoys]}), out / "certificate")
        return Ran(1.0, 1)

    monkeypatch.setattr(semantic, "run_stage", run)
    pairs, lost = semantic._at(tmp_path, {}, exact, 0.95)
    assert pairs.what == "pairs over 0.95 compared, of 4"
    assert pairs.equal == (abs(num_decoys - 8) <= 2)
    assert pairs.equal == agrees
    assert pairs.ours == (num_found / num_decoys if num_decoys else 1)
    assert (lost.ours, lost.theirs, lost.ratio) == (1, 2, 0.5)


def test_growth_is_to_the_power_of_three_halves() -> None:
    """Ten times as many may take 31.6 times as long; copies that are not found make it unequal."""
    ran = Ran(2.0, 0), Ran(20 * math.sqrt(10), 0)
    assert semantic._growth("w", "p", ran, 1.0).ratio == pytest.approx(1)
    assert [semantic._growth("w", "p", ran, share).equal for share in (0.96, 0.9)] == [True, False]


def test_abstracts_are_those_of_articles(tmp_path: Path) -> None:
    """What stands between an abstract's heading and the next one; an article without any gives none."""
    (tmp_path / "corpora").mkdir()
    texts = ["# T\n## Abstract\nOne.\nTwo.\n## Methods\nx", "# T\n\nNo abstract.", "## Abstract\n\n## Results\nx"]
    with gzip.open(tmp_path / "corpora" / "pmc-a.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"text": t}) + "\n" for t in texts)
    assert semantic.abstracts(tmp_path) == ["One.\nTwo."]


def test_without_weights_the_encoder_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The words say where to read how to have them, and the other parts still run."""
    monkeypatch.setattr(semantic.importlib.util, "find_spec", lambda _: None)
    asked: list[int] = []

    def synthetic(_: Path, count: int) -> dict[str, Path]:
        asked.append(count)
        raise KeyboardInterrupt

    monkeypatch.setattr(semantic, "_synthetic", synthetic)
    rows: Iterator[object] = semantic.compare(Options(True, None, ("encoder", "recall")))
    with pytest.raises(KeyboardInterrupt):
        list(rows)
    assert asked == [2000]
    assert capsys.readouterr().out.count("the weights are not installed: see the head of this file") == 2
