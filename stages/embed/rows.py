"""Record batches of documents to rows of embeddings, in order, on threads: torch and sockets hold no lock of Python's."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
import pyarrow as pa

from schemas.corpus import Embedding
from schemas.table import ContractError
from stages.base import num_workers
from stages.embed import Embed
from stages.embed.chunks import chunks
from stages.embed.sentence import SentenceModel, Vectors
from stages.embed.served import ServedModel
from stages.tables import Outputs, Reader

DOCUMENTS = 8  # that a thread takes at a time
STORED = np.dtype("<f2")


class Model(Protocol):
    """What turns texts into vectors of unit length."""

    def embed(self, documents: Sequence[Sequence[str]]) -> list[Vectors]:
        """The vectors of each document's chunks (chunks, width)."""


def embed(stage: Embed, documents: Reader, outputs: Outputs) -> None:
    """Do the stage's work; see `Embed`."""
    model = open_model(stage)
    outputs.progress.start("documents", documents.num_rows)
    width = 0
    for rows in embedded(stage, model, documents.batches(["doc_id", "text"], DOCUMENTS)):
        width = _same_width(rows, width)
        outputs["embeddings"].write(rows)
        outputs.progress.advance(rows.num_rows)


def open_model(stage: Embed) -> Model:
    """The model that the settings name."""
    if stage.endpoint:
        return ServedModel(stage.endpoint, stage.served_model)
    from stages.model.distributed import choose_device

    return SentenceModel(stage.model, "embed.model", choose_device(0))


def embedded(stage: Embed, model: Model, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The embeddings of all rows, in order; a few batches a worker are in memory."""
    waiting: deque[Future[pa.RecordBatch]] = deque()
    workers = num_workers()
    with ThreadPoolExecutor(workers) as pool:
        for batch in batches:
            waiting.append(pool.submit(_rows, stage, model, batch))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _rows(stage: Embed, model: Model, batch: pa.RecordBatch) -> pa.RecordBatch:
    cut = [chunks(text, stage.chunk_characters, stage.max_chunks) for text in batch["text"].to_pylist()]
    made = iter(model.embed([pieces for pieces in cut if pieces]))
    vectors = [mean(next(made)).astype(STORED).tobytes() if pieces else b"" for pieces in cut]
    columns = {
        "doc_id": batch["doc_id"],
        "num_chunks": pa.array([len(pieces) for pieces in cut], pa.int32()),
        "vector": pa.array(vectors, pa.binary()),
    }
    return pa.record_batch(list(columns.values()), schema=Embedding.arrow_schema())


def mean(vectors: Vectors) -> Vectors:
    """The mean of unit vectors, of unit length; the first where they cancel out."""
    total = vectors.sum(axis=0, dtype=np.float64)
    length = float(np.linalg.norm(total))
    unit: Vectors = (total / length if length > 1e-6 else vectors[0]).astype(np.float32)
    return unit


def _same_width(rows: pa.RecordBatch, width: int) -> int:
    found = {len(v) // STORED.itemsize for v in rows["vector"].to_pylist() if v} | ({width} if width else set())
    if len(found) > 1:
        raise ContractError("embeddings", [f"vectors of {sorted(found)} numbers: did the server change its model?"])
    return max(found, default=0)
