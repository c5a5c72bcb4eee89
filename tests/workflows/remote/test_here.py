"""A run that is sent, started, followed and ended, with this machine as the other side: all but the network is real."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages.base import PACKAGE_ROOT, SettingsError
from workflows.remote import answer, channel
from workflows.remote.answer import LOG_BYTES, logs, state
from workflows.remote.channel import Here
from workflows.remote.request import Ask, Logs, Start, code_sha256, new_run_id

SLOW_SITE = """
import os
from pathlib import Path
from workflows.site import load_site

site = load_site("laptop").model_copy(update={"python": str(Path(__file__).parent / "slow")})
"""
PATIENCE_SECONDS = 300
INSIDE = PACKAGE_ROOT / "build"

pytestmark = pytest.mark.skipif(
    not (PACKAGE_ROOT / ".venv" / "bin" / "python").exists(), reason="no .venv in this checkout: make install makes one"
)


def parsl(*words: str, expect: int = 0) -> str:
    """Run the command; returns what it printed."""
    command = [sys.executable, "-m", "workflows", *words]
    done = subprocess.run(command, cwd=PACKAGE_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


def sent(words: str) -> str:
    """The run's name, out of what was printed."""
    return next(line.split()[1] for line in words.splitlines() if line.startswith("run "))


def wait_until(true) -> None:
    """Wait for something to come true, for as long as a busy machine may take."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture
def slow_site(tmp_path) -> str:
    """A site inside the project whose stages never end."""
    INSIDE.mkdir(exist_ok=True)
    folder = INSIDE / f"slow-{os.getpid()}"
    folder.mkdir()
    (folder / "slow").write_text("#!/bin/sh\nexec sleep 1000\n")
    (folder / "slow").chmod(0o755)
    (folder / "site.py").write_text(SLOW_SITE)
    yield str(folder / "site.py")
    for file in (folder / "slow", folder / "site.py"):
        file.unlink()
    for cache in folder.rglob("*"):
        if cache.is_file():
            cache.unlink()
    for cache in sorted(folder.rglob("*"), reverse=True):
        cache.rmdir()
    folder.rmdir()


def test_a_run_is_sent_and_followed(sides, root) -> None:
    """The run is started detached with the settings given; attach prints it and ends with its code; status has stages."""
    papers = f"ingest.paths={root.parent / 'papers'}"
    words = parsl("run", "workflows/corpus.py", "--endpoint", "here", "--stub", "--only", "ingest", "--set", papers)
    run = sent(words)
    assert "bytes sent to here" in words
    followed = parsl("attach", "--run", run)
    assert "ingest: done" in followed
    assert f"{run}: done" in followed
    told = parsl("status", "--run", run)
    assert f"{run}: done" in told
    assert "ingest          done" in told
    assert "ingest: done" in parsl("logs", "--run", run)
    request = json.loads((sides / run / "request.json").read_text())
    assert request["environment"]["BOREALIS_ROOT"] == str(root)
    assert (root / "stub" / "ingest").is_dir()


def test_a_failure_has_its_code(sides, root) -> None:
    """A run that ends with settings that cannot be ends attach with the same code."""
    words = parsl("run", "workflows/corpus.py", "--endpoint", "here", "--set", "ingest.paths=/nowhere/at/all")
    followed = parsl("attach", "--run", sent(words), expect=2)
    assert "there is no /nowhere/at/all" in followed
    assert ": failed" in followed


def test_a_run_is_cancelled(sides, root, slow_site) -> None:
    """A cancelled run is interrupted, its stages end with it, and it says that it was cancelled."""
    papers = f"ingest.paths={root.parent / 'papers'}"
    words = parsl(
        "run", "workflows/corpus.py", "--site", slow_site, "--endpoint", "here", "--only", "ingest", "--set", papers
    )
    run = sent(words)
    wait_until(lambda: "running" in parsl("logs", "--run", run))
    assert "asked to end" in parsl("cancel", "--run", run)
    wait_until((sides / run / "end.json").is_file)
    assert f"{run}: cancelled" in parsl("status", "--run", run)


def test_a_delivery_twice_starts_once(sides, root) -> None:
    """The same request again finds the run, and starts none."""
    request = Start(
        run=new_run_id(),
        project=str(PACKAGE_ROOT),
        words=("run", "workflows/corpus.py", "--stub", "--only", "ingest", "--set", f"ingest.paths={root.parent}"),
        code_sha256=code_sha256(),
    )
    first, second = Here().call(request), Here().call(request)
    assert first["run"] == second["run"]
    wait_until(lambda: state(sides / request.run)["state"] == "done")
    assert (sides / request.run / "log.txt").read_text().count("ingest: done") == 1


def test_a_supervisor_that_dies_leaves_a_lost_run(sides, root, slow_site, monkeypatch) -> None:
    """Without a heartbeat a run is lost, never running for ever."""
    monkeypatch.setattr(answer, "SILENT_SECONDS", 3.0)
    papers = f"ingest.paths={root.parent / 'papers'}"
    words = parsl(
        "run", "workflows/corpus.py", "--site", slow_site, "--endpoint", "here", "--only", "ingest", "--set", papers
    )
    run = sent(words)
    wait_until((sides / run / "beat").exists)
    pids = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and run in cmdline(p)]
    assert len(pids) == 1
    child = next(int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and parent(p) == pids[0])
    os.kill(pids[0], signal.SIGKILL)
    wait_until(lambda: state(sides / run)["state"] == "lost")
    os.killpg(child, signal.SIGINT)


def cmdline(process: Path) -> str:
    """A process's words; none if it has gone."""
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""


def parent(process: Path) -> int:
    """A process's parent; 0 if it has gone."""
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_other_code_is_refused(sides, root) -> None:
    """A run of code that the other side does not have is refused with the cure, and nothing is started."""
    request = Start(run=new_run_id(), project=str(PACKAGE_ROOT), words=("run", "x"), code_sha256="0" * 64)
    with pytest.raises(SettingsError, match="git pull"):
        Here().call(request)
    assert not (sides / request.run).exists()


def test_only_runs_are_started(sides, root) -> None:
    """Another word than run, and a run that there is not, are refused by the other side."""
    request = Start(run=new_run_id(), project=str(PACKAGE_ROOT), words=("stop", "x"), code_sha256=code_sha256())
    with pytest.raises(SettingsError, match="begins with the word run"):
        Here().call(request)
    with pytest.raises(SettingsError, match="no run 2"):
        Here().call(Ask(verb="status", run=new_run_id(), project=str(PACKAGE_ROOT)))


def test_a_wrong_checkout_is_named(sides) -> None:
    """Where the project does not lie, the error says what could not be run."""
    with pytest.raises(FileNotFoundError, match="/nowhere"):
        Here().call(Logs(run=new_run_id(), project="/nowhere"))


def test_wrong_words_are_refused_before_sending(sides, root, tmp_path) -> None:
    """A setting, a stage or a recipe that cannot be is refused here; so are an endpoint and a run of no such name."""
    send = ("run", "workflows/corpus.py", "--endpoint", "here")
    assert "did you mean filter.min_words" in parsl(*send, "--set", "filter.min_word=3", expect=2)
    assert "did you mean parse" in parsl(*send, "--only", "prase", expect=2)
    (tmp_path / "mine.py").write_text("def workflow(run):\n    pass\n")
    assert "must lie in this project" in parsl("run", str(tmp_path / "mine.py"), "--endpoint", "here", expect=2)
    assert "expected the UUID" in parsl("run", "workflows/corpus.py", "--endpoint", "polaris", expect=2)
    assert "expected a name like" in parsl("logs", "--run", "x", expect=2)
    assert "not sent from here" in parsl("logs", "--run", new_run_id(), expect=2)
    assert not sides.exists()


def test_a_long_log_comes_in_whole_characters(tmp_path) -> None:
    """Pieces of a log of any characters, put together, are the log; the end alone is at most one piece."""
    text = "ä€𝕏x" * 20_000
    (tmp_path / "log.txt").write_text(text, encoding="utf-8")
    (tmp_path / "end.json").write_text('{"code": 0, "ended": 0}')
    pieces, offset, more = [], 0, True
    while more:
        found = logs(tmp_path, offset)
        pieces.append(found["text"])
        offset, more = found["offset"], found["more"]
    assert "".join(pieces) == text
    assert len(pieces) > 3
    assert len(logs(tmp_path, -1)["text"].encode()) <= LOG_BYTES + 6  # half a character at the front is shown as a mark


def test_settings_of_a_file_are_sent(sides, root, tmp_path) -> None:
    """Settings of a file on this side reach the other side as words, which win over the recipe's."""
    file = tmp_path / "s.toml"
    file.write_text(f'[ingest]\npaths = ["{root.parent / "papers"}"]\nlicence = "CC-BY-4.0"\n')
    words = parsl(
        "run", "workflows/corpus.py", "--endpoint", "here", "--stub", "--only", "ingest", "--settings", str(file)
    )
    sent_words = json.loads((sides / sent(words) / "request.json").read_text())["words"]
    assert 'ingest.licence="CC-BY-4.0"' in sent_words
    parsl("attach", "--run", sent(words))


def test_source_is_told_by_its_digest() -> None:
    """One changed character of the function is another function."""
    text = channel.source()
    assert channel.source_sha256(text) != channel.source_sha256(text.replace("4000", "4001"))
