"""The stage as it is run: documents in, documents and overlaps out."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.corpus import Document
from schemas.evaluation import BenchmarkItem
from schemas.manifest import Manifest
from stages.command import main
from stages.decontaminate import Decontaminate
from stages.decontaminate.cut import cut
from stages.decontaminate.plant import by_ocr, plant
from stages.decontaminate.search import Search
from tests.stages.decontaminate.conftest import FILLER, QUESTIONS, around, document
from tests.tables import write_table


@pytest.fixture
def corpus(tmp_path) -> list[Document]:
    """Clean documents with three contaminated ones among them."""
    dirty = {3: "ducks", 11: "gene", 12: "ball"}
    texts = [f"{FILLER * (4 + n % 5)} Plot {'x' * n} was left out." for n in range(20)]
    return [document(around(QUESTIONS[dirty[n]][0]) if n in dirty else t, f"{n}.txt") for n, t in enumerate(texts)]


def run(out: Path, documents: Path, items: Path, *more: str) -> int:
    """Run the stage's command line; its exit code."""
    command = ["--documents", str(documents), "--items", str(items), "--out", str(out), *more]
    with pytest.raises(SystemExit) as stop:
        main(Decontaminate, command)
    return int(stop.value.code or 0)


def tables(tmp_path: Path, documents: Iterable[Document], items: Iterable[BenchmarkItem]) -> tuple[Path, Path]:
    """The two inputs as finished outputs."""
    made = write_table(tmp_path / "d", Document, documents, "documents")
    return made, write_table(tmp_path / "i", BenchmarkItem, items, "items")


def settings(tmp_path: Path, text: str) -> list[str]:
    """A settings file."""
    file = tmp_path / "settings.json"
    file.write_text(text)
    return ["--config", str(file)]


def names(out: Path) -> list[str]:
    """Paths of the documents that were passed on."""
    return [r["path"] for r in pq.read_table(out / "documents").to_pylist()]


def test_contaminated_documents_go(tmp_path, corpus, items) -> None:
    """The three documents with items are dropped with the items' names, all others stay as they were and in order."""
    assert run(tmp_path / "out", *tables(tmp_path, corpus, items)) == 0
    assert names(tmp_path / "out") == [d.path for n, d in enumerate(corpus) if n not in (3, 11, 12)]
    overlaps = pq.read_table(tmp_path / "out" / "overlaps").to_pylist()
    assert [(o["item_id"], o["tier"]) for o in overlaps] == [
        ("ducks", "verbatim"),
        ("gene", "verbatim"),
        ("ball", "verbatim"),
    ]
    by_id = {d.doc_id: d for d in corpus}
    for o in overlaps:
        assert by_id[o["doc_id"]].text[o["start"] : o["end"]].strip() == QUESTIONS[o["item_id"]][0]
    dropped = pq.read_table(tmp_path / "out" / "dropped").to_pylist()
    assert [d["reason"] for d in dropped] == ["benchmark item"] * 3
    assert "toy ducks (verbatim)" in dropped[0]["detail"]
    planted = pq.read_table(tmp_path / "out" / "planted").to_pylist()
    assert len(planted) == 3
    assert all(p["num_planted"] == 64 for p in planted)


def test_spans_go(tmp_path, corpus, items) -> None:
    """With `span`, every document stays and the items' sentences are gone, and nothing else is."""
    more = settings(tmp_path, '{"remove": "span"}')
    assert run(tmp_path / "out", *tables(tmp_path, corpus, items), *more) == 0
    after = pq.read_table(tmp_path / "out" / "documents").to_pylist()
    assert len(after) == len(corpus)
    for before, row in zip(corpus, after, strict=True):
        removed = [q for q, _ in QUESTIONS.values() if q in before.text]
        expected = before.text
        for question in removed:
            expected = expected.replace(question, "")
        assert "".join(row["text"].split()) == "".join(expected.split())
        assert row["pages"][-1]["end"] == len(row["text"])


def test_nothing_goes_when_told(tmp_path, corpus, items) -> None:
    """With `nothing` the documents are the same bytes and the overlaps are still rows."""
    more = settings(tmp_path, '{"remove": "nothing"}')
    assert run(tmp_path / "out", *tables(tmp_path, corpus, items), *more) == 0
    assert len(names(tmp_path / "out")) == len(corpus)
    assert pq.read_table(tmp_path / "out" / "overlaps").num_rows == 3


def test_shards_and_workers_change_nothing(tmp_path, corpus, items, monkeypatch) -> None:
    """One shard or three, one thread or four: the same documents and overlaps in the same order."""
    inputs = tables(tmp_path, corpus, items)
    assert run(tmp_path / "one", *inputs) == 0
    monkeypatch.setenv("BOREALIS_WORKERS", "4")
    for shard in range(3):
        assert run(tmp_path / "three", *inputs, "--shard", f"{shard}/3") == 0
    assert run(tmp_path / "three", *inputs, "--commit", "3") == 0
    for table in ("documents", "overlaps", "dropped"):
        assert pq.read_table(tmp_path / "one" / table).equals(pq.read_table(tmp_path / "three" / table))


def test_no_items_no_work(tmp_path, corpus) -> None:
    """Without benchmarks every document passes."""
    assert run(tmp_path / "out", *tables(tmp_path, corpus, [])) == 0
    assert len(names(tmp_path / "out")) == len(corpus)
    assert Manifest.read(tmp_path / "out").outputs["planted"].num_rows == 0


def test_items_too_short_are_said(tmp_path, corpus, items, capsys) -> None:
    """An item that cannot be looked for is named, and not counted as clean in silence."""
    assert run(tmp_path / "out", *tables(tmp_path, corpus, items)) == 0
    assert "1 of 5 items are too short to look for: toy tiny" in capsys.readouterr().out


def test_what_was_not_found_is_counted(items) -> None:
    """A search that finds nothing is reported as that, below what is required."""
    rows = plant([i.question for i in items], [FILLER], 0, lambda _texts: [], [0, 1, 2])
    assert [(r.num_planted, r.num_found) for r in rows] == [(64, 0)] * 3
    assert all(r.num_found < r.required * r.num_planted for r in rows)


def test_a_blind_search_stops_the_run(tmp_path, corpus, items, monkeypatch, capsys) -> None:
    """The stage exits with a contract error and leaves no manifest when its self-test fails."""
    monkeypatch.setattr(Search, "__call__", lambda _self, _texts: [])
    assert run(tmp_path / "out", *tables(tmp_path, corpus, items)) == 3
    assert "0 of 64 planted items found" in capsys.readouterr().err
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_cut_moves_pages_along() -> None:
    """Pages keep pointing at their own text, also where a cut goes across their seam; nothing left is None."""
    fields = document("aaaa bbbb CUT1 cccc CUT2 dddd").model_dump()
    rest = cut(fields, [(10, 15), (12, 16), (19, 24)])
    assert rest is not None
    assert rest["text"] == "aaaa bbbb ccc dddd"
    first, second = rest["pages"]
    assert (first["start"], second["end"]) == (0, len(rest["text"]))
    assert first["end"] == second["start"] == 10
    assert cut(document("all of it").model_dump(), [(0, 9)]) is None


def test_ocr_damage_is_damage() -> None:
    """The planted noise changes texts, and is the same for the same seed."""
    import random

    text = QUESTIONS["ducks"][0] * 5
    assert by_ocr(text, random.Random(1)) == by_ocr(text, random.Random(1)) != text


def test_a_dozen_words_in_a_row_are_enough(items) -> None:
    """A part of an item that has its words in a row is found, also where most of the item is not there."""
    words = QUESTIONS["ducks"][0].split()
    search = Search(Decontaminate(), items)
    part, less = " ".join(words[3:17]), " ".join(words[3:13])
    assert [f.verdict.tier for f in search(pa.array([around(part)]))] == ["run"]
    assert search(pa.array([around(less)])) == []


def test_a_row_of_numbers_is_no_run(items) -> None:
    """Numbers have one hash, so a table of them is one trigram again and again, and not an item that has some."""
    table = items[1].model_copy(update={"question": f"{QUESTIONS['ducks'][0]} The table has 1 2 3 4 5 6 7 8 and 9."})
    search = Search(Decontaminate(), [items[0], table])
    assert search(pa.array([around(" ".join(str(i) for i in range(200)))])) == []


def test_cut_moves_every_place_as_counting_does() -> None:
    """A page's bounds are moved by the number of characters cut before them, wherever they stand."""
    text = "0123456789" * 3
    spans = [(2, 5), (5, 7), (11, 12), (20, 30)]
    gone = {i for start, end in spans for i in range(start, end)}
    fields = document(text).model_dump()
    page = fields["pages"][0]
    fields["pages"] = [{**page, "start": i, "end": j} for i in range(31) for j in range(i, 31)]
    rest = cut(fields, spans)
    assert rest is not None
    kept = [c for i, c in enumerate(text) if i not in gone]
    assert rest["text"] == "".join(kept)
    for before, after in zip(fields["pages"], rest["pages"], strict=True):
        same = "".join(text[i] for i in range(before["start"], before["end"]) if i not in gone)
        assert rest["text"][after["start"] : after["end"]] == same
