"""What Parsl runs, wherever it runs: one stage's command as a process of its own, its output in a log file."""

import os
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stages.base import HALVINGS, RANK_VARIABLES
from workflows.failures.record import Failure, halvings, read

TAIL_BYTES = 4000
NOT_FOUND = 127
WATCH = 'trap "" TERM; read -r _; kill -TERM 0; sleep 10; kill -KILL 0'  # the pipe has ended: so has who held it


class StageFailed(Exception):  # noqa: N818 - the design's name
    """A stage's process ended with an error. `code` is a shell's: 137 for a kill; `failure` says of which class it is."""

    def __init__(self, name: str, code: int, log: str, tail: str) -> None:
        super().__init__(name, code, log, tail)
        self.name, self.code, self.log, self.tail = name, code, log, tail
        self.failure: Failure | None = None

    def __str__(self) -> str:
        cause = self.failure or (self.tail.strip().splitlines() or ["no output"])[-1]
        return f"{self.name} failed (exit {self.code}): {cause}"


def launch(name: str, command: list[str], log: str, folder: str, inputs: Sequence[object] = ()) -> int:  # noqa: ARG001 - Parsl waits for `inputs`
    """Run `command` in `folder`; `StageFailed` unless it ends with 0. Runs again append to the log."""
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    before = [failure for failure in read(Path(log).parent) if failure.task == name]
    _wait(before)
    # The worker itself was started by a launcher; its rank is not the stage's, whose own launch line gives ranks anew.
    env = {name: value for name, value in os.environ.items() if name not in RANK_VARIABLES}
    env |= {"BOREALIS_PARENT": str(os.getpid()), "PYTHONUNBUFFERED": "1", HALVINGS: str(halvings(before))}
    with Path(log).open("ab") as output:
        os.utime(log)  # opening to append does not touch the time by which a watcher sees that this began
        start = output.tell()
        try:
            code = _run(command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        except FileNotFoundError as error:
            raise StageFailed(name, NOT_FOUND, log, f"no such command: {error.filename}") from None
    if code:
        raise StageFailed(name, code, log, tail(Path(log), start))
    return code


def _run(command: Sequence[str], **options: Any) -> int:
    """A command's exit code, a shell's. If this process dies, however, the command ends too, in a container as well.

    A process that was started before waits on a pipe that only this one holds open, and then ends its own process group, which
    the command is in. A death signal (prctl) would not do: it is lost where a container runtime changes its credentials.
    """
    watch = ["sh", "-c", WATCH]
    with subprocess.Popen(watch, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, process_group=0) as watcher:
        try:
            with subprocess.Popen(command, process_group=watcher.pid, **options) as process:
                code = process.wait()
        finally:
            watcher.kill()
    return code if code >= 0 else 128 - code


def _wait(before: Sequence[Failure]) -> None:
    """Give what failed for a moment the time to come back."""
    if before and before[-1].wait_seconds:
        waited = (datetime.now(UTC) - datetime.fromisoformat(before[-1].time)).total_seconds()
        time.sleep(max(0.0, before[-1].wait_seconds - waited))


def tail(log: Path, start: int = 0) -> str:
    """The end of a log, of what was written after `start` bytes."""
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors="replace")
