"""A stage ends when the process that started it does, whatever stands between them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages.base import PACKAGE_ROOT
from workflows.launch import launch

PATIENCE_SECONDS = 300
RUNNER = "import sys; from workflows.launch import launch; launch('x', sys.argv[2:], sys.argv[1], '/')"
IMAGES = PACKAGE_ROOT / "containers" / "images"


def marked(mark: str) -> list[int]:
    """Processes whose command line has a word."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if mark.encode() in words and words[0].endswith(b"sleep"):
            found.append(int(folder.name))
    return found


def until(condition) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def survives(folder: Path, *prefix: str) -> None:
    """Start a sleep behind `prefix` through a runner, kill the runner, and see that the sleep ends."""
    mark = f"9{os.getpid()}.{time.monotonic_ns() % 1_000_000}"
    command = [sys.executable, "-c", RUNNER, str(folder / "log" / "run.txt"), *prefix, "sleep", mark]
    with subprocess.Popen(command, cwd=PACKAGE_ROOT, env={**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)}) as runner:
        until(lambda: marked(mark))
        runner.kill()
    until(lambda: not marked(mark))


@pytest.mark.parametrize(
    "prefix",
    [
        (),
        ("sh", "-c", '"$@"; true', "sh"),
        ("env", "-i", "PATH=/usr/bin:/bin"),
        ("sh", "-c", 'trap "" TERM; "$@"; true', "sh"),
    ],
    ids=["alone", "launcher", "clean environment", "deaf"],
)
def test_a_killed_runner_leaves_nothing(tmp_path, prefix) -> None:
    """SIGKILL of the runner ends what it started: itself, behind a launcher, and where SIGTERM is not heard."""
    survives(tmp_path, *prefix)


@pytest.mark.skipif(not list(IMAGES.glob("*.sif")), reason="no image here: make image STAGE=parse")
def test_a_killed_runner_leaves_no_container(tmp_path) -> None:
    """The same for a stage in a container, whose runtime loses the signal of a dying parent."""
    survives(tmp_path, "apptainer", "exec", "--userns", str(next(IMAGES.glob("*.sif"))))


def test_a_stage_that_ends_leaves_no_watcher(tmp_path) -> None:
    """After a stage the process that watched for it is gone too."""
    launch("x", ["true"], str(tmp_path / "log" / "run.txt"), "/")
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    names = [Path(f"/proc/{c}/cmdline").read_bytes() for c in children if Path(f"/proc/{c}").exists()]
    assert not [n for n in names if b"read -r _" in n]
