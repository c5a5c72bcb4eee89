"""Stay with a detached run: its log, a heartbeat, its exit code, and its end when a file `cancel` appears.

Being asked to stop, a run first gets an interrupt, on which Parsl gives back its jobs; then it is terminated, then killed.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from schemas.manifest import write_atomic
from stages.base import PACKAGE_ROOT
from workflows.remote.request import Start, read

BEAT_SECONDS = 1.0
# What is sent, and how long the run has until the next.
STEPS = ((signal.SIGINT, 60.0), (signal.SIGTERM, 15.0), (signal.SIGKILL, 15.0))


def supervise(folder: Path) -> int:
    """Run what the request in `folder` says until it ends; returns its exit code."""
    request = read(json.loads((folder / "request.json").read_text()))
    assert isinstance(request, Start)
    command = [sys.executable, "-m", "workflows", *request.words]
    environment = {**os.environ, **request.environment, "PYTHONUNBUFFERED": "1"}
    with (folder / "log.txt").open("ab") as log:
        child = subprocess.Popen(
            command,
            cwd=PACKAGE_ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        code = watch(child, folder)
    write_atomic(folder / "end.json", json.dumps({"code": code, "ended": time.time()}))
    return code


def watch(child: "subprocess.Popen[bytes]", folder: Path) -> int:
    """Beat until the child has ended; end it, ever harder, once it is to be cancelled."""
    steps = iter(STEPS)
    next_step: float | None = None
    while child.poll() is None:
        (folder / "beat").touch()
        if (folder / "cancel").exists() and (next_step is None or time.monotonic() > next_step):
            number, seconds = next(steps, STEPS[-1])
            os.killpg(child.pid, number)
            next_step = time.monotonic() + seconds
        time.sleep(BEAT_SECONDS)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    sys.exit(supervise(Path(sys.argv[1])))
