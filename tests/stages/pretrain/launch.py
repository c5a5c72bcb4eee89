"""Pretraining as processes of their own, to be killed or joined."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

SECONDS = 300  # that a run may take on a busy machine


def launch(root: Path, arguments: list[str], *launcher: str) -> subprocess.Popen[str]:
    """Start `python -m stages.pretrain` in a group of its own."""
    command = [*launcher, sys.executable, "-m", "stages.pretrain", *arguments]
    environ = {**os.environ, "BOREALIS_WORKERS": "1", "OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=root, env=environ, start_new_session=True, **pipes)


def kill_when(process: subprocess.Popen[str], reached: Callable[[], bool]) -> None:
    """SIGKILL the process as soon as `reached`; it must not have ended by itself before."""
    deadline = time.monotonic() + SECONDS
    while not reached():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def rows(out: Path, table: str, *without: str) -> list[dict[str, Any]]:
    """An output's rows, less the columns that are times."""
    found: list[dict[str, Any]] = pq.read_table(out / table).drop_columns(list(without)).to_pylist()
    return found


def torchrun(num_ranks: int) -> list[str]:
    """What starts so many ranks on this machine."""
    command = str(Path(sys.executable).with_name("torchrun"))
    return [command, "--standalone", f"--nproc-per-node={num_ranks}", "--no-python"]
