"""Queries on the corpus against plain Python over the same rows."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from schemas.corpus import Document, Dropped, SimilarityCount, SimilarityExample
from schemas.tokens import TokenizedDocument
from stages.base import Stage
from stages.tables import Reader
from tests.workflows.report.fake_run import FakeRun, Node, digest
from workflows.report import corpus
from workflows.report.page import render
from workflows.report.tables import Tables

Open = Callable[[Sequence[Node]], Tables]


class Encode(Stage):
    """Writes tokenized documents."""

    name = "encode"
    outputs = {"documents": TokenizedDocument}


class Judge(Stage):
    """Drops rows."""

    name = "judge"
    outputs = {"dropped": Dropped}


class Compare(Stage):
    """Compares meanings."""

    name = "compare"
    outputs = {"similarities": SimilarityCount, "examples": SimilarityExample}


def rows_of(run: FakeRun, name: str, table: str) -> list[Any]:
    """The rows of a node's table, read the way that stages read."""
    node = next(n for n in run.nodes if n.name == name)
    return list(Reader(node.path / table, node.stage.outputs[table]).rows())


def test_tokens_by_licence_and_split(done_run: FakeRun, tables: Tables) -> None:
    """Tokens and documents of each licence and split are the sums over the rows; no licence is called unknown."""
    expected: dict[str, Counter[str]] = defaultdict(Counter)
    for d in rows_of(done_run, "tokenize", "documents"):
        expected[d.licence or "unknown"].update({"num_tokens": d.num_tokens, "num_documents": 1})
        expected[d.licence or "unknown"].update({f"{d.split}_tokens": d.num_tokens, f"{d.split}_documents": 1})
    found = corpus.tokens(tables)
    assert found is not None
    assert {r.pop("name"): Counter(r) for r in found["licences"]} == expected
    assert found["num_tokens"] == sum(c["num_tokens"] for c in expected.values())


def test_token_lengths(done_run: FakeRun, tables: Tables) -> None:
    """Least, median, most, mean and bytes a token of each split are those of the statistics module."""
    by_split: dict[str, list[TokenizedDocument]] = defaultdict(list)
    for d in rows_of(done_run, "tokenize", "documents"):
        by_split[d.split].append(d)
    found = corpus.tokens(tables)
    assert found is not None
    assert [r["split"] for r in found["lengths"]] == sorted(by_split)
    for r in found["lengths"]:
        lengths = [d.num_tokens for d in by_split[r["split"]]]
        assert (r["least"], r["most"], r["num_documents"]) == (min(lengths), max(lengths), len(lengths))
        assert r["median"] == statistics.median_low(lengths)
        assert r["mean"] == sum(lengths) / len(lengths)
        assert r["bytes_per_token"] == sum(d.num_bytes for d in by_split[r["split"]]) / sum(lengths)


def test_histogram_counts_every_document_once(done_run: FakeRun, tables: Tables) -> None:
    """The bins cover all lengths, touch each other, and hold what falls between their ends."""
    lengths = [d.num_tokens for d in rows_of(done_run, "tokenize", "documents")]
    found = corpus.tokens(tables)
    assert found is not None
    bins = found["histogram"]
    assert len(bins) == corpus.HISTOGRAM_BINS
    assert [b["stop"] for b in bins[:-1]] == [b["start"] for b in bins[1:]]
    for b in bins:
        assert b["num_documents"] == sum(b["start"] <= n < b["stop"] for n in lengths)
    assert sum(b["num_documents"] for b in bins) == len(lengths)


def test_histogram_of_equal_lengths(tmp_path: Path, tables_of: Open) -> None:
    """Documents of one and the same length do not divide by zero."""
    run = FakeRun(tmp_path)
    row = {"split": "train", "bin": "x", "start": 0, "num_tokens": 5, "num_bytes": 9, "source": "s", "licence": None}
    rows = [TokenizedDocument(doc_id=digest(i), **row) for i in range(3)]
    run.finish(run.node(Encode()), 1.0, documents=rows)
    found = corpus.tokens(tables_of(run.nodes))
    assert found is not None
    assert sum(b["num_documents"] for b in found["histogram"]) == 3


def test_many_sources_are_cut(tmp_path: Path, tables_of: Open) -> None:
    """Only the largest sources are listed, and how many there are is known."""
    run = FakeRun(tmp_path)
    row = {"split": "train", "bin": "x", "start": 0, "num_bytes": 9, "licence": None}
    rows = [TokenizedDocument(doc_id=digest(i), source=f"s{i}", num_tokens=i, **row) for i in range(1, 41)]
    run.finish(run.node(Encode()), 1.0, documents=rows)
    found = corpus.tokens(tables_of(run.nodes))
    assert found is not None
    assert found["num_sources"] == 40
    assert [r["name"] for r in found["sources"]] == [f"s{i}" for i in range(40, 40 - corpus.MAX_SOURCES, -1)]


def test_pages_by_origin_parser_and_stage(done_run: FakeRun, tables: Tables) -> None:
    """Pages are counted for each stage that passes documents on, and add up to that stage's pages."""
    found = corpus.pages(tables)
    names = [n.name for n in done_run.nodes]
    for name in ("parse", "filter", "dedup"):
        documents: list[Document] = rows_of(done_run, name, "documents")
        expected = Counter((p.origin, p.parser) for d in documents for p in d.pages)
        node = names.index(name)
        assert {(r["origin"], r["parser"]): r["by_node"][node] for r in found} == expected
        passed = next(r for r in corpus.documents(tables) if r["node"] == node)
        assert passed == {"node": node, "num_documents": len(documents), "num_pages": expected.total()}


def test_duplicates_by_method(done_run: FakeRun, tables: Tables) -> None:
    """Duplicates are counted by method, with those whose original is known."""
    rows = rows_of(done_run, "dedup", "duplicates")
    for r in corpus.duplicates(tables):
        mine = [d for d in rows if d.method == r["method"]]
        assert r["num_documents"] == len(mine)
        assert r["num_known"] == sum(d.of is not None for d in mine)
        assert r["most_bands"] == max(d.num_bands for d in mine)


def test_files_found(done_run: FakeRun, tables: Tables) -> None:
    """Files are counted by media type and licence."""
    expected = Counter((s.media_type, s.licence or "unknown") for s in rows_of(done_run, "ingest", "sources"))
    assert {(r["media_type"], r["licence"]): r["num_files"] for r in corpus.found(tables)} == expected


def test_examples_are_few_and_the_first(tmp_path: Path, tables_of: Open) -> None:
    """Of many dropped rows the first five by path are shown for each reason, with how many there are."""
    run = FakeRun(tmp_path)
    drops = [
        Dropped(row_id=f"{i:03d}", path=f"p{i:03d}", reason="short" if i % 3 else "long", detail="d" * 999)
        for i in range(90)
    ]
    run.finish(run.node(Judge()), 1.0, dropped=reversed(drops))
    found = corpus.drop_examples(tables_of(run.nodes))
    short = [r for r in found if r["reason"] == "short"]
    assert [r["path"] for r in short] == ["p001", "p002", "p004", "p005", "p007"]
    assert {r["num_rows"] for r in short} == {60}
    assert {len(r["detail"]) for r in short} == {400}
    assert len(found) == 2 * corpus.MAX_EXAMPLES


def compared(folder: Path) -> FakeRun:
    """A run that compared documents of two sources, and shows two pairs and half of a third."""
    run = FakeRun(folder)
    counts = [
        ("a", 0.2, 5, 0),
        ("a", 0.5, 3, 0),
        ("a", 0.7, 2, 0),
        ("b", 0.7, 1, 0),
        ("a", 0.96, 2, 1),
        ("b", 0.96, 4, 4),
    ]
    bins = [
        SimilarityCount(source=s, low=low, high=low + 0.02, num_documents=n, num_removed=gone)
        for s, low, n, gone in counts
    ]
    shown = [
        SimilarityExample(
            pair=n // 2,
            doc_id=digest(str(n)),
            path=f"{n}.txt",
            score=0.97 - n / 100,
            removed=n == 0,
            text=f"<b>text {n}",
        )
        for n in range(5)
    ]
    run.finish(run.node(Compare()), 1.0, similarities=bins, examples=shown)
    return run


def test_meanings_are_counted_by_likeness_and_source(tmp_path: Path, tables_of: Open) -> None:
    """Cosines come nearest first with all that is far in one line, sources by what they lose, pairs only if whole."""
    found = corpus.alike(tables_of(compared(tmp_path).nodes))
    assert found is not None
    bins = [(round(r["low"], 2), round(r["high"], 2), r["num_documents"], r["num_removed"]) for r in found["bins"]]
    assert bins == [(0.96, 0.98, 6, 5), (0.7, 0.72, 3, 0), (0.0, 0.7, 8, 0)]
    assert found["sources"] == [
        {"name": "b", "num_documents": 5, "num_removed": 4},
        {"name": "a", "num_documents": 12, "num_removed": 1},
    ]
    pairs = [([d["path"] for d in p["documents"]], p["removed"]) for p in found["pairs"]]
    assert pairs == [(["0.txt", "1.txt"], True), (["2.txt", "3.txt"], False)]


def test_meanings_are_on_the_page(tmp_path: Path) -> None:
    """The report shows the counts and the pairs, with texts as text."""
    page = render(compared(tmp_path).nodes, "corpus")
    assert "0.96 to 0.98" in page
    assert "80.0 %" in page
    assert "&lt;b&gt;text 2" in page
    assert "<b>text" not in page


def test_nothing_is_found_without_tables(tables_of: Open) -> None:
    """Where no stage is done, every query says so with nothing."""
    empty = tables_of([])
    assert corpus.tokens(empty) is None
    assert corpus.alike(empty) is None
    for query in (corpus.drop_examples, corpus.found, corpus.documents, corpus.pages, corpus.duplicates):
        assert query(empty) == []
