"""Which document a word means, and what became of it."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from schemas.corpus import Document, Dropped
from schemas.manifest import Input, Manifest
from schemas.table import Row
from schemas.tokens import TokenizedDocument
from stages.base import SettingsError
from tests.tables import write_table
from workflows.trace.names import Drop, Names


def document(doc_id: str, path: str, **fields: str) -> Document:
    """A document of one line."""
    (row,) = Document.sample(1)
    return row.model_copy(update={"doc_id": doc_id, "path": path, "title": None, "doi": None, **fields})


def dropped(doc_id: str, path: str, reason: str) -> Dropped:
    """A row that went no further."""
    return Dropped(row_id=doc_id, path=path, reason=reason, detail="why")


def stage(folder: Path, name: str, tables: dict[str, tuple[type[Row], Sequence[Row]]], source: Path | None) -> Path:
    """A finished output of several tables, made from another."""
    outputs = {}
    for table, (row, rows) in tables.items():
        write_table(folder / name, row, rows, table)
        outputs |= Manifest.read(folder / name).outputs
    inputs = (
        {"documents": Input(fingerprint="0" * 16, path=f"../{source.name}/documents", num_rows=0)} if source else {}
    )
    manifest = Manifest.read(folder / name)
    manifest.model_copy(update={"stage": name, "outputs": outputs, "inputs": inputs}).write(folder / name)
    return folder / name


@pytest.fixture
def names(tmp_path: Path) -> Names:
    """Four papers parsed; one was too short, one a duplicate, two were tokenized."""
    a = document("a1" * 32, "papers/basalt.pdf", title="On basalt", doi="10.1/Basalt")
    b = document("a2" * 32, "papers/granite.pdf")
    c = document("c3" * 32, "papers/short.txt")
    d = document("d4" * 32, "more/basalt.pdf")
    parse = stage(tmp_path, "parse", {"documents": (Document, [a, b, c, d])}, None)
    drops = {"documents": (Document, [a, b, d]), "dropped": (Dropped, [dropped(c.doc_id, c.path, "too short")])}
    kept = stage(tmp_path, "filter", drops, parse)
    drops = {"documents": (Document, [a, b]), "dropped": (Dropped, [dropped(d.doc_id, d.path, "near duplicate")])}
    unique = stage(tmp_path, "dedup", drops, kept)
    row = TokenizedDocument.sample(1)[0]
    rows = [row.model_copy(update={"doc_id": x.doc_id, "num_tokens": 3}) for x in (a, b)]
    rows.append(row.model_copy(update={"doc_id": "e5" * 32, "num_tokens": 3}))
    return Names(stage(tmp_path, "tokenize", {"tokens": (TokenizedDocument, rows)}, unique))


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("a1" * 32, "a1"),
        ("a1a1", "a1"),
        ("A2A2", "a2"),
        ("10.1/basalt", "a1"),
        ("https://doi.org/10.1/Basalt", "a1"),
        ("papers/granite.pdf", "a2"),
        ("granite.pdf", "a2"),
        ("papers/basalt.pdf", "a1"),
        ("short.txt", "c3"),
        ("e5e5e5", "e5"),
    ],
)
def test_a_document_by_id_doi_or_path(names: Names, word: str, expected: str) -> None:
    """The beginning of an id, a DOI in any spelling, a whole path or its end: each finds the one document."""
    assert names.find(word).doc_id == expected * 32


def test_two_that_fit_are_listed(names: Names) -> None:
    """A word that two documents fit is refused, and both are named."""
    with pytest.raises(SettingsError, match="more than one document fits") as refused:
        names.find("basalt.pdf")
    assert "papers/basalt.pdf" in str(refused.value)
    assert "more/basalt.pdf" in str(refused.value)
    with pytest.raises(SettingsError, match="more than one document fits"):
        names.find("a")


@pytest.mark.parametrize(
    ("word", "near"), [("granit.pdf", "granite.pdf"), ("on basalts", "10.1/Basalt"), ("c4c3c3", "c3c3")]
)
def test_the_nearest_are_named(names: Names, word: str, near: str) -> None:
    """A word that no document has is refused with the documents that are nearest to it."""
    with pytest.raises(SettingsError, match="no document has this id, DOI or path") as refused:
        names.find(word)
    assert near in str(refused.value)


def test_names_of_many(names: Names) -> None:
    """Ids give titles, paths and DOIs; one that only the token files have gives none of them."""
    known = names.known(["a1" * 32, "e5" * 32, "0" * 64])
    assert set(known) == {"a1" * 32, "e5" * 32}
    assert known["a1" * 32].title == "On basalt"
    assert known["e5" * 32][1:] == (None, None, None)


def test_drops_are_found_with_their_stage(names: Names) -> None:
    """A document that went no further is known with the stage, the reason and the detail; others have no drops."""
    assert names.drops("c3" * 32) == [Drop("filter", "too short", "why")]
    assert names.drops("d4" * 32) == [Drop("dedup", "near duplicate", "why")]
    assert names.drops("a1" * 32) == []
