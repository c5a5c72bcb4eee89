"""What a corpus may throw at the stage: a right answer or a clear refusal."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.corpus import Document
from tests.stages.substring.corpora import LICENCE, document, prose, rows, run, table, texts
from tests.tables import write_table


@pytest.mark.parametrize("found", [[], ["x"], [" \n"], ["| -- |"] * 4, ["one two three"] * 5], ids=str)
def test_too_little_text_passes(tmp_path: Path, found: list[str]) -> None:
    """No documents, blanks, marks, and texts shorter than a passage go on as they are."""
    assert run(table(tmp_path / "in", found), tmp_path / "out") == 0
    assert texts(tmp_path / "out") == found
    assert rows(tmp_path / "out", "passages") == []


def test_one_document_that_repeats_itself(tmp_path: Path) -> None:
    """A text that is one passage over and over keeps it once, whatever its length; several in a row are one span."""
    text = f"{LICENCE}\n\n" * 200 + prose(0)
    assert run(table(tmp_path / "in", [text]), tmp_path / "out", min_documents=1) == 0
    assert texts(tmp_path / "out") == [f"{LICENCE}\n\n{prose(0)}"]
    assert len(rows(tmp_path / "out", "spans")) == 1
    assert run(table(tmp_path / "one", ["tick " * 5000 + prose(0)]), tmp_path / "word", min_documents=1) == 0
    [left] = texts(tmp_path / "word")
    assert left == f"tick {prose(0)}"


def test_identical_documents(tmp_path: Path) -> None:
    """Of a thousand copies of a text one goes on, and its passage counts them all."""
    assert run(table(tmp_path / "in", [prose(0)] * 1000), tmp_path / "out") == 0
    assert texts(tmp_path / "out") == [prose(0)]
    assert {p["num_documents"] for p in rows(tmp_path / "out", "passages")} == {1000}
    assert len(rows(tmp_path / "out", "dropped")) == 999


@pytest.mark.parametrize(
    "passage",
    [
        "本文根据知识共享署名许可协议发布，允许在任何媒介中不受限制地使用、分发和复制，但须注明原作者和出处。",
        "บทความนี้เผยแพร่ภายใต้สัญญาอนุญาตที่อนุญาตให้ใช้และทำซ้ำได้โดยไม่มีข้อจำกัด",
        " ".join(["Статья", "größer", "naïve", "𝛼𝛽", "Ω≠0", "e\u0301te\u0301", "한국어", "עברית"] * 4),
    ],
    ids=["chinese", "thai", "many"],
)
def test_cuts_are_between_characters(tmp_path: Path, passage: str) -> None:
    """Passages in any script are found, with or without spaces, and no accent is left without its letter."""
    found = [f"{prose(i)} ← {passage} → {prose(i + 10)}" for i in range(3)]
    assert run(table(tmp_path / "in", found), tmp_path / "out", keep="none") == 0
    for i, text in enumerate(texts(tmp_path / "out")):
        assert text.split() in (
            f"{prose(i)} {prose(i + 10)}".split(),
            f"{prose(i)} ← {prose(i + 10)}".split(),
            f"{prose(i)} → {prose(i + 10)}".split(),
        )


def test_text_that_is_not_utf8_is_refused(tmp_path: Path, capsys) -> None:
    """The document is named, and there is no output."""
    folder = write_table(tmp_path / "in", Document, [document(0, "good"), document(1, "baad")], "documents")
    [file] = folder.glob("*.parquet")
    found = pq.read_table(file)
    bad = pa.array([b"good", b"b\xffad"]).cast(pa.binary()).view(pa.string())
    pq.write_table(
        found.set_column(1, found.schema.field("text"), bad).replace_schema_metadata(found.schema.metadata), file
    )
    assert run(folder, tmp_path / "out") == 3
    assert f"document {document(1, 'x').doc_id} (1.txt): its text is not UTF-8" in capsys.readouterr().err
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_long_text_and_a_long_word(tmp_path: Path) -> None:
    """A text of 20 MB that repeats itself, and a word as long, beside a small text: only what is repeated goes."""
    long = f"{LICENCE}\n\n{prose(0, 200)}\n\n"
    found = [long * (20_000_000 // len(long)), prose(1), "z" * 20_000_000]
    assert run(table(tmp_path / "in", found), tmp_path / "out", min_documents=1) == 0
    assert [t.strip() for t in texts(tmp_path / "out")] == [long.strip(), prose(1), found[2]]
