"""A line a failure, in `log/failures.jsonl` of the stage's folder: class, why, and what was done.

The runner alone writes it; the next attempt, `parsl status` and the report read it.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from schemas.manifest import Frozen

Kind = Literal[
    "node-lost", "out-of-memory", "walltime", "bad-row", "contract", "code", "transient-io", "disk-full", "settings"
]
Deed = Literal["resubmitted", "halved", "quarantined", "stopped"]

FILE = "failures.jsonl"


class Failure(Frozen):
    """One failed attempt at a task."""

    task: str
    attempt: int  # from 1, of this run
    kind: Kind
    why: str
    deed: Deed
    did: str  # in words
    code: int | None  # a shell's exit code, where the stage's process ended
    reached: int  # units of the stage's own progress
    time: str
    wait_seconds: float = 0.0  # before the next attempt
    log: str = ""
    row: str = ""  # of a bad row

    def __str__(self) -> str:
        return f"{self.kind.replace('-', ' ')}: {self.why}; {self.did}"


def append(folder: Path, failure: Failure) -> None:
    """Add a line to a stage's log folder, which need not be there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("a", encoding="utf-8") as file:
        file.write(failure.model_dump_json() + "\n")
        file.flush()
        os.fsync(file.fileno())


def read(folder: Path) -> list[Failure]:
    """All failures of a stage, oldest first; a line that was cut short is left out."""
    try:
        lines = (folder / FILE).read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return []
    return [failure for line in lines if (failure := _parse(line)) is not None]


def standing(folder: Path) -> Failure | None:
    """The failure for which a stage was given up last, unless it was started again since."""
    stopped = [failure for failure in read(folder) if failure.deed == "stopped"]
    if not stopped:
        return None
    log = folder / Path(stopped[-1].log).name  # the folder may have moved
    began_since = log.is_file() and log.stat().st_mtime_ns > (folder / FILE).stat().st_mtime_ns
    return None if began_since else stopped[-1]


def _parse(line: str) -> Failure | None:
    try:
        return Failure.model_validate_json(line)
    except ValidationError:
        return None


def halvings(failures: Sequence[Failure]) -> int:
    """How often a task has met the end of memory and was given half."""
    return sum(f.deed == "halved" for f in failures)
