"""The index of a run of dedup after documents have gone from its inputs: key files lose their entries and count anew.

The Bloom filter keeps its bits: a filter cannot give up a key, it holds nothing of a text, and a false flag costs a look
into the key file.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from schemas.corpus import DedupFile
from schemas.table import BlobRef, sha256_file
from stages.dedup.keys import open_keys, write_keys

Rows = npt.NDArray[np.uint64]
BLOCK_ENTRIES = 1 << 20


def renumber(output: Path, rows: Iterable[DedupFile], gone: Rows, sha256: Mapping[str, str]) -> list[DedupFile]:
    """Rewrite the key files of an output whose inputs have lost these ascending rows; the rows of its `index` now.

    `sha256` are the digests of the files as they were: one that has another was rewritten before.
    """
    files = []
    for row in rows:
        if row.folder == "." and row.kind != "filters":
            file = output / row.blob.path
            if sha256_file(file) == sha256[str(file)]:
                _rewrite(file, gone)
            changes = {"num_entries": open_keys(file).shape[1], "blob": BlobRef.of(file, output)}
            files.append(row.model_copy(update=changes))
        else:
            files.append(row)
    return files


def _rewrite(file: Path, gone: Rows) -> None:
    keys = open_keys(file)
    stay = sum(len(block) for block in _blocks(keys, gone))
    temporary = file.with_suffix(".tmp")
    write_keys(temporary, _blocks(keys, gone), len(keys), stay)
    temporary.replace(file)


def _blocks(keys: Rows, gone: Rows) -> Iterator[Rows]:
    for start in range(0, keys.shape[1], BLOCK_ENTRIES):
        block = np.array(keys[:, start : start + BLOCK_ENTRIES]).T
        block = block[~np.isin(block[:, -1], gone)]
        block[:, -1] -= np.searchsorted(gone, block[:, -1]).astype(np.uint64)
        yield block
