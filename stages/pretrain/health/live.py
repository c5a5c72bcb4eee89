"""Rows that can be read while training runs: a folder of Parquet parts a table, each there whole or not at all.

    SELECT step, loss FROM 'live/steps/*.parquet' ORDER BY step

A part holds the rows since the part before it, is written under another name and renamed. What is read is what the run has
done so far: after a resume or a rollback the parts are written anew, from the rows that the run goes on from.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from schemas.table import Row

FLUSH_SECONDS = 10.0


class Live:
    """The tables of a run in progress, by name. `tables` are the run's own lists of rows, which only grow."""

    def __init__(self, folder: Path, tables: Mapping[str, tuple[type[Row], Sequence[Row]]]) -> None:
        self.folder, self.tables = folder, tables
        self._written = dict.fromkeys(tables, 0)
        self._parts = 0
        self._at = time.monotonic()
        shutil.rmtree(folder, ignore_errors=True)
        self.flush()

    def due(self) -> bool:
        """Whether readers have waited long enough."""
        return time.monotonic() - self._at >= FLUSH_SECONDS

    def flush(self) -> None:
        """Write what has been added."""
        self._at = time.monotonic()
        for name, (row, rows) in self.tables.items():
            if len(rows) > self._written[name]:
                self._write(self.folder / name, row, rows[self._written[name] :])
                self._written[name] = len(rows)
        self._parts += 1

    def _write(self, folder: Path, row: type[Row], rows: Sequence[Row]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / ".part.tmp"
        pq.write_table(row.table(rows), temporary)
        temporary.replace(folder / f"part-{self._parts:06d}.parquet")
