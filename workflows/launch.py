"""What Parsl runs, wherever it runs: one stage's command as a process of its own, its output in a log file."""

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from stages.base import RANK_VARIABLES

TAIL_BYTES = 4000
KILLED = (128 + signal.SIGKILL, 128 + signal.SIGTERM)


class StageFailed(Exception):  # noqa: N818 - the design's name
    """A stage's process ended with an error. `code` is a shell's: 137 for a kill."""

    def __init__(self, name: str, code: int, log: str, tail: str) -> None:
        super().__init__(name, code, log, tail)
        self.name, self.code, self.log, self.tail = name, code, log, tail

    def __str__(self) -> str:
        cause = self.tail.strip().splitlines()
        return f"{self.name} failed (exit {self.code}): {cause[-1] if cause else 'no output'}"


def launch(name: str, command: list[str], log: str, folder: str, inputs: Sequence[object] = ()) -> int:  # noqa: ARG001 - Parsl waits for `inputs`
    """Run `command` in `folder`; `StageFailed` unless it ends with 0. Runs again append to the log."""
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    # The worker itself was started by a launcher; its rank is not the stage's, whose own launch line gives ranks anew.
    env = {name: value for name, value in os.environ.items() if name not in RANK_VARIABLES}
    env |= {"BOREALIS_PARENT": str(os.getpid()), "PYTHONUNBUFFERED": "1"}
    with Path(log).open("ab") as output:
        os.utime(log)  # opening to append does not touch the time by which a watcher sees that this began
        process = subprocess.run(
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
        )
    code = process.returncode if process.returncode >= 0 else 128 - process.returncode
    if code:
        raise StageFailed(name, code, log, tail(Path(log)))
    return code


def tail(log: Path) -> str:
    """The end of a log."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors="replace")
