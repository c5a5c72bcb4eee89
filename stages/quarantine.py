"""Rows that crashed a stage: the mark by which a crash has a name, and the list of those that are left out.

A crash in compiled code (a signal, not an exception) takes the process with it, so the stage says beforehand which row it
begins, in memory that the kernel keeps. The runner reads the mark, and lists a row that crashed the stage twice.
"""

import json
import mmap
from collections.abc import Mapping
from pathlib import Path

from schemas.manifest import write_atomic

MARK_BYTES = 256
FILE = "quarantine.json"
REASON = "crashed the stage"


class Mark:
    """A file that holds the identifier of the row that a shard is at; a change costs no system call."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._map: mmap.mmap | None = None
        file.unlink(missing_ok=True)  # of an earlier attempt

    def set(self, row_id: str) -> None:
        """From here on it is this row."""
        if self._map is None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_bytes(bytes(MARK_BYTES))
            with self._file.open("r+b") as opened:
                self._map = mmap.mmap(opened.fileno(), MARK_BYTES)
        self._map[:] = row_id.encode()[:MARK_BYTES].ljust(MARK_BYTES, b"\0")


def marked(file: Path) -> str:
    """The row that a shard was at; "" if its stage sets no marks."""
    try:
        return file.read_bytes().rstrip(b"\0").decode(errors="replace")
    except FileNotFoundError:
        return ""


def read_quarantine(folder: Path) -> Mapping[str, str]:
    """The rows that a stage leaves out, each with the words on its crash."""
    file = folder / FILE
    return dict(json.loads(file.read_text())) if file.is_file() else {}


def add(folder: Path, row_id: str, why: str) -> None:
    """Leave a row out from the next attempt on."""
    write_atomic(folder / FILE, json.dumps({**read_quarantine(folder), row_id: why}, indent=1))
