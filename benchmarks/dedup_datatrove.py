"""End to end with reading and writing, two workers: our two stages against datatrove's four MinHash steps.

Ours reads and writes Parquet tables by the stages' own commands, their start included; datatrove reads and writes JSON
lines by its local executor, two tasks on two workers, 64-bit hashes, word 5-grams and 42 buckets of 6, as its documents
say. The texts that are kept are compared with the true copies of the corpus.
"""

import importlib.util
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.dedup_corpus import Corpus, load
from benchmarks.dedup_tables import run_stage, write_documents
from benchmarks.table import Comparison, Options

WORKERS = 2
NUM_BUCKETS, HASHES_PER_BUCKET = 42, 6


def end_to_end(options: Options) -> Iterator[Comparison]:
    """Wall-clock seconds of the two, and what they dropped."""
    if importlib.util.find_spec("datatrove") is None:
        print("datatrove: not compared, it is not installed (see the head of benchmarks/dedup.py)")
        return
    corpus = load(options.data, 60 if options.quick else 1240, one_in=1)
    with tempfile.TemporaryDirectory(prefix="dedup-datatrove-") as name:
        folder = Path(name)
        _ours(folder / "first", corpus)  # compiled code is cached by the first run on a machine
        seconds, cpu, flags = _ours(folder / "ours", corpus)
        peers_seconds, peers_cpu, peers_flags = _theirs(folder / "theirs", corpus)
    recall, peers_recall = corpus.resolved(flags), corpus.resolved(peers_flags)
    false, peers_false = corpus.false(flags), corpus.false(peers_flags)
    megabytes = corpus.size_bytes / 1e6
    print(f"{megabytes:.1f} MB: ours {seconds:.2f} s ({megabytes / seconds:.1f} MB/s), datatrove {peers_seconds:.1f} s")
    equal = recall >= peers_recall - 0.005 and false <= peers_false
    yield Comparison(
        "end to end: recall", "datatrove", recall, peers_recall, "share", recall / max(peers_recall, 1e-9), equal
    )
    yield Comparison(
        "end to end: strangers dropped",
        "datatrove",
        false,
        peers_false,
        "texts",
        (peers_false + 1) / (false + 1),
        equal,
    )
    yield Comparison("end to end, 2 workers", "datatrove", seconds, peers_seconds, "s", peers_seconds / seconds, equal)
    yield Comparison("end to end, all cores", "datatrove", cpu, peers_cpu, "CPU s", peers_cpu / cpu, equal)


def _ours(folder: Path, corpus: Corpus) -> tuple[float, float, list[bool]]:
    documents = write_documents(folder / "in", [pa.array(corpus.texts)])
    started, cpu = time.perf_counter(), _cpu_seconds()
    run_stage("sketch", folder / "sketch", {}, {"documents": documents}, WORKERS)
    inputs = {"documents": documents, "sketches": folder / "sketch" / "sketches"}
    run_stage("dedup", folder / "dedup", {"num_decoys": 0}, inputs, WORKERS)
    seconds, cpu = time.perf_counter() - started, _cpu_seconds() - cpu
    kept = {int(path[:-4]) for path in pq.read_table(folder / "dedup" / "documents")["path"].to_pylist()}
    return seconds, cpu, [i not in kept for i in range(len(corpus.texts))]


def _theirs(folder: Path, corpus: Corpus) -> tuple[float, float, list[bool]]:
    source = folder / "in"
    source.mkdir(parents=True)
    for part in range(WORKERS):
        lines = (
            json.dumps({"id": str(i), "text": t}) + "\n" for i, t in enumerate(corpus.texts) if i % WORKERS == part
        )
        (source / f"{part}.jsonl").write_text("".join(lines))
    work = multiprocessing.get_context("spawn").Process(target=four_steps, args=(folder,))
    started, cpu = time.perf_counter(), _cpu_seconds()
    work.start()
    work.join()
    seconds, cpu = time.perf_counter() - started, _cpu_seconds() - cpu
    if work.exitcode:
        raise SystemExit(f"datatrove failed: {(folder / 'log').read_text()[-2000:]}")
    lines = [line for file in (folder / "kept").rglob("*.jsonl") for line in file.read_text().splitlines()]
    kept = {int(json.loads(line)["id"]) for line in lines}
    return seconds, cpu, [i not in kept for i in range(len(corpus.texts))]


def _cpu_seconds() -> float:
    """Of all processes that were started here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def four_steps(folder: Path) -> None:
    """Signatures, buckets, clusters, filter."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import minhash
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers.jsonl import JsonlWriter
    from datatrove.utils.hashing import HashConfig

    with (folder / "log").open("w") as log:
        os.dup2(log.fileno(), 2)  # it reports each task of each step
    config = minhash.MinhashConfig(
        hash_config=HashConfig(precision=64), num_buckets=NUM_BUCKETS, hashes_per_bucket=HASHES_PER_BUCKET, n_grams=5
    )
    reader = JsonlReader(str(folder / "in"))
    signatures, buckets, removed = (str(folder / name) for name in ("signatures", "buckets", "removed"))
    steps = [
        ([reader, minhash.MinhashDedupSignature(signatures, config=config)], WORKERS),
        ([minhash.MinhashDedupBuckets(signatures, buckets, config=config)], NUM_BUCKETS),
        ([minhash.MinhashDedupCluster(buckets, removed, config=config)], 1),
        ([reader, minhash.MinhashDedupFilter(removed), JsonlWriter(str(folder / "kept"), compression=None)], WORKERS),
    ]
    for number, (pipeline, tasks) in enumerate(steps):
        logs = str(folder / f"log-{number}")
        # "fork" starts its workers fastest, and their CPU seconds are counted
        LocalPipelineExecutor(pipeline, tasks, WORKERS, logs, start_method="fork").run()
