"""Sorting more records than memory holds.

Records are put in order of their first column's high bits, a run of `RUN_RECORDS` at a time, and each run is appended to
one file; beside it lies where each part begins in each run. A part (all records of the same high bits) is read from the
runs one after the other and sorted alone, and the parts are in order: a sort-merge shuffle, with large sequential writes
and few open files however many records there are. The first column must be spread evenly over `[0, 2**bits)`, as hashes
and row numbers are. Then a part holds about `PART_RECORDS` records, and the cost is linear. Past `MAX_PARTS` parts become
longer.
"""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stages.compiled import compiled

U64 = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]

PART_RECORDS = 1 << 19  # of two columns: 8 MiB, and three times as much again while they are sorted
MAX_PARTS = 4096
RUN_RECORDS = 1 << 18  # of two columns: 4 MiB, and as much again while they are put in order


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """A folder in a stage's output for what is needed until the work is done."""
    found = folder / "scratch"
    shutil.rmtree(found, ignore_errors=True)  # of a run that was killed
    found.mkdir()
    try:
        yield found
    finally:  # also where the disk is full, so that what comes next has room
        shutil.rmtree(found)


class Spill:
    """Records of `columns` unsigned 64-bit numbers in `file`, written in any order, read back sorted.

    `num_records` is about how many will come, `bits` in how many the first column's values differ.
    """

    def __init__(self, file: Path, columns: int, num_records: int, bits: int = 64) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        part_bits = min(bits, (num_records // PART_RECORDS).bit_length(), MAX_PARTS.bit_length() - 1)
        self.file, self.columns, self.num_records = file, columns, 0
        self.num_parts, self.bits_in_part = 1 << part_bits, bits - part_bits
        self._waiting, self._num_waiting = np.empty((RUN_RECORDS, columns), np.uint64), 0
        self._index = file.with_name(f"{file.name}.ends")
        file.write_bytes(b"")
        self._index.write_bytes(b"")

    def add(self, records: U64) -> None:
        """Put in records (n, columns)."""
        for first in range(0, len(records), RUN_RECORDS):
            piece = records[first : first + RUN_RECORDS]
            self.room(len(piece))[:] = piece

    def room(self, num_records: int) -> U64:
        """A place (n, columns), n at most `RUN_RECORDS`, to be filled with the next records before anything else is done."""
        if self._num_waiting + num_records > RUN_RECORDS:
            self._write_run()
        first, self._num_waiting = self._num_waiting, self._num_waiting + num_records
        self.num_records += num_records
        return self._waiting[first : self._num_waiting]

    def parts(self) -> list["Part"]:
        """The parts that are not empty, by their records' high bits; the records of a part lie in the order in which they were put in."""
        self._write_run()
        self._waiting = self._waiting[:0].copy()  # lets go of the memory
        sizes = np.zeros(self.num_parts, np.int64)
        for ends in self._ends():
            sizes += np.diff(ends.astype(np.int64))
        return [Part(self, number, int(size)) for number, size in enumerate(sizes) if size]

    def sorted(self, workers: int = 1) -> Iterator[U64]:
        """Blocks (m, columns) in ascending order of all columns; equal first columns lie in the same block."""
        parts = self.parts()
        with ThreadPoolExecutor(workers) as pool:
            for first in range(0, len(parts), workers):
                yield from pool.map(_sorted, parts[first : first + workers])

    def remove(self) -> None:
        """Give back the disk."""
        self.file.unlink()
        self._index.unlink()

    def segments(self, number: int) -> tuple[Places, Places]:
        """Where a part begins and ends in each run, as records of the file."""
        ends = self._ends()
        starts: Places = np.cumsum(ends[:, -1], dtype=np.int64) - ends[:, -1]
        return starts + ends[:, number], starts + ends[:, number + 1]

    def _ends(self) -> npt.NDArray[np.uint32]:
        """Where each part ends in each run, beside where the first begins: (runs, parts + 1)."""
        empty = not self._index.stat().st_size
        ends = np.zeros(0, np.uint32) if empty else np.memmap(self._index, np.uint32, "r")
        return ends.reshape(-1, self.num_parts + 1)

    def _write_run(self) -> None:
        run, self._num_waiting = self._waiting[: self._num_waiting], 0
        if not len(run):
            return
        ends = np.zeros(self.num_parts + 1, np.uint32)
        ends[-1] = len(run)
        if self.num_parts > 1:
            run = _in_order(run, np.uint64(self.bits_in_part), ends[1:])
        with self.file.open("ab") as file, self._index.open("ab") as index:
            file.write(run.data)
            index.write(ends.data)


class Part:
    """The records of a spill that have the same high bits."""

    def __init__(self, spill: Spill, number: int, num_records: int) -> None:
        self.spill, self.number, self.num_records = spill, number, num_records

    def read(self) -> U64:
        """All records (n, columns)."""
        return self._read(*self.spill.segments(self.number))

    def blocks(self) -> Iterator[U64]:
        """The records, about `PART_RECORDS` at a time."""
        starts, ends = self.spill.segments(self.number)
        block = np.cumsum(ends - starts) // PART_RECORDS
        for number in np.unique(block):
            yield from self._pieces(starts[block == number], ends[block == number])

    def _pieces(self, starts: Places, ends: Places) -> Iterator[U64]:
        records = self._read(starts, ends)
        yield from (records[first : first + PART_RECORDS] for first in range(0, len(records), PART_RECORDS))

    def _read(self, starts: Places, ends: Places) -> U64:
        width = self.spill.columns
        records, done = np.empty((int((ends - starts).sum()), width), np.uint64), 0
        file = os.open(self.spill.file, os.O_RDONLY)
        try:
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
                piece = records[done : done + end - start]
                if len(piece) and os.preadv(file, [piece.data], 8 * width * start) != piece.nbytes:
                    raise OSError(f"{self.spill.file} was cut short while it was in use")
                done += len(piece)
        finally:
            os.close(file)
        return records


def _sorted(part: Part) -> U64:
    """The part's records in the order of all columns: by the first, then those that are equal in it by the others."""
    records = part.read()
    ordered: U64 = records[np.argsort(records[:, 0])]
    equal = ordered[1:, 0] == ordered[:-1, 0]
    again = np.flatnonzero(np.append(equal, False) | np.append(False, equal))
    ties = ordered[again]
    ordered[again] = ties[np.lexsort(ties.T[::-1])]
    return ordered


@compiled
def _in_order(records: U64, shift: np.uint64, ends: npt.NDArray[np.uint32]) -> U64:
    """The records in the order of their parts, `first column >> shift`; `ends` is filled with where each part ends."""
    places, ordered = np.zeros(ends.size + 1, np.int64), np.empty_like(records)
    for i in range(len(records)):
        places[np.int64(records[i, 0] >> shift) + 1] += 1
    for number in range(ends.size):
        places[number + 1] += places[number]
        ends[number] = places[number + 1]
    for i in range(len(records)):
        part = np.int64(records[i, 0] >> shift)
        ordered[places[part]] = records[i]
        places[part] += 1
    return ordered
