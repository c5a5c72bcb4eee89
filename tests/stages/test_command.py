"""The life of a stage: settings, inputs, run, tables, manifest last; shards; kills; full disks; other ranks."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
import pytest
from pydantic import Field

from schemas.corpus import Document, Dropped
from schemas.manifest import Manifest, exists
from stages.base import PACKAGE_ROOT, Stage
from stages.command import main
from stages.tables import Outputs, Reader
from tests.tables import write_table


class Shout(Stage):
    """Make text loud; drop every `modulo`-th document."""

    name = "shout"
    inputs = {"documents": Document}
    outputs = {"documents": Document, "dropped": Dropped}
    conserves = ("documents", "documents")

    modulo: Annotated[int, Field(ge=2)] = 3
    lose: bool = False

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Count from the shard's first row, so that shards agree with one run."""
        for i, row in enumerate(inputs["documents"].rows(), inputs["documents"].start):
            if i % self.modulo == 0:
                if not self.lose:
                    outputs.drop(row.doc_id, "unlucky", f"row {i}", row.path)
            else:
                outputs["documents"].write(row.model_copy(update={"text": row.text.upper()}))


class Broken(Shout):
    """Fails after some rows."""

    name = "broken"

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Write a row, then fail."""
        outputs["documents"].write(next(inputs["documents"].rows()))
        raise OSError(28, "No space left on device", "part-00000.parquet")


class Hungry(Shout):
    """Needs a package that nobody has."""

    name = "hungry"
    packages = ("no_such_package_anywhere",)


@pytest.fixture
def documents(tmp_path) -> Path:
    """A finished table of ten documents."""
    return write_table(tmp_path / "parse" / "x", Document, Document.sample(10), "documents")


def run(stage: type[Stage], documents: Path, out: Path, *more: str, settings: dict[str, object] | None = None) -> int:
    """Run a stage's command line in this process; returns the exit code."""
    config = out.parent / f"{out.name}.json"
    config.write_text(json.dumps(settings or {}))
    with pytest.raises(SystemExit) as end:
        main(stage, ["--config", str(config), "--documents", str(documents), "--out", str(out), *more])
    return int(end.value.code or 0)


def rows(out: Path, name: str = "documents") -> list[dict[str, object]]:
    """All rows of an output, in the manifest's order."""
    parts = Manifest.read(out).outputs[name].parts
    return [r for p in parts for r in pq.read_table(out / p.path).to_pylist()]


def test_one_run(documents, tmp_path) -> None:
    """A finished run has its rows, its drops with reasons, and a manifest that says of what."""
    assert run(Shout, documents, tmp_path / "out") == 0
    manifest = Manifest.read(tmp_path / "out")
    assert manifest.outputs["documents"].num_rows == 6
    assert manifest.dropped == {"unlucky": 4}
    assert manifest.inputs["documents"].num_rows == 10
    assert manifest.settings == {"modulo": 3, "lose": False}
    assert manifest.fingerprint == Shout().fingerprint({"documents": "0" * 16})
    assert {r["reason"] for r in rows(tmp_path / "out", "dropped")} == {"unlucky"}
    assert manifest.peak_memory_bytes > 10_000_000
    assert manifest.packages["pyarrow"]


@pytest.mark.parametrize("count", [2, 3, 7, 16])
def test_shards_give_the_rows_of_one_run(documents, tmp_path, count) -> None:
    """Any number of shards, more than rows included, gives the same rows in the same order."""
    assert run(Shout, documents, tmp_path / "one") == 0
    for i in reversed(range(count)):
        assert run(Shout, documents, tmp_path / "many", "--shard", f"{i}/{count}") == 0
    assert not exists(tmp_path / "many")
    assert run(Shout, documents, tmp_path / "many", "--commit", str(count)) == 0
    assert rows(tmp_path / "many") == rows(tmp_path / "one")
    assert rows(tmp_path / "many", "dropped") == rows(tmp_path / "one", "dropped")


def test_commit_names_the_missing_shard(documents, tmp_path, capsys) -> None:
    """Committing without all shards is a contract error that says which are missing, and writes no manifest."""
    assert run(Shout, documents, tmp_path / "out", "--shard", "0/2") == 0
    assert run(Shout, documents, tmp_path / "out", "--commit", "2") == 3
    assert "shard 1/2 is not done" in capsys.readouterr().err
    assert not exists(tmp_path / "out")


def test_stale_parts_go(documents, tmp_path) -> None:
    """Parts of an abandoned run with another number of shards are removed, so a glob reads what the manifest lists."""
    assert run(Shout, documents, tmp_path / "out", "--shard", "0/2") == 0
    assert run(Shout, documents, tmp_path / "out") == 0
    assert [f.name for f in (tmp_path / "out" / "documents").iterdir()] == ["part-00000-of-00001.parquet"]


def test_same_bytes_twice(documents, tmp_path) -> None:
    """The same input and settings give byte-equal Parquet."""
    assert run(Shout, documents, tmp_path / "a") == run(Shout, documents, tmp_path / "b") == 0
    name = "documents/part-00000-of-00001.parquet"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_lost_row_is_an_error(documents, tmp_path, capsys) -> None:
    """A stage that loses rows without a reason fails, and nothing looks done."""
    assert run(Shout, documents, tmp_path / "out", settings={"lose": True}) == 3
    assert "10 rows of documents in, 6 out and 0 dropped" in capsys.readouterr().err
    assert not exists(tmp_path / "out")
    assert not list((tmp_path / "out" / "documents").iterdir())


def test_settings_problems_come_together(documents, tmp_path, capsys) -> None:
    """Wrong settings end with 2 and one message: every problem, with the nearest right name."""
    assert run(Shout, documents, tmp_path / "out", settings={"modula": 3, "modulo": 1, "lose": "perhaps"}) == 2
    words = capsys.readouterr().err
    assert "shout.modula: no such setting; did you mean shout.modulo?" in words
    assert "shout.modulo: Input should be greater than or equal to 2, found 1" in words
    assert "shout.lose" in words


def test_full_disk_leaves_nothing_done(documents, tmp_path, capsys) -> None:
    """A full disk is named, and leaves neither manifest nor part."""
    assert run(Broken, documents, tmp_path / "out") == 1
    assert "stages.broken: No space left on device: part-00000.parquet" in capsys.readouterr().err
    assert not exists(tmp_path / "out")
    assert not list((tmp_path / "out" / "documents").iterdir())


@contextlib.contextmanager
def mounted(folder: Path, option: str) -> Iterator[Path]:
    """A file system of its own at a new folder, in memory; the test is skipped where that may not be."""
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", option, "tmpfs", folder], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounting a file system needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_really_full_disk(documents, tmp_path) -> None:
    """On a filesystem that is full for real the stage ends with an error and no manifest."""
    with mounted(tmp_path / "small", "size=32k") as small:
        (tmp_path / "big").mkdir()
        big = [d.model_copy(update={"text": os.urandom(30_000).hex()}) for d in Document.sample(9)]
        table = write_table(tmp_path / "big", Document, big, "documents")
        assert run(Shout, table, small / "out") == 1
        assert not exists(small / "out")


def test_unwritable_root(documents, tmp_path, capsys) -> None:
    """A root that is a file, not a folder, is an error in settings: named, with what to give, and no traceback."""
    (tmp_path / "root").write_text("")
    config = tmp_path / "c.json"
    config.write_text("{}")
    with pytest.raises(SystemExit) as end:
        main(Shout, ["--config", str(config), "--documents", str(documents), "--out", str(tmp_path / "root" / "out")])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert "root" in error
    assert error.count("\n") == 1
    assert error.endswith("give a folder that can be written\n")


def test_wrong_input_contract(tmp_path, capsys) -> None:
    """A table of another contract ends with 3 and says what was expected and found."""
    table = write_table(tmp_path / "x", Dropped, Dropped.sample(2), "documents")
    assert run(Shout, table, tmp_path / "out") == 3
    assert "expected Document@1, found Dropped@1" in capsys.readouterr().err


def test_unfinished_input(tmp_path, capsys) -> None:
    """An input without a manifest is refused."""
    assert run(Shout, tmp_path / "nothing" / "documents", tmp_path / "out") == 3
    assert "has not finished" in capsys.readouterr().err


def test_missing_package_names_the_cure(documents, tmp_path, capsys) -> None:
    """A missing package ends with 2 and the pip line that installs it; a stub run does not need it."""
    assert run(Hungry, documents, tmp_path / "out") == 2
    assert "pip install -e '.[hungry]'" in capsys.readouterr().err
    assert run(Hungry, documents, tmp_path / "stub", "--stub") == 0


def test_stub_writes_samples(documents, tmp_path) -> None:
    """`--stub` writes the contract's sample rows and says so in the manifest."""
    assert run(Shout, documents, tmp_path / "out", "--stub") == 0
    assert rows(tmp_path / "out") == [d.model_dump() for d in Document.sample()]
    assert Manifest.read(tmp_path / "out").stub


@pytest.mark.parametrize("shard", ["3/3", "x", "-1/2", "1/0", "1"])
def test_bad_shard(documents, tmp_path, shard, capsys) -> None:
    """A shard that is not I/N with I below N ends with 2."""
    assert run(Shout, documents, tmp_path / "out", f"--shard={shard}") == 2
    assert "expected I/N" in capsys.readouterr().err


def test_other_ranks_write_nothing(documents, tmp_path, monkeypatch) -> None:
    """Ranks above 0 do the work but leave tables and manifest to rank 0."""
    monkeypatch.setenv("PALS_RANKID", "1")
    assert run(Shout, documents, tmp_path / "out") == 0
    assert not exists(tmp_path / "out")
    assert not list(tmp_path.glob("out/**/*.parquet"))


SLEEPER = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started without it
from stages.command import main
from tests.stages.test_command import Shout
class Sleeper(Shout):
    name = "shout"
    def run(self, inputs, outputs):
        super().run(inputs, outputs)
        print("written", flush=True)
        time.sleep(60)
main(Sleeper, sys.argv[1:])
"""


def start_sleeper(documents: Path, out: Path) -> "subprocess.Popen[str]":
    """A stage that has written its rows and hangs before it finishes."""
    command = [sys.executable, "-c", SLEEPER, "--documents", str(documents), "--out", str(out)]
    process = subprocess.Popen(command, cwd=PACKAGE_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "written\n"
    return process


def test_killed_before_the_manifest(documents, tmp_path) -> None:
    """SIGKILL after the rows were written leaves nothing done; the same command again gives the unbroken result."""
    process = start_sleeper(documents, tmp_path / "out")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not exists(tmp_path / "out")
    assert run(Shout, documents, tmp_path / "out") == 0
    assert run(Shout, documents, tmp_path / "unbroken") == 0
    assert rows(tmp_path / "out") == rows(tmp_path / "unbroken")


def test_killed_rerun_of_a_finished_stage(documents, tmp_path) -> None:
    """A rerun into a finished output that is killed leaves it not done, rather than done with its tables gone."""
    assert run(Shout, documents, tmp_path / "out") == 0
    process = start_sleeper(documents, tmp_path / "out")
    process.kill()
    process.communicate()
    assert not exists(tmp_path / "out")


def test_two_at_once(documents, tmp_path, capsys) -> None:
    """A second process on the same output is refused while the first lives."""
    process = start_sleeper(documents, tmp_path / "out")
    try:
        assert run(Shout, documents, tmp_path / "out") == 2
        assert "another process is at work here" in capsys.readouterr().err
    finally:
        process.kill()
        process.communicate()


def test_ends_with_its_parent(documents, tmp_path) -> None:
    """When the runner that started a stage dies, the stage dies too and lets go of its output."""
    runner = f"""
import os, subprocess, sys
env = {{**os.environ, "BOREALIS_PARENT": str(os.getpid())}}
command = [sys.executable, "-c", {SLEEPER!r}, "--documents", sys.argv[1], "--out", sys.argv[2]]
child = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""
    command = [sys.executable, "-c", runner, str(documents), str(tmp_path / "out")]
    process = subprocess.Popen(command, cwd=PACKAGE_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    child = int(process.stdout.readline())
    process.kill()
    process.communicate()
    for _ in range(100):
        stat = Path(f"/proc/{child}/stat")
        if not stat.exists() or stat.read_text().split()[2] == "Z":
            break
        time.sleep(0.05)
    else:
        os.kill(child, signal.SIGKILL)
        pytest.fail("the stage outlived its runner")
    assert run(Shout, documents, tmp_path / "out") == 0
