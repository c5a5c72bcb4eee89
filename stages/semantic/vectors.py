"""Embeddings on disk: a file of float16 that is mapped, read in blocks as float32 of unit length."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.table import ContractError
from stages.tables import Reader

Unit = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
STORED = np.dtype("<f2")
BLOCK = 4096  # vectors in memory at a time, a thread


class Vectors:
    """Vectors (n, width) in a file; one of zeros stands for a document that has none."""

    def __init__(self, file: Path, width: int) -> None:
        self.width = width
        self._all: npt.NDArray[np.float16] = np.memmap(file, STORED, "r").reshape(-1, width)

    def __len__(self) -> int:
        return len(self._all)

    def unit(self, rows: slice | Rows) -> Unit:
        """These vectors as float32 of length 1; zeros stay zeros."""
        found = self._all[rows].astype(np.float32)
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        unit: Unit = np.divide(found, lengths, out=found, where=lengths > 0)
        return unit

    def cosines(self, rows: Rows, others: Rows) -> npt.NDArray[np.float64]:
        """The cosine of each of `rows` with the one of `others` beside it, in float64."""
        found = np.empty(len(rows))
        for start, stop in blocks(0, len(rows)):
            one, other = (self._all[r[start:stop]].astype(np.float64) for r in (rows, others))
            lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
            found[start:stop] = np.minimum(1, (one * other).sum(axis=1) / np.maximum(lengths, 1e-300))
        return found

    def taken(self, rows: Rows, file: Path) -> "Vectors":
        """A file of these rows, in this order."""
        with file.open("wb") as out:
            for start, stop in blocks(0, len(rows)):
                out.write(self._all[rows[start:stop]].tobytes())
        return Vectors(file, self.width)


def blocks(start: int, stop: int, size: int = BLOCK) -> Iterator[tuple[int, int]]:
    """The ends of consecutive ranges of at most `size`."""
    return pairwise([*range(start, stop, size), stop])


def write_vectors(documents: Reader, embeddings: Reader, file: Path) -> Vectors | None:
    """Copy the embeddings to a file; None if no document has one. `ContractError` unless they are these documents'."""
    _check_ids(documents, embeddings)
    width = _width(embeddings)
    if not width:
        return None
    with file.open("wb") as out:
        for batch in embeddings.batches(["vector"]):
            vectors = pc.if_else(pc.equal(pc.binary_length(batch["vector"]), 0), bytes(width), batch["vector"])
            out.write(b"".join(vectors.to_pylist()))
    found = Vectors(file, width // STORED.itemsize)
    bad = sum(int((~np.isfinite(found.unit(slice(*ends)))).any(axis=1).sum()) for ends in blocks(0, len(found)))
    if bad:
        raise ContractError("embeddings", [f"{bad} of {len(found)} vectors have numbers that are not finite"])
    return found


def _width(embeddings: Reader) -> int:
    """Bytes of a vector; 0 if all are empty."""
    found: set[int] = set()
    for batch in embeddings.batches(["vector"]):
        found.update(pc.unique(pc.binary_length(batch["vector"])).to_pylist())
    found.discard(0)
    if len(found) > 1 or any(size % STORED.itemsize for size in found):
        sizes = ", ".join(str(size / STORED.itemsize).removesuffix(".0") for size in sorted(found))
        raise ContractError("embeddings", [f"vectors of {sizes} numbers, expected one width: run embed again"])
    return max(found, default=0)


def _check_ids(documents: Reader, embeddings: Reader) -> None:
    problem = f"{embeddings.num_rows} rows for {documents.num_rows} documents"
    if embeddings.num_rows == documents.num_rows:
        pairs = zip(_ids(documents), _ids(embeddings), strict=True)
        unlike = next((row for row, (a, b) in enumerate(pairs) if a != b), None)
        problem = "" if unlike is None else f"row {unlike} is about another document"
    if problem:
        raise ContractError("embeddings", [problem, "they must be made from the same documents: run embed again"])


def _ids(reader: Reader) -> Iterator[pa.Scalar]:
    for batch in reader.batches(["doc_id"]):
        yield from batch["doc_id"]
