"""Manifests: atomic, readable, and an address that changes with everything that matters and nothing else."""

import pytest

from schemas.corpus import Document
from schemas.manifest import Manifest, exists, fingerprint, lineage, write_atomic
from schemas.table import ContractError
from tests.tables import write_table


def test_read_says_what_is_missing(tmp_path) -> None:
    """A folder without a manifest is a stage that has not finished."""
    assert not exists(tmp_path)
    with pytest.raises(ContractError, match="has not finished"):
        Manifest.read(tmp_path)


def test_read_refuses_a_cut_manifest(tmp_path) -> None:
    """A truncated manifest is an error with the file's name, not half a truth."""
    write_table(tmp_path, Document, Document.sample(2), "documents")
    file = tmp_path / "manifest.json"
    file.write_text(file.read_text()[:100])
    with pytest.raises(ContractError, match="manifest.json"):
        Manifest.read(tmp_path)


def test_round_trip(tmp_path) -> None:
    """What is written is what is read."""
    write_table(tmp_path, Document, Document.sample(2), "documents")
    manifest = Manifest.read(tmp_path)
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == manifest
    assert manifest.outputs["documents"].num_rows == 2


def test_write_atomic_leaves_the_old_file_when_the_disk_is_full(tmp_path, monkeypatch) -> None:
    """An error while writing leaves the old content, never half of the new."""
    file = tmp_path / "state.json"
    write_atomic(file, "old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_atomic(file, "new")
    assert file.read_text() == "old"


BASE = {"stage": "dedup", "version": 1, "settings": {"a": 1}, "inputs": {"documents": "00"}, "external": ""}


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "filter"},
        {"version": 2},
        {"settings": {"a": 2}},
        {"settings": {"b": 1}},
        {"inputs": {"documents": "01"}},
        {"inputs": {"other": "00"}},
        {"external": "x"},
    ],
)
def test_fingerprint_changes_with_each_part(change: dict[str, object]) -> None:
    """Stage, version, settings, inputs and outside files all change the address."""
    assert fingerprint(**BASE) != fingerprint(**{**BASE, **change})


def test_fingerprint_does_not_depend_on_order() -> None:
    """The order in which settings or inputs are written does not matter."""
    one = {**BASE, "settings": {"a": 1, "b": 2}, "inputs": {"x": "1", "y": "2"}}
    two = {**BASE, "settings": {"b": 2, "a": 1}, "inputs": {"y": "2", "x": "1"}}
    assert fingerprint(**one) == fingerprint(**two)


def test_fingerprint_is_frozen() -> None:
    """The address of a known stage never changes between releases: outputs on disk stay valid."""
    assert fingerprint(**BASE) == "fb499c1eb7f7160b"


def test_lineage_walks_to_the_source(tmp_path) -> None:
    """Lineage yields a folder's manifest and those it was made from, each once, and survives a moved root."""
    write_table(tmp_path / "parse" / "a", Document, Document.sample(2), "documents")
    write_table(tmp_path / "filter" / "b", Document, Document.sample(2), "documents")
    manifest = Manifest.read(tmp_path / "filter" / "b")
    source = {"fingerprint": "0" * 16, "path": "../../parse/a/documents", "num_rows": 2}
    fields = {**manifest.model_dump(), "inputs": {"documents": source, "again": source}}
    Manifest.model_validate(fields).write(tmp_path / "filter" / "b")
    moved = tmp_path.with_name(tmp_path.name + "-moved")
    tmp_path.rename(moved)
    assert [folder.parent.name for folder, _ in lineage(moved / "filter" / "b")] == ["filter", "parse"]
