"""The same bytes: with one worker or two, and after a kill at any moment."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.stages.substring.corpora import LICENCE, prose, table

ROOT = Path(__file__).parents[3]
TABLES = ("documents", "passages", "spans", "dropped")


def start(documents: Path, out: Path, **environment: str) -> "subprocess.Popen[bytes]":
    """Start the stage as a process of its own."""
    command = [sys.executable, "-m", "stages.substring", "--documents", str(documents), "--out", str(out)]
    return subprocess.Popen(
        command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def content(out: Path) -> dict[str, bytes]:
    """Every table of an output."""
    return {name: file.read_bytes() for name in TABLES for file in (out / name).glob("*.parquet")}


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """Some thousand texts, one in three with a passage, some of them copies: several pieces for each worker."""
    found = [f"{prose(i, 600)} {LICENCE if i % 3 == 0 else ''} {prose(i + 5000, 600)}" for i in range(1500)]
    return table(tmp_path / "in", [*found, *found[:20]])


def test_workers_and_hashes_do_not_matter(documents: Path, tmp_path: Path) -> None:
    """One worker and three, in processes that hash strings otherwise, write the same files."""
    for n in ("1", "3"):
        assert start(documents, tmp_path / n, BOREALIS_WORKERS=n, PYTHONHASHSEED=n).wait(timeout=300) == 0
    first, second = (content(tmp_path / n) for n in ("1", "3"))
    assert len(first) == len(TABLES)
    assert first == second


def test_a_killed_run_goes_on_to_the_same_bytes(documents: Path, tmp_path: Path) -> None:
    """A run that was killed while it held half-written files gives, started again, what an unbroken one gives."""
    assert start(documents, tmp_path / "whole").wait(timeout=300) == 0
    killed = tmp_path / "killed"
    for seen in ("windows", "ends.i64", "repeated", "spans.i64", "passages.i64", "passages"):
        run = start(documents, killed)
        deadline = time.monotonic() + 300
        while not (killed / "scratch" / seen).exists() and run.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        run.send_signal(signal.SIGKILL)
        run.wait(timeout=60)
        (killed / "manifest.json").unlink(missing_ok=True)  # it was faster than the kill
    assert start(documents, killed).wait(timeout=300) == 0
    assert content(killed) == content(tmp_path / "whole")
    assert not (killed / "scratch").exists()
