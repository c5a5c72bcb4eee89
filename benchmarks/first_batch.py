"""The first batch of a virtual order, in a process of its own: `python -m benchmarks.first_batch TABLE` prints JSON.

From a table of token files to 512 x 4,097 tokens in memory: opens all files, weighs sources by size, fixes the order of
a run over all tokens once, and reads the first batch. `make_files` writes such a table without its bytes: the files are
holes of the right size behind their headers, so 4 TB of tokens take no room, and are read as zeros.
"""

import json
import re
import sys
import time
from pathlib import Path

from schemas.table import BlobRef
from schemas.tokens import TokenShard
from stages.stream.corpus import open_corpus
from stages.stream.loader import Loader, Shape
from stages.stream.megatron import CODES, HEADER, MAGIC
from stages.stream.mixture import plan, weights_by_size
from stages.stream.virtual import Contiguous, VirtualOrder
from stages.tables import Reader
from tests.tables import write_table

SHAPE = Shape(sequence_tokens=4096, batch_sequences=512, eod_id=0)
TOKENS_A_DOCUMENT = 1000


def make_files(folder: Path, num_files: int, num_tokens: int) -> Path:
    """A table of sources of one file each, together of about `num_tokens`."""
    folder.mkdir(parents=True)
    return write_table(
        folder, TokenShard, [_hole(folder, n, num_tokens // num_files) for n in range(num_files)], "tokens"
    )


def _hole(folder: Path, number: int, num_tokens: int) -> TokenShard:
    num_documents = -(-num_tokens // TOKENS_A_DOCUMENT)
    header = HEADER.pack(MAGIC, 1, CODES["uint16"], num_documents, num_documents + 1)
    blobs = []
    sizes = {"bin": 2 * num_tokens, "idx": HEADER.size + 12 * num_documents + 8 * (num_documents + 1)}
    for suffix, size in sizes.items():
        file = folder / f"{number:05d}.{suffix}"
        with file.open("wb") as stream:
            stream.write(header if suffix == "idx" else b"")
            stream.truncate(size)
        blobs.append(BlobRef(path=file.name, size_bytes=size, sha256="0" * 64))
    return TokenShard(
        split="train",
        source=f"{number:05d}",
        bin=blobs[0],
        idx=blobs[1],
        dtype="uint16",
        num_tokens=num_tokens,
        num_documents=num_documents,
        tokenizer_sha256="0" * 64,
    )


def first_batch(table: Path) -> dict[str, float]:
    """Seconds and megabytes (peak, of the whole process) from the table to the first batch."""
    started = time.perf_counter()
    datasets = open_corpus(Reader(table, TokenShard), "train")
    sizes = {d.source: len(d) for d in datasets}
    num_steps = max(1, sum(sizes.values()) // (SHAPE.sequence_tokens * SHAPE.batch_sequences))
    phases = plan([(1.0, weights_by_size(sizes))], list(sizes), num_steps)
    packings = [Contiguous(source, size, SHAPE.sequence_tokens) for source, size in sizes.items()]
    order = VirtualOrder(packings, phases, SHAPE.batch_sequences, seed=1234)
    batch = Loader(datasets, order, SHAPE).batch(1)
    seconds = time.perf_counter() - started
    assert batch.tokens_BT.shape == (SHAPE.batch_sequences, SHAPE.sequence_tokens + 1)
    (peak,) = re.findall(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return {"seconds": seconds, "megabytes": int(peak) / 1024}  # getrusage would count what the parent had before


if __name__ == "__main__":
    print(json.dumps(first_batch(Path(sys.argv[1]))))
