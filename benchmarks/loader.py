r"""Batches of tokens: samples a second and p99 latency, warm and cold, against three other loaders.

Goals: at least twice the samples a second, at most half the p99 latency. Every reading is a process of its own, ours and
the peer's in turn; a batch is 32 windows. The windows that ours, litdata and mosaicml-streaming read in an epoch are
compared as multisets (their orders differ). Megatron cuts its windows from shuffled documents; ours are compared with it
batch by batch in `order: megatron`.

litdata and mosaicml-streaming need other versions than ours of what they stand on, so they go into an environment that
sees this one, without their dependencies but those that reading tokens imports:

    python -m venv /tmp/peers
    echo "$PWD/.venv/lib/python3.11/site-packages" > /tmp/peers/lib/python3.11/site-packages/borealis.pth
    /tmp/peers/bin/pip install --no-deps litdata==0.2.76 mosaicml-streaming==0.13.0 lightning-utilities==0.15.3 \
        brotli==1.2.1 zstd==1.5.7.2 python-snappy==0.7.3 cramjam==2.14.0 boto3==1.44.5 botocore==1.44.5 \
        jmespath==1.1.0 s3transfer==0.19.3 catalogue==2.0.10
    /tmp/peers/bin/python -m benchmarks.loader
"""

import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from benchmarks.loader_systems import EOD, VOCAB, Array, Job, Measured, import_streaming
from benchmarks.table import Comparison, Options, main
from schemas.manifest import Manifest, Shard
from schemas.table import BlobRef
from schemas.tokens import TokenShard
from stages.stream.megatron import IndexedWriter
from stages.tables import Outputs

BATCH = 32
MODULES = {"megatron-core": "megatron", "litdata": "litdata", "mosaicml-streaming": "streaming"}
TIMED = 500  # batches of a reading
FIRST = 5  # batches that do not count: opening files, filling caches


def run(options: Options) -> Iterator[Comparison]:
    """Compare with each peer that is installed."""
    present = [peer for peer, module in MODULES.items() if importlib.util.find_spec(module)]
    for peer in MODULES.keys() - present:
        print(f"{peer} is not installed here: see the head of this file")
    num_tokens, repetitions = (4_000_000, 1) if options.quick else (64_000_000, 5)
    pairs = [("borealis", peer) for peer in present]
    if "megatron-core" in present:
        pairs.append(("borealis, order megatron", "megatron-core"))
    for sequence_tokens in (512, 4096):
        with tempfile.TemporaryDirectory() as folder:
            job = make_corpus(Path(folder), sequence_tokens, num_tokens, present)
            agree = {pair: same_tokens(*pair, job) for pair in pairs}
            for cold in (False, True):
                for pair in pairs:
                    yield from compare(pair, replace(job, cold=cold), repetitions, equal=agree[pair])


def compare(pair: tuple[str, str], job: Job, repetitions: int, *, equal: bool | None) -> Iterator[Comparison]:
    """Samples a second and p99 latency of a batch, medians over processes in turn."""
    readings = [[read(system, job) for system in pair] for _ in range(repetitions)]
    order = "order megatron" if "order megatron" in pair[0] else "order virtual"
    what = f"{job.sequence_tokens} tokens, {'cold' if job.cold else 'warm'}, {order}"
    ours, theirs = (statistics.median(rate(r[side], job) for r in readings) for side in (0, 1))
    yield Comparison(f"{what}: samples a second", pair[1], ours, theirs, "1/s", ours / theirs, equal)
    ours, theirs = (1000 * statistics.median(p99(r[side]) for r in readings) for side in (0, 1))
    yield Comparison(f"{what}: p99 of a batch", pair[1], ours, theirs, "ms", theirs / ours, equal)


def rate(measured: Measured, job: Job) -> float:
    """Samples a second."""
    counted = measured.seconds[FIRST:]
    return len(counted) * job.batch_sequences / sum(counted)


def p99(measured: Measured) -> float:
    """Seconds within which 99 of 100 batches came."""
    return float(np.quantile(measured.seconds[FIRST:], 0.99))


def read(system: str, job: Job) -> Measured:
    """Read a job in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.loader_systems", system, json.dumps(asdict(job))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{system}: {done.stderr[-2000:]}")
    return Measured(**json.loads(done.stdout))


def same_tokens(ours: str, peer: str, job: Job) -> bool | None:
    """Whether both read the same windows in an epoch, in Megatron's order batch by batch; None if their windows differ."""
    if (ours, peer) == ("borealis", "megatron-core"):
        return None
    whole = replace(job, digest=True, limit=job.num_batches)
    mine, theirs = (read(system, whole) for system in (ours, peer))
    if peer == "megatron-core":
        return mine.batches == theirs.batches
    return mine.windows == theirs.windows


# ---- the corpus, as each system stores it


def make_corpus(folder: Path, sequence_tokens: int, num_tokens: int, peers: list[str]) -> Job:
    """One source of random documents, whole batches of windows; and the same windows for the peers that store windows."""
    num_batches = num_tokens // (sequence_tokens * BATCH)
    random = np.random.default_rng(0)
    tokens = random.integers(1, VOCAB, num_batches * BATCH * sequence_tokens + 1, dtype=np.uint16)
    lengths = np.clip(random.lognormal(6.0, 1.2, len(tokens) // 300), 2, 50_000).astype(np.int64)
    ends = np.cumsum(lengths)
    ends = np.append(ends[ends < len(tokens) - 1], len(tokens))
    tokens[ends - 1] = EOD
    write_tokens(folder, tokens, np.diff(ends, prepend=0))
    windows = np.lib.stride_tricks.sliding_window_view(tokens, sequence_tokens + 1)[::sequence_tokens]
    if "litdata" in peers:
        write_litdata(folder / "litdata", windows)
    if "mosaicml-streaming" in peers:
        write_streaming(folder / "streaming", windows)
    return Job(str(folder), sequence_tokens, BATCH, num_batches, min(num_batches, TIMED))


def write_tokens(folder: Path, tokens: Array, lengths: Array) -> None:
    """Megatron's layout, and our table that points at it."""
    base = folder / "table"
    with IndexedWriter(folder / "tokens" / "all.bin", "uint16") as writer:
        writer.append(tokens, lengths)
    row = TokenShard(
        split="train",
        source="all",
        bin=BlobRef.of(writer.bin, base),
        idx=BlobRef.of(writer.idx, base),
        dtype="uint16",
        num_tokens=len(tokens),
        num_documents=len(lengths),
        tokenizer_sha256="0" * 64,
    )
    outputs = Outputs(base, {"tokens": TokenShard}, (0, 1))
    outputs["tokens"].write(row)
    tables = outputs.close()
    shard = Shard(index=0, count=1, outputs=tables, dropped={}, started="", seconds=0, peak_memory_bytes=0, host="")
    words = {"stage": "bench", "fingerprint": "", "external": "", "code_sha256": "", "git_commit": ""}
    empty: dict[str, dict[str, str]] = {"settings": {}, "inputs": {}, "dropped": {}, "packages": {}}
    Manifest(version=1, outputs=tables, shards=(shard,), **words, **empty).write(base)  # type: ignore[arg-type]


def write_litdata(folder: Path, windows: Array) -> None:
    """Chunks of about 64 MB of uint16 tokens, by litdata's own writer."""
    from litdata.streaming.item_loader import TokensLoader
    from litdata.streaming.writer import BinaryWriter

    folder.mkdir()
    width = windows.shape[1]
    size = max(1, (64 << 20) // (2 * width)) * width
    writer = BinaryWriter(str(folder), chunk_size=size, item_loader=TokensLoader(width))
    for index, window in enumerate(windows):
        writer[index] = window.copy()
    writer.done()
    writer.merge()


def write_streaming(folder: Path, windows: Array) -> None:
    """Shards of the default size (64 MB), a window a sample."""
    width = windows.shape[1]
    with import_streaming().MDSWriter(out=str(folder), columns={"tokens": f"ndarray:uint16:{width}"}) as writer:
        for window in windows:
            writer.write({"tokens": window.copy()})


if __name__ == "__main__":
    main("loader", run)
