"""What a stage's command line is given by mistake, and what an earlier run has left in its folder."""

import json
from pathlib import Path

import pytest

from schemas.corpus import Document
from schemas.manifest import Manifest, exists, lineage
from tests.stages.test_command import Broken, Shout, documents, rows, run
from tests.tables import write_table

__all__ = ["documents"]  # a fixture


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "expected a JSON object"),
        (b"3", "expected a JSON object"),
        ("folder", "Is a directory"),
    ],
)
def test_settings_that_are_no_settings(documents, tmp_path, capsys, content, words) -> None:
    """A file of settings that is missing, a folder, no JSON or no object ends with 2, its name and what was expected."""
    from stages.command import main

    config = tmp_path / "settings.json"
    if isinstance(content, bytes):
        config.write_bytes(content)
    elif content:
        config.mkdir()
    with pytest.raises(SystemExit) as end:
        main(Shout, ["--config", str(config), "--documents", str(documents), "--out", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert words in error
    assert str(config) in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("count", ["0", "-1"])
def test_committing_no_shards(documents, tmp_path, capsys, count) -> None:
    """A number of shards below one is refused, not taken for one, and not an error of ours."""
    assert run(Shout, documents, tmp_path / "out") == 0
    assert run(Shout, documents, tmp_path / "out", f"--commit={count}") == 2
    assert f"at least 1, found {count}" in capsys.readouterr().err


def test_a_file_for_a_table(tmp_path, capsys) -> None:
    """A file where a table's folder is expected is a contract error that says so."""
    (tmp_path / "papers.txt").write_text("text")
    assert run(Shout, tmp_path / "papers.txt" / "documents", tmp_path / "out") == 3
    error = capsys.readouterr().err
    assert "found a file" in error
    assert "Traceback" not in error


def test_a_shard_that_is_begun_again_is_not_done(documents, tmp_path, capsys) -> None:
    """When a shard of a finished output is run again and fails, the record of its earlier success does not stand for it."""
    for i in range(2):
        assert run(Shout, documents, tmp_path / "out", "--shard", f"{i}/2") == 0
    assert run(Shout, documents, tmp_path / "out", "--commit", "2") == 0
    assert run(Broken, documents, tmp_path / "out", "--shard", "1/2") == 1
    assert not exists(tmp_path / "out")
    assert run(Shout, documents, tmp_path / "out", "--commit", "2") == 3
    assert "shard 1/2 is not done" in capsys.readouterr().err
    assert run(Shout, documents, tmp_path / "out", "--shard", "1/2") == 0
    assert run(Shout, documents, tmp_path / "out", "--commit", "2") == 0
    assert len(rows(tmp_path / "out")) == 6


def test_another_rank_leaves_the_records_alone(documents, tmp_path, monkeypatch) -> None:
    """A rank above 0 that begins late does not take away what rank 0 has finished."""
    assert run(Shout, documents, tmp_path / "out") == 0
    monkeypatch.setenv("PALS_RANKID", "1")
    assert run(Shout, documents, tmp_path / "out") == 0
    assert exists(tmp_path / "out")
    assert len(list((tmp_path / "out" / "done").iterdir())) == 1


@pytest.mark.parametrize("name", ["link/run/out", "plain/out"])
def test_lineage_through_links(tmp_path, name) -> None:
    """An output under a linked folder (as `/eagle` is one of Polaris) knows its inputs, also when both are given by links."""
    table = write_table(tmp_path / "data" / "deep" / "parse", Document, Document.sample(3), "documents")
    (tmp_path / "very" / "deep" / "scratch").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "very" / "deep" / "scratch")
    (tmp_path / "papers").symlink_to(table.parent)
    out = tmp_path / name
    out.parent.mkdir(parents=True, exist_ok=True)
    for given in (table, tmp_path / "papers" / "documents"):
        assert run(Shout, given, out) == 0
        found = [folder for folder, _ in lineage(out)]
        assert found == [out.resolve(), table.parent.resolve()]


def test_shards_of_two_runs_are_the_same_files(documents, tmp_path) -> None:
    """A run with four shards after one with two lists its own parts alone, and no other is left."""
    for count in (2, 4):
        for i in range(count):
            assert run(Shout, documents, tmp_path / "out", "--shard", f"{i}/{count}") == 0
        assert run(Shout, documents, tmp_path / "out", "--commit", str(count)) == 0
        listed = {p.path for p in Manifest.read(tmp_path / "out").outputs["documents"].parts}
        assert {str(f.relative_to(tmp_path / "out")) for f in (tmp_path / "out" / "documents").iterdir()} == listed
        assert len(listed) == count


def test_a_manifest_is_plain_json(documents, tmp_path) -> None:
    """Other programs read a manifest with any JSON parser: no NaN, no path of this machine for its inputs."""
    assert run(Shout, documents, tmp_path / "out") == 0
    text = (tmp_path / "out" / "manifest.json").read_text()
    found = json.loads(text, parse_constant=pytest.fail)
    assert found["inputs"]["documents"]["path"] == "../parse/x/documents"
    assert not Path(found["outputs"]["documents"]["parts"][0]["path"]).is_absolute()
