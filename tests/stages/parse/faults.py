"""Work that hangs, crashes, runs out of memory or starts programs: what a pool must survive. Workers import it."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.parse.pool import At


@dataclass(frozen=True)
class Fault:
    """Begin some pages, then do something."""

    kind: str
    number: int = 0
    file: str = ""


def work(task: Fault) -> Iterator[Any]:  # noqa: C901 - one case for each fault
    """Do what the task says."""
    yield At(1)
    yield At(2)
    match task.kind:
        case "answer":
            yield f"answer {task.number}"
        case "pid":
            yield os.getpid()
        case "hang":
            time.sleep(60)
        case "slow pages":
            for page in range(3, 100):
                time.sleep(0.2)
                yield At(page)
        case "memory":
            yield len(bytearray(8 << 30))
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(7)
        case "error":
            raise ValueError("bad bytes")
        case "child":
            child = subprocess.Popen(["sleep", "60"])
            Path(task.file).write_text(str(child.pid))
            time.sleep(60)
        case "crash once":
            if not Path(task.file).exists():
                Path(task.file).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield "second try"
