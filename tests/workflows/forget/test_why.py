"""`parsl why`: every stage's row about a document, in the order of its life."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workflows.forget.conftest import papers

Ask = Callable[..., Any]


def digest(name: str) -> str:
    """The id of a document: its file's SHA-256."""
    return hashlib.sha256(papers()[name][0].encode()).hexdigest()


def test_a_document_that_came_to_the_end(ask: Ask) -> None:
    """The life of one that was tokenized goes from file to token file, and names its copies."""
    answer = ask("why", "asked.txt", "--json")
    assert answer["doc_id"] == digest("asked")
    assert [e["node"] for e in answer["life"]] == ["ingest", "parse", "sketch", "dedup", "tokenize"]
    rows = {e["node"]: e["row"] for e in answer["life"]}
    assert rows["ingest"]["doi"] == "10.1000/a"
    assert rows["parse"]["pages"][0]["parser"]
    assert rows["tokenize"]["num_tokens"] > 0
    assert answer["fate"].startswith(f"{rows['tokenize']['num_tokens']} tokens of ")
    names = ("twin", "noname", "edition", "reprint", "sequel")
    assert {row["doc_id"] for row in answer["copies"]} == {digest(n) for n in names}


def test_a_document_that_was_left_out(ask: Ask) -> None:
    """One that dedup left out says of which it is a copy, by which method, with what score."""
    answer = ask("why", "noname.txt", "--json")
    assert answer["fate"] == "dropped by dedup: near duplicate"
    row = next(e["row"] for e in answer["life"] if e["table"] == "duplicates")
    assert (row["of"], row["method"]) == (digest("asked"), "near")
    assert 0.9 < row["score"] < 1
    words = ask("why", "noname.txt")
    assert f"copy of {digest('asked')}: near, similarity 0.9" in words
    assert words.splitlines()[-1].split() == ["so", "dropped", "by", "dedup:", "near", "duplicate"]


@pytest.mark.parametrize("word", ["asked.txt", "DIGEST", "BEGINNING"])
def test_names_that_people_use(ask: Ask, word: str) -> None:
    """A document is found by its file, its id and the beginning of its id."""
    word = word.replace("DIGEST", digest("asked")).replace("BEGINNING", digest("asked")[:10])
    assert ask("why", word, "--json")["doc_id"] == digest("asked")


def test_a_doi_of_two_documents_is_not_one(ask: Ask) -> None:
    """A DOI that two files carry lists both."""
    words = ask("why", "10.1000/a", code=2)
    assert "asked.txt" in words
    assert "twin.txt" in words


def test_an_unknown_document_gets_the_nearest(ask: Ask) -> None:
    """A word that fits nothing is answered with the documents that are near it."""
    words = ask("why", "asket.txt", code=2)
    assert words.startswith("asket.txt: no document")
    assert "asked.txt" in words


def test_nothing_is_done_yet(ask: Ask, life: Path) -> None:
    """Where no stage has finished, the answer says what to run."""
    (life / "runs").rename(life / "elsewhere")
    assert "parsl run" in ask("why", "asked.txt", code=2)


def test_words_have_a_line_a_stage(ask: Ask) -> None:
    """The words name file, parser, names of the work, tokens and copies."""
    words = ask("why", "asked.txt")
    for piece in ("asked.txt, text/plain", "doi 10.1000/a", "n-grams, quality", "known as doi:10.1000/a", "tokens 0.."):
        assert piece.split("..")[0] in words
    assert words.count("\ncopy") == 5
