"""Manifests: atomic, readable, and an address that changes with everything that matters and nothing else."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.corpus import Document
from schemas.manifest import Input, Manifest, exists, fingerprint, lineage, write_atomic
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


@pytest.fixture
def no_sync(monkeypatch) -> None:
    """Files need not survive a crash of the machine here, and a busy disk takes a tenth of a second to promise that."""
    monkeypatch.setattr("os.fsync", lambda _: None)


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


def test_a_file_is_no_folder(tmp_path) -> None:
    """Where a file is given for a stage's folder there is no output, and the error says what was found."""
    (tmp_path / "papers.txt").write_text("text")
    assert not exists(tmp_path / "papers.txt")
    with pytest.raises(ContractError, match="found a file"):
        Manifest.read(tmp_path / "papers.txt")
    assert list(lineage(tmp_path / "papers.txt")) == []


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00\n}", b"[]\n}", b"{}\n}", b"\0" * 4096, b'{"stage": 7,\n "x": 1\n}']
)
def test_what_is_no_manifest_is_a_contract_error(tmp_path, content: bytes) -> None:
    """Whatever bytes a failing disk leaves, reading ends with a contract error that names the file."""
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ContractError, match="manifest.json"):
        Manifest.read(tmp_path)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 400))
def test_a_manifest_cut_anywhere_is_none(tmp_path, no_sync, cut: int) -> None:
    """Of a manifest that was cut short, however long what is left, nothing is said to be done."""
    EMPTY.model_copy(update={"settings": {"a": {"b": [{}]}}, "packages": {"x": "1\n}"}}).write(tmp_path)
    whole = (tmp_path / "manifest.json").read_bytes()
    assert exists(tmp_path)
    (tmp_path / "manifest.json").write_bytes(whole[: min(cut, len(whole) - 1)])
    assert not exists(tmp_path)


def test_words_of_any_language_survive(tmp_path, monkeypatch) -> None:
    """A manifest is UTF-8, whatever the machine's own encoding is."""
    write_table(tmp_path, Document, Document.sample(1), "documents")
    manifest = Manifest.read(tmp_path).model_copy(update={"settings": {"paths": "/müll/論文"}})
    manifest.write(tmp_path)
    monkeypatch.setattr("locale.getpreferredencoding", lambda *_: "latin-1")
    monkeypatch.setattr("locale.getencoding", lambda: "latin-1")
    assert Manifest.read(tmp_path).settings == {"paths": "/müll/論文"}


def test_a_full_disk_keeps_nothing_of_what_failed(tmp_path, monkeypatch) -> None:
    """What could not be written whole does not stay behind to fill the disk."""
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    for _ in range(3):
        with pytest.raises(OSError, match="No space"):
            write_atomic(tmp_path / "state.json", "x" * 1000)
    assert list(tmp_path.iterdir()) == []


def test_many_writers_of_one_file(tmp_path, no_sync) -> None:
    """Threads that write one file at a time all succeed, a reader sees one of their texts whole, and no other file stays."""
    file, texts = tmp_path / "state.json", [str(i) * 5000 for i in range(8)]
    write_atomic(file, texts[0])

    def write(text: str) -> bool:
        write_atomic(file, text)
        return file.read_text() in texts

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(write, texts * 3))
    assert [f.name for f in tmp_path.iterdir()] == ["state.json"]


EMPTY = Manifest(
    stage="s",
    version=1,
    fingerprint="",
    settings={},
    external="",
    inputs={},
    outputs={},
    dropped={},
    shards=(),
    code_sha256="",
    git_commit="",
    packages={},
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, 0.5, 1.0]) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


def canonical(value: object) -> object:
    """A value such that two are equal only if JSON tells them apart: 1 is neither true nor 1.0."""
    if isinstance(value, dict):
        return ("dict", frozenset((k, canonical(v)) for k, v in value.items()))
    if isinstance(value, list):
        return ("list", tuple(canonical(v) for v in value))
    return (type(value).__name__, value)


@settings(max_examples=50, deadline=None)
@given(
    one=st.dictionaries(st.text(max_size=2), JSON, max_size=3),
    two=st.dictionaries(st.text(max_size=2), JSON, max_size=3),
)
def test_addresses_are_equal_where_settings_are(one: dict[str, object], two: dict[str, object]) -> None:
    """Two addresses agree exactly where the settings do, type by type, and the order of their keys is no matter."""
    same = fingerprint(**{**BASE, "settings": one}) == fingerprint(**{**BASE, "settings": two})
    assert same == (canonical(one) == canonical(two))
    turned = dict(reversed(one.items()))
    assert fingerprint(**{**BASE, "settings": one}) == fingerprint(**{**BASE, "settings": turned})


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edges=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=14),
    gone=st.sets(st.integers(1, 6), max_size=2),
)
def test_lineage_is_the_ancestors(tmp_path, no_sync, edges: list[tuple[int, int]], gone: set[int]) -> None:
    """Of any graph, lineage has each ancestor that is still there once, and none before one that is nearer."""
    root = tmp_path / str(len(list(tmp_path.iterdir())))
    graph: dict[int, list[int]] = {n: [b for a, b in edges if a == n and b > n] for n in range(7)}
    for node, before in graph.items():
        sources = {str(b): Input(fingerprint="", path=f"../../s/{b}/documents", num_rows=0) for b in before}
        (root / "s" / str(node)).mkdir(parents=True)
        if node not in gone:
            EMPTY.model_copy(update={"inputs": sources}).write(root / "s" / str(node))
    distance, level = {0: 0}, [0]
    while level:
        level = [
            b
            for a in level
            for b in graph[a]
            if b not in gone and b not in distance and not distance.update({b: distance[a] + 1})
        ]
    found = [int(folder.name) for folder, _ in lineage(root / "s" / "0")]
    assert sorted(found) == sorted(distance)
    assert [distance[n] for n in found] == sorted(distance.values())
