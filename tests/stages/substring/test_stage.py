"""The stage as it is run: what is cut, what stays, what is said about it."""

from pathlib import Path

import pyarrow.parquet as pq

from schemas.corpus import Document
from tests.stages.substring.corpora import LICENCE, document, prose, rows, run, table, texts
from tests.tables import write_table


def paper(number: int, between: str = "\n\n") -> str:
    """A text with the licence in its middle."""
    return f"{prose(number)}{between}{LICENCE}{between}{prose(number + 1000)}"


def without(number: int, between: str = "\n\n") -> str:
    """The same text when the licence is gone."""
    return f"{prose(number)}{between}{prose(number + 1000)}"


def test_the_first_licence_stays(tmp_path: Path) -> None:
    """A licence that three papers have is cut from the second one on, with one of the breaks around it."""
    found = [paper(0), prose(7), paper(1), paper(2)]
    assert run(table(tmp_path / "in", found), tmp_path / "out") == 0
    assert texts(tmp_path / "out") == [found[0], found[1], without(1), without(2)]
    [passage] = rows(tmp_path / "out", "passages")
    ids = [document(i, "x").doc_id for i in range(4)]
    assert (passage["num_occurrences"], passage["num_documents"], passage["doc_id"]) == (3, 3, ids[0])
    assert passage["text"] in " ".join(LICENCE.split())
    assert passage["max_words"] == len(LICENCE.split())
    spans = rows(tmp_path / "out", "spans")
    assert [(s["doc_id"], s["cut"], s["passage_id"]) for s in spans] == [
        (ids[i], True, passage["passage_id"]) for i in (2, 3)
    ]
    assert passage["num_characters"] == sum(s["end"] - s["start"] for s in spans)
    for span, text in zip(spans, found[2:], strict=True):
        assert text[span["start"] : span["end"]].strip() == LICENCE


def test_none_stays_when_told(tmp_path: Path) -> None:
    """With `keep=none` the first copy goes too."""
    assert run(table(tmp_path / "in", [paper(i) for i in range(3)]), tmp_path / "out", keep="none") == 0
    assert texts(tmp_path / "out") == [without(i) for i in range(3)]


def test_counting_changes_no_document(tmp_path: Path) -> None:
    """With `count` the documents are the same table, and every occurrence is a row."""
    documents = table(tmp_path / "in", [paper(i) for i in range(3)])
    assert run(documents, tmp_path / "out", action="count") == 0
    assert pq.read_table(tmp_path / "out" / "documents").equals(pq.read_table(documents))
    assert [s["cut"] for s in rows(tmp_path / "out", "spans")] == [False] * 3


def test_two_papers_may_share_a_passage(tmp_path: Path) -> None:
    """What two documents have is left alone unless `min_documents` says so; occurrences in one document are no documents."""
    found = [paper(0), paper(1) + "\n\n" + LICENCE]
    documents = table(tmp_path / "in", found)
    assert run(documents, tmp_path / "three") == 0
    assert texts(tmp_path / "three") == found
    assert run(documents, tmp_path / "two", min_documents=2) == 0
    assert texts(tmp_path / "two") == [found[0], without(1)]
    assert run(documents, tmp_path / "often", min_documents=2, min_occurrences=4) == 0
    assert texts(tmp_path / "often") == found


def test_line_breaks_and_marks_do_not_matter(tmp_path: Path) -> None:
    """The same words in other lines, under other headings or in a table are the same passage; other letters are not."""
    wrapped = "### " + "\n".join(LICENCE.split()) + " |"
    other = LICENCE.replace("medium", "Medium").replace("credit", "Credit")
    found = [paper(0), paper(1), f"{prose(2)}\n\n{wrapped}\n\n{prose(3)}", f"{prose(4)}\n\n{other}\n\n{prose(5)}"]
    assert run(table(tmp_path / "in", found), tmp_path / "out", keep="none", min_words=20) == 0
    assert texts(tmp_path / "out") == [without(0), without(1), f"{prose(2)}\n\n{prose(3)}", found[3]]


def test_rows_of_numbers_are_no_passage(tmp_path: Path) -> None:
    """A table's row of zeros stays wherever it stands."""
    found = [f"{prose(i)}\n{'| 0 ' * 60}|\n{prose(i + 10)}" for i in range(4)]
    assert run(table(tmp_path / "in", found), tmp_path / "out") == 0
    assert texts(tmp_path / "out") == found


def test_pages_keep_their_own_text(tmp_path: Path) -> None:
    """After a cut within a page, across pages, or of a whole page, each page has its own words and no other's."""
    words = LICENCE.split()
    halves = " ".join(words[:15]), " ".join(words[15:])
    one, two = prose(0), prose(1)
    text = f"{one}\n\n{halves[0]}\n{halves[1]}\n\n{two}"
    seam = len(one) + 2 + len(halves[0]) + 1
    whole = f"{one}\n\n{LICENCE}\n\n{two}"
    documents = [
        document(0, paper(5)),
        document(1, paper(6)),
        document(2, text, [seam]),
        document(3, whole, [len(one) + 2, len(whole) - len(two)]),
    ]
    assert run(write_table(tmp_path / "in", Document, documents, "documents"), tmp_path / "out", keep="none") == 0
    across, page = rows(tmp_path / "out", "documents")[2:]
    assert [across["text"][p["start"] : p["end"]].strip() for p in across["pages"]] == [one, two]
    assert [page["text"][p["start"] : p["end"]].strip() for p in page["pages"]] == [one, "", two]
    assert across["pages"][-1]["end"] == len(across["text"])


def test_a_copy_of_a_copy_is_dropped_with_a_reason(tmp_path: Path) -> None:
    """A document of which too few words are left does not go on; what comes in goes out or is in `dropped`."""
    found = [prose(0), prose(0), f"{prose(0)} and four words more", prose(1)]
    assert run(table(tmp_path / "in", found), tmp_path / "out") == 0
    assert texts(tmp_path / "out") == [found[0], found[3]]
    dropped = rows(tmp_path / "out", "dropped")
    assert [d["reason"] for d in dropped] == ["repeated passages"] * 2
    assert dropped[1]["detail"] == "4 words are left beside 1 repeated passages"


def test_a_longer_tail_is_the_same_passage(tmp_path: Path) -> None:
    """A licence that goes on in some papers as in others is one passage: the part of it that most have."""
    tail = " ".join(f"tail{i}" for i in range(12))
    found = [f"{paper(i, between=' ')}" for i in range(5)]
    found += [f"{prose(20 + i)} {LICENCE} {tail} {prose(30 + i)}" for i in range(3)]
    assert run(table(tmp_path / "in", found), tmp_path / "out") == 0
    [passage] = rows(tmp_path / "out", "passages")
    assert (passage["num_occurrences"], passage["num_spans"]) == (8, 7)
    assert passage["max_words"] == len(LICENCE.split()) + 12


def test_many_documents_in_many_files(tmp_path: Path, monkeypatch) -> None:
    """Windows that fill many files, some of them too long and cut again, give what one file gives."""
    found = [f"{prose(i, 300)} {LICENCE} {prose(i + 500, 300)}" for i in range(200)]
    documents = table(tmp_path / "in", found)
    assert run(documents, tmp_path / "one") == 0
    monkeypatch.setattr("stages.dedup.spill.PART_RECORDS", 1 << 12)
    assert run(documents, tmp_path / "many") == 0
    monkeypatch.setattr("stages.substring.passages.WORD_BYTES", 600)
    monkeypatch.setattr("stages.substring.repeats.LONG_RECORDS", 1 << 14)
    assert run(documents, tmp_path / "again") == 0
    for name in ("documents", "passages", "spans", "dropped"):
        one = pq.read_table(tmp_path / "one" / name)
        assert one.equals(pq.read_table(tmp_path / "many" / name))
        assert one.equals(pq.read_table(tmp_path / "again" / name))
    assert texts(tmp_path / "one")[1:] == [f"{prose(i, 300)} {prose(i + 500, 300)}" for i in range(1, 200)]


def test_parts_are_refused(tmp_path: Path, capsys) -> None:
    """A shard alone cannot know what the others have."""
    assert run(table(tmp_path / "in", [prose(0)]), tmp_path / "out", "--shard", "0/2") == 2
    assert "runs as one shard" in capsys.readouterr().err
