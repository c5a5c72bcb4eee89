"""Record batches of documents to record batches of sketches, on threads: the compiled passes hold no lock of Python's."""

import hashlib
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas import corpus
from schemas.table import ContractError
from stages.base import num_workers
from stages.sketch import Sketch
from stages.sketch.fold import Folded, Offsets, fold
from stages.sketch.kernel import Hashes
from stages.sketch.minhash import MinHash
from stages.sketch.quality import quality
from stages.sketch.works import names
from stages.tables import Outputs, Reader

COLUMNS = ("doc_id", "text", "pages", "path", "licence", "title", "doi")
PIECE_BYTES = 4 << 20  # of text that a thread takes at a time; a longer text is a piece alone


def sketch(stage: Sketch, documents: Reader, outputs: Outputs) -> None:
    """Do the stage's work; see `Sketch`."""
    minhash = MinHash(stage.num_bands, stage.rows_per_band, stage.seed, stage.ngram_words)
    outputs.progress.start("documents", documents.num_rows)
    for rows in sketches(minhash, documents.batches(COLUMNS), num_workers()):
        outputs["sketches"].write(rows)
        outputs.progress.advance(rows.num_rows)


def sketches(minhash: MinHash, batches: Iterable[pa.RecordBatch], workers: int) -> Iterator[pa.RecordBatch]:
    """The sketches of all rows, in order; at most two pieces a worker are in memory."""
    waiting: deque[Future[pa.RecordBatch]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for piece in (piece for batch in batches for piece in pieces(batch)):
            waiting.append(pool.submit(sketch_rows, minhash, piece))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Cut a batch where its texts add up to `PIECE_BYTES`."""
    ends = np.cumsum(pc.binary_length(batch["text"]).to_numpy(zero_copy_only=False))
    start = 0
    while start < batch.num_rows:
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + PIECE_BYTES, "right")))
        yield batch.slice(start, stop - start)
        start = stop


def sketch_rows(minhash: MinHash, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The sketch of each row; `ContractError` names the rows whose text is not UTF-8."""
    check_utf8(batch)
    folded = fold(batch["text"])
    keys, num_shingles = minhash.sketch(folded)
    num_characters = pc.utf8_length(batch["text"]).cast(pa.int64())
    columns = {
        "doc_id": batch["doc_id"],
        "content_sha": pa.array(digests(folded)),
        "works": pa.array(names(batch), pa.list_(pa.field("item", pa.string(), nullable=False))),
        "num_shingles": pa.array(num_shingles.astype(np.int32)),
        "num_characters": num_characters,
        "band_keys": key_bytes(keys, num_shingles),
        "quality": quality(batch["pages"], num_characters.to_numpy(), folded.unreadable),
        "licence": batch["licence"],
        "path": batch["path"],
    }
    return pa.record_batch(list(columns.values()), schema=corpus.Sketch.arrow_schema())


def check_utf8(batch: pa.RecordBatch) -> None:
    """Raise `ContractError` if a text is not UTF-8, which compiled code takes for granted."""
    try:
        batch["text"].validate(full=True)
    except pa.ArrowInvalid:
        bad = [row for row in range(batch.num_rows) if not _is_utf8(batch["text"][row].as_buffer().to_pybytes())]
        problems = [f"document {batch['doc_id'][row]} ({batch['path'][row]}): its text is not UTF-8" for row in bad]
        raise ContractError("documents", [*problems, "decode them before they become a table"]) from None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def digests(folded: Folded) -> list[str]:
    """BLAKE2b of each normalized text, 128 bits: enough to tell 10**15 texts apart."""
    data, ends = folded.data.data, folded.offsets.tolist()
    return [hashlib.blake2b(data[a:b], digest_size=16).hexdigest() for a, b in itertools.pairwise(ends)]


def key_bytes(keys: Hashes, num_shingles: Offsets) -> pa.Array:
    """Each row's keys as little-endian bytes; none for a text without n-grams."""
    has = num_shingles > 0
    offsets = np.cumsum([0, *(has * 8 * keys.shape[1])]).astype(np.int32)
    data = keys[has].astype("<u8", copy=False).tobytes()
    return pa.BinaryArray.from_buffers(pa.binary(), len(keys), [None, pa.py_buffer(offsets), pa.py_buffer(data)])
