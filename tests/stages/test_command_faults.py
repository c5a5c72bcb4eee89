"""What a stage's command line is given by mistake, and what an earlier run has left in its folder."""

import json
import signal
from pathlib import Path

import pytest

from schemas.corpus import Document
from schemas.manifest import Manifest, exists, lineage
from stages.command import main
from tests.stages.test_command import Broken, Shout, documents, mounted, rows, run, start_sleeper
from tests.tables import write_table

__all__ = ["documents"]  # a fixture


class Failing(Broken):
    """The stage that makes the output, when its disk has filled up."""

    name = "shout"


class Pair(Shout):
    """Reads two tables."""

    name = "pair"
    inputs = {"documents": Document, "others": Document}


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


def test_an_output_where_none_can_be(documents, tmp_path, capsys) -> None:
    """On a file system that cannot be written the folder is named with the reason; exit 2, and no traceback."""
    with mounted(tmp_path / "fixed", "ro") as fixed:
        for folder in (fixed, fixed / "out"):
            config = tmp_path / "c.json"
            config.write_text("{}")
            words = ["--config", str(config), "--documents", str(documents), "--out", str(folder)]
            with pytest.raises(SystemExit) as end:
                main(Shout, words)
            assert end.value.code == 2
            error = capsys.readouterr().err
            assert f"--out {folder}: Read-only file system" in error
            assert "give a folder that can be written" in error
            assert "Traceback" not in error


def test_tables_that_are_none(documents, tmp_path, capsys) -> None:
    """A folder that is not there, one without a manifest, and a whole output are each named by flag, as found, exit 3."""
    (tmp_path / "empty" / "documents").mkdir(parents=True)
    for table, words in (
        (tmp_path / "nowhere" / "documents", f"there is no folder {tmp_path}/nowhere: this stage has not finished"),
        (tmp_path / "empty" / "documents", f"no manifest.json in {tmp_path}/empty: this stage has not finished"),
        (documents.parent, f"expected a table, found a whole output, whose tables are {documents}"),
    ):
        assert run(Shout, table, tmp_path / "out") == 3
        error = capsys.readouterr().err
        assert f"--documents {table}: {words}" in error
        assert "runs/STAGE/FINGERPRINT/documents" in error
        assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_all_wrong_tables_come_together(documents, tmp_path, capsys) -> None:
    """A stage of two inputs says of both what is wrong with them."""
    words = ["--documents", str(tmp_path / "no" / "documents"), "--others", str(documents.with_name("others"))]
    with pytest.raises(SystemExit) as end:
        main(Pair, [*words, "--out", str(tmp_path / "out")])
    assert end.value.code == 3
    error = capsys.readouterr().err
    assert "2 problem(s) with what pair reads" in error
    assert f"--documents {tmp_path}/no/documents: there is no folder" in error
    assert f"--others {documents.with_name('others')}: {documents.parent} has the tables ['documents']" in error


def test_what_another_stage_has_made_is_not_written_over(documents, tmp_path, capsys) -> None:
    """`--out` on the finished output of another stage, or on the input itself, is refused; what is there stays."""
    assert run(Shout, documents, tmp_path / "out") == 0
    before = (tmp_path / "out" / "manifest.json").read_bytes()
    assert run(Broken, documents, tmp_path / "out") == 2
    words = "found a finished output of shout, expected none or one of broken; give another folder"
    assert f"--out {tmp_path}/out: {words}" in capsys.readouterr().err
    assert run(Shout, tmp_path / "out" / "documents", tmp_path / "out") == 2
    assert "--documents is read from there; give another folder" in capsys.readouterr().err
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before
    assert len(rows(tmp_path / "out")) == 6
    assert run(Shout, documents, tmp_path / "out") == 0  # its own it may make again


def test_interrupted(documents, tmp_path) -> None:
    """Ctrl-C ends a stage with 130 and a line, no traceback; nothing is done, and the same command makes it."""
    process = start_sleeper(documents, tmp_path / "out")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130
    assert error == "stages.shout: interrupted: what was done is not lost, the same command goes on\n"
    assert not exists(tmp_path / "out")
    assert run(Shout, documents, tmp_path / "out") == 0


def test_a_shard_that_is_begun_again_is_not_done(documents, tmp_path, capsys) -> None:
    """When a shard of a finished output is run again and fails, the record of its earlier success does not stand for it."""
    for i in range(2):
        assert run(Shout, documents, tmp_path / "out", "--shard", f"{i}/2") == 0
    assert run(Shout, documents, tmp_path / "out", "--commit", "2") == 0
    assert run(Failing, documents, tmp_path / "out", "--shard", "1/2") == 1
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
