"""The stage as it is run: documents, sketches and vectors in, documents and what became of the others out."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from schemas.corpus import Embedding
from schemas.manifest import Manifest
from stages.base import PACKAGE_ROOT
from stages.command import main
from stages.semantic import Semantic
from tests.stages.dedup.corpora import doc_id, rows
from tests.stages.semantic.corpora import WIDTH, Corpus, cloud, cosines, gone, greedy
from tests.tables import write_table

COUNT = 900
# A rest before each stretch of a cluster: a kill finds the stage at work.
SLOW = """
import time
from stages.command import main
from stages.semantic import Semantic, neighbours
found = neighbours.look
def slow(*arguments):
    time.sleep(0.2)
    return found(*arguments)
neighbours.look = slow
main(Semantic)
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """900 documents, a fifth of them near an earlier one."""
    return Corpus(tmp_path, cloud(COUNT, 7))


def bytes_of(out: Path) -> dict[str, bytes]:
    """All tables of an output."""
    return {str(f.relative_to(out)): f.read_bytes() for f in sorted(out.glob("*/part-*"))}


def test_what_goes_is_what_all_pairs_say(corpus: Corpus) -> None:
    """Probing all clusters, just those go that the rule takes from an exact comparison, for the same documents."""
    out = corpus.run(threshold=0.9, num_clusters=6, num_probes=6)
    exact = cosines(np.array(corpus.vectors))
    assert np.abs(exact[exact > 0.85] - 0.9).min() > 1e-6  # no pair so near the threshold that float32 may err
    expected = greedy(exact, 0.9, range(COUNT))
    assert gone(out) == expected
    assert len(expected) > 60
    stays = [doc_id(n) for n in range(COUNT) if n not in expected]
    assert [r["doc_id"] for r in rows(out / "documents")] == stays


def test_rows_about_what_goes(corpus: Corpus) -> None:
    """Scores are exact, clusters have the least name, and each document that goes has its reason."""
    out = corpus.run(threshold=0.9)
    exact, lost = cosines(np.array(corpus.vectors)), gone(out)
    found = rows(out / "duplicates")
    assert [r["doc_id"] for r in found] == [doc_id(n) for n in sorted(lost)]
    for row, (number, of) in zip(found, sorted(lost.items()), strict=True):
        group = [of, *(n for n, o in lost.items() if o == of)]
        assert row["score"] == pytest.approx(exact[number, of], abs=1e-9)
        assert row["cluster"] == min(map(doc_id, group))
        assert (row["method"], row["num_bands"], row["note"]) == ("semantic", 0, "")
    dropped = rows(out / "dropped")
    assert [(d["row_id"], d["reason"], d["path"]) for d in dropped] == [
        (doc_id(n), "same meaning", f"{n:05d}.txt") for n in sorted(lost)
    ]
    assert dropped[0]["detail"] == f"like {found[0]['of']}: cosine {found[0]['score']:.3f}"
    assert Manifest.read(out).dropped == {"same meaning": len(lost)}


def test_default_probes_are_enough(corpus: Corpus) -> None:
    """With 30 clusters of which 4 are probed, at least 95 % of what exact comparison takes goes, and nothing else."""
    out = corpus.run(threshold=0.9, num_clusters=30)
    exact = greedy(cosines(np.array(corpus.vectors)), 0.9, range(COUNT))
    assert gone(out).keys() <= exact.keys()
    assert len(gone(out)) >= 0.95 * len(exact)
    (line,) = rows(out / "certificate")
    assert line["passed"]
    assert line["low"] <= line["num_found"] / line["num_decoys"] <= line["high"]


def test_the_better_copy_stays(tmp_path: Path) -> None:
    """Of two alike the one by a legible parser stays although it comes later; of three, both others go for it."""
    vectors = cloud(40, 3)
    vectors[[10, 20]] = vectors[30]
    facts = {10: {"quality": 0.3}, 20: {"quality": 0.3}, 30: {"quality": 1.0}}
    lost = gone(Corpus(tmp_path, vectors, facts).run(threshold=0.999))
    assert (lost[10], lost[20]) == (30, 30)


def test_the_farthest_stays_as_published(tmp_path: Path) -> None:
    """With `farthest` the document that stays is the one with the lower cosine to the centre of its cluster."""
    vectors = cloud(200, 5)
    out = Corpus(tmp_path, vectors).run(threshold=0.9, keep="farthest", num_clusters=1)
    exact = vectors.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    near = exact @ exact.sum(axis=0)
    lost = gone(out)
    assert lost == greedy(cosines(vectors), 0.9, np.argsort(near).tolist())
    assert all(near[n] > near[of] for n, of in lost.items())


def test_an_abstract_is_no_copy_of_its_paper(tmp_path: Path) -> None:
    """Of two that mean the same, one of a tenth of the other's length stays too, unless lengths are not asked."""
    vectors = np.concatenate([cloud(1, 1)] * 2 + [cloud(20, 2)])
    corpus = Corpus(tmp_path, vectors, {0: {"num_characters": 30_000}, 1: {"num_characters": 3_000}})
    assert 1 not in gone(corpus.run("with", threshold=0.999))
    assert gone(corpus.run("without", threshold=0.999, min_length_fraction=0))[1] == 0


def test_what_it_shows(corpus: Corpus) -> None:
    """Counts by source and cosine add up to the documents; examples stand on both sides of the threshold."""
    out = corpus.run(threshold=0.9)
    counts, lost = rows(out / "similarities"), gone(out)
    for number, source in enumerate(("left", "right")):
        mine = [r for r in counts if r["source"] == source]
        assert sum(r["num_documents"] for r in mine) == COUNT // 2
        assert sum(r["num_removed"] for r in mine) == sum(n % 2 == number for n in lost)
    assert all(r["num_removed"] == 0 for r in counts if r["high"] < 0.9)
    shown = rows(out / "examples")
    assert [r["pair"] for r in shown] == [n // 2 for n in range(len(shown))]
    assert {r["removed"] for r in shown[::2]} == {True, False}
    exact, numbers = cosines(np.array(corpus.vectors)), {doc_id(n): n for n in range(COUNT)}
    for one, other in zip(shown[::2], shown[1::2], strict=True):
        a, b = numbers[one["doc_id"]], numbers[other["doc_id"]]
        assert one["score"] == pytest.approx(exact[a, b], abs=1e-9)
        assert one["removed"] == (a in lost)
        assert (one["score"] >= 0.9) or not one["removed"]
        assert one["text"] == f"text {a}"


def test_workers_do_not_show(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker and two write the same bytes."""
    found = []
    for workers in (1, 2):
        monkeypatch.setenv("BOREALIS_WORKERS", str(workers))
        found.append(bytes_of(corpus.run(f"w{workers}", threshold=0.9, num_clusters=20)))
    assert found[0] == found[1]


def test_a_killed_run_ends_with_the_same_bytes(corpus: Corpus) -> None:
    """Killed while it compares there is no manifest; run again, all tables are those of an unbroken run."""
    settings = {"threshold": 0.9, "num_clusters": 20}
    whole, out = bytes_of(corpus.run("whole", **settings)), corpus.folder / "out"
    command = [sys.executable, "-c", SLOW, *corpus.flags(out, **settings)]
    process = subprocess.Popen(command, cwd=PACKAGE_ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None and not (out / "scratch" / "links").exists():
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (out / "manifest.json").exists()
    corpus.run("out", **settings)
    assert bytes_of(out) == whole
    assert not (out / "scratch").exists()


def test_documents_without_vectors_stay(tmp_path: Path) -> None:
    """Documents without words are like nothing, not even like each other."""
    vectors: list[np.ndarray | bytes] = [b"" if n % 3 == 0 else v for n, v in enumerate(cloud(60, 9))]
    lost = gone(Corpus(tmp_path, vectors).run(threshold=0.8))
    assert lost
    assert not any(n % 3 == 0 for pair in lost.items() for n in pair)


@pytest.mark.parametrize("vectors", [[], [b""], [b""] * 3, [np.ones(WIDTH)]])
def test_little_to_compare(tmp_path: Path, vectors: list[np.ndarray | bytes]) -> None:
    """No document, none with words, or one alone: all that there are stay."""
    out = Corpus(tmp_path, vectors).run()
    assert len(rows(out / "documents")) == len(vectors)
    assert rows(out / "duplicates") == []


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        ([np.ones(4), np.ones(5)], "vectors of 4, 5 numbers"),
        ([np.ones(4), b"abc"], "vectors of 1.5, 4 numbers"),
        ([np.ones(4), np.array([1, np.nan, 0, 0])], "1 of 2 vectors have numbers that are not finite"),
        ([np.array([np.inf, 0]), np.array([-np.inf, 1])], "2 of 2 vectors have numbers that are not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_bad_vectors_are_refused(
    tmp_path: Path, vectors: list[np.ndarray | bytes], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Vectors of two widths, cut short or not finite are an error of the data, not a result."""
    assert Corpus(tmp_path, vectors).code() == 3
    assert words in capsys.readouterr().err


def test_vectors_of_other_documents_are_refused(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    """Embeddings must be of these documents in this order."""
    table = rows(corpus.inputs["embeddings"])
    for name, wrong, words in (
        ("few", table[:-1], "899 rows for 900"),
        ("turned", table[::-1], "row 0 is about another"),
    ):
        folder = write_table(corpus.folder / name, Embedding, map(Embedding.model_validate, wrong), "embeddings")
        flags = [*corpus.flags(corpus.folder / "out"), "--embeddings", str(folder)]
        with pytest.raises(SystemExit) as stop:
            main(Semantic, flags)
        assert stop.value.code == 3
        assert words in capsys.readouterr().err


def test_a_search_that_misses_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Too many clusters and one probe: the run says what recall it has and how to raise it, and leaves no manifest."""
    draw = np.random.default_rng(0)
    vectors = 0.3 + 0.25 * draw.normal(size=(600, WIDTH))  # one cloud: clusters cut through pairs
    corpus = Corpus(tmp_path, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    assert corpus.code(threshold=0.7, num_clusters=60, num_probes=1) == 3
    words = capsys.readouterr().err
    assert "0.95 is required" in words
    assert "raise semantic.num_probes (now 1)" in words
    assert not (corpus.folder / "out" / "manifest.json").exists()
    corpus.run("not-asked", threshold=0.7, num_clusters=60, num_probes=1, num_sampled=0)


def test_a_part_alone_is_refused(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    """A shard cannot see the other documents."""
    with pytest.raises(SystemExit) as stop:
        main(Semantic, [*corpus.flags(corpus.folder / "out"), "--shard", "0/2"])
    assert stop.value.code == 2
    assert "runs as one shard" in capsys.readouterr().err


def test_nothing_is_lost(corpus: Corpus) -> None:
    """Documents that stay are passed on as they were."""
    out = corpus.run(threshold=0.9)
    before = {r["doc_id"]: r for r in pq.read_table(corpus.inputs["documents"]).to_pylist()}
    assert all(before[r["doc_id"]] == r for r in rows(out / "documents"))
