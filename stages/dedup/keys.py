"""Key files: sorted columns of 64-bit numbers on disk, a NumPy file (columns, entries) that readers map.

The first column or two are a key, the last is a row number. A reader touches the pages that its binary search comes by
and no others, so asking an old corpus costs by the question, not by the corpus.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from schemas.table import ContractError
from stages.dedup.spill import U64


class KeyFile:
    """A key file that is being written, block by sorted block."""

    def __init__(self, path: Path, columns: int, num_entries: int) -> None:
        self.path, self._done = path, 0
        self._column_bytes = 8 * num_entries
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            npy.write_array_header_1_0(file, {"descr": "<u8", "fortran_order": False, "shape": (columns, num_entries)})
            self._start = file.tell()
            file.truncate(self._start + columns * self._column_bytes)

    def append(self, block: U64) -> None:
        """Write entries (n, columns) that follow those before."""
        with self.path.open("r+b") as file:
            for number, column in enumerate(block.T):
                file.seek(self._start + number * self._column_bytes + 8 * self._done)
                file.write(np.ascontiguousarray(column, "<u8").tobytes())
        self._done += len(block)


def write_keys(path: Path, blocks: Iterable[U64], columns: int, num_entries: int) -> None:
    """Write a whole key file."""
    file = KeyFile(path, columns, num_entries)
    for block in blocks:
        file.append(block)


def open_keys(path: Path) -> U64:
    """Map a key file (columns, entries); `ContractError` if it is not one."""
    try:
        keys = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ContractError(str(path), [f"not a whole key file: {error}", "run dedup again for that corpus"]) from None
    if keys.ndim != 2 or keys.dtype != np.dtype("<u8"):
        raise ContractError(str(path), [f"not a key file: {keys.dtype} {keys.shape}"])
    mapped: U64 = keys
    return mapped
