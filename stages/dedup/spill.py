"""Sorting more records than memory holds.

Records go into files by the high bits of their first column, each file is sorted alone, and the files are in order. The first column must be spread evenly over `[0, 2**bits)`, as hashes and row numbers are. Then a file holds about
`FILE_RECORDS` records, however many there are in all, and the cost is linear. Past `MAX_FILES` files become longer.
"""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]

FILE_RECORDS = 1 << 18  # of two columns: 4 MiB, and three times as much again while they are sorted
MAX_FILES = 4096
WAITING_RECORDS = 1 << 18  # are put into files at a time, so that a file is opened seldom


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """A folder in a stage's output for what is needed until the work is done."""
    found = folder / "scratch"
    shutil.rmtree(found, ignore_errors=True)  # of a run that was killed
    found.mkdir()
    yield found
    shutil.rmtree(found)


class Spill:
    """Records of `columns` unsigned 64-bit numbers, written in any order, read back sorted."""

    def __init__(self, folder: Path, columns: int, num_records: int, bits: int = 64) -> None:
        folder.mkdir(parents=True)
        self.folder, self.columns, self.num_records = folder, columns, 0
        file_bits = min(bits, (num_records // FILE_RECORDS).bit_length(), MAX_FILES.bit_length() - 1)
        self._waiting: list[U64] = []
        self.bits_in_file = bits - file_bits  # in which the first columns of a file's records differ
        self._num_files, self._shift = 1 << file_bits, np.uint64(self.bits_in_file)

    def add(self, records: U64) -> None:
        """Write records (n, columns)."""
        self.num_records += len(records)
        self._waiting.append(records)
        if sum(map(len, self._waiting)) >= WAITING_RECORDS:
            self._write()

    def sorted(self, workers: int = 1) -> Iterator[U64]:
        """Blocks (m, columns) in ascending order of all columns; equal first columns lie in the same block."""
        files = self.files()
        with ThreadPoolExecutor(workers) as pool:
            for first in range(0, len(files), workers):
                yield from pool.map(self._sorted, files[first : first + workers])

    def files(self) -> list[Path]:
        """The files, by their records' high bits; the records of a file lie in the order in which they were added."""
        self._write()
        return sorted(self.folder.iterdir())

    def _write(self) -> None:
        records, self._waiting = np.concatenate([np.zeros((0, self.columns), np.uint64), *self._waiting]), []
        if self._num_files == 1:
            self._append(0, records)
            return
        files = (records[:, 0] >> self._shift).astype(np.uint16)  # numbers of two bytes are sorted by counting
        order = np.argsort(files, kind="stable")
        ends = np.cumsum(np.bincount(files, minlength=self._num_files)).tolist()
        for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
            if start < end:
                self._append(number, records[order[start:end]])

    def _append(self, number: int, records: U64) -> None:
        with (self.folder / f"{number:06d}").open("ab") as file:
            file.write(np.ascontiguousarray(records).tobytes())

    def _sorted(self, file: Path) -> U64:
        records = np.fromfile(file, np.uint64).reshape(-1, self.columns)
        ordered: U64 = records[np.lexsort(records.T[::-1])]
        return ordered
