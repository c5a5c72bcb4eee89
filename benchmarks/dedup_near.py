"""The near-duplicate pass: texts in memory to flags, one core, ours and each peer in turn; CPU seconds, medians.

All use word 5-grams and 42 bands of 6, and flag a text that shares a band with an earlier one. The peers are fed as their
documents say: a set of encoded shingles a text, made with `re`; datasketch with its default hashes (`update_batch`), rensa
with all signatures in one call. Each repetition has another seed, and recall is that of all: for copies near the threshold
one seed is luck.
"""

import importlib.util
import math
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from benchmarks.dedup_corpus import THRESHOLD, Corpus, load, shingles
from benchmarks.table import Comparison, Options
from stages.dedup.bloom import BandFilters
from stages.dedup.shape import Shape
from stages.sketch.fold import fold
from stages.sketch.minhash import MinHash

NUM_BANDS, ROWS_PER_BAND, RATE = 42, 6, 1e-5
BATCH_ROWS = 64
Pass = Callable[[list[str], int], list[bool]]
Flags = list[list[bool]]


def near(options: Options) -> Iterator[Comparison]:
    """MB/s a core and recall of ours and each peer; `equal` says that ours finds as much and flags no stranger more."""
    corpus = load(options.data, 60 if options.quick else 600)
    megabytes = corpus.size_bytes / 1e6
    print(f"{len(corpus.texts)} texts, {megabytes:.1f} MB, {sum(j >= 0.5 for j in corpus.jaccard)} true copies")
    print(f"recall that theory has for these: {_theory(corpus):.4f}")
    for name, peer in PEERS.items():
        if (module := MODULES[name]) and importlib.util.find_spec(module) is None:
            print(f"{name}: not compared, {module} is not installed (see the head of benchmarks/dedup.py)")
            continue
        mine, other, flags = _in_turn(ours, peer, corpus.texts, 1 if options.quick else 5)
        yield from _rows(name, corpus, flags, (megabytes / mine, megabytes / other))


def _theory(corpus: Corpus) -> float:
    found = [1 - (1 - j**ROWS_PER_BAND) ** NUM_BANDS for j in corpus.jaccard if j >= THRESHOLD]
    return statistics.mean(found) if found else math.nan


def _rows(name: str, corpus: Corpus, flags: tuple[Flags, Flags], speeds: tuple[float, float]) -> Iterator[Comparison]:
    recall, peers_recall = (statistics.mean(map(corpus.recall, each)) for each in flags)
    false, peers_false = (statistics.mean(map(corpus.false, each)) for each in flags)
    equal = recall >= peers_recall - 0.005 and false <= peers_false
    yield Comparison("near pass: recall", name, recall, peers_recall, "share", recall / max(peers_recall, 1e-9), equal)
    yield Comparison(
        "near pass: strangers flagged", name, false, peers_false, "texts", (peers_false + 1) / (false + 1), equal
    )
    yield Comparison("near pass", name, *speeds, "MB/s a core", speeds[0] / speeds[1], equal)


def _in_turn(mine: Pass, other: Pass, texts: list[str], repetitions: int) -> tuple[float, float, tuple[Flags, Flags]]:
    """Median CPU seconds of both, after one uncounted call of each, and what they flagged."""
    runs = [(_timed(mine, texts, seed), _timed(other, texts, seed)) for seed in range(repetitions + 1)][1:]
    seconds = [statistics.median(pair[k][0] for pair in runs) for k in (0, 1)]
    return seconds[0], seconds[1], ([mine[1] for mine, _ in runs], [other[1] for _, other in runs])


def _timed(work: Pass, texts: list[str], seed: int) -> tuple[float, list[bool]]:
    started = time.process_time()  # of all threads: a peer that uses more cores pays for them
    flags = work(texts, seed)
    return time.process_time() - started, flags


def ours(texts: list[str], seed: int) -> list[bool]:
    """Fold, sketch, one filter a band in a file."""
    minhash, flags = MinHash(NUM_BANDS, ROWS_PER_BAND, seed), []
    with tempfile.TemporaryDirectory() as folder:
        filters = BandFilters.create(Path(folder) / "filters", Shape(NUM_BANDS, len(texts), RATE))
        for start in range(0, len(texts), BATCH_ROWS):
            keys, sizes = minhash.sketch(fold(pa.array(texts[start : start + BATCH_ROWS])))
            flags += (filters.first_seen(keys).any(axis=1) & (sizes > 0)).tolist()
    return flags


def datasketch_bloom(texts: list[str], seed: int) -> list[bool]:
    """The reference implementation of LSHBloom."""
    from datasketch import MinHash as PeerMinHash
    from datasketch import MinHashLSHBloom

    with tempfile.TemporaryDirectory() as folder:
        rate = Shape(NUM_BANDS, len(texts), RATE).rate_per_band
        index = MinHashLSHBloom(
            num_perm=NUM_BANDS * ROWS_PER_BAND,
            n=len(texts),
            fp=rate,
            save_dir=folder,
            params=(NUM_BANDS, ROWS_PER_BAND),
        )
        flags = []
        for text in texts:
            signature = PeerMinHash(num_perm=NUM_BANDS * ROWS_PER_BAND, seed=seed)
            signature.update_batch(list(shingles(text)))
            flags.append(bool(index.query(signature)))
            index.insert(signature)
    return flags


def datasketch_lsh(texts: list[str], seed: int) -> list[bool]:
    """LSH with dictionaries."""
    from datasketch import MinHash as PeerMinHash
    from datasketch import MinHashLSH

    index = MinHashLSH(num_perm=NUM_BANDS * ROWS_PER_BAND, params=(NUM_BANDS, ROWS_PER_BAND))
    flags = []
    for i, text in enumerate(texts):
        signature = PeerMinHash(num_perm=NUM_BANDS * ROWS_PER_BAND, seed=seed)
        signature.update_batch(list(shingles(text)))
        flags.append(bool(index.query(signature)))
        index.insert(i, signature, check_duplication=False)
    return flags


def rensa(texts: list[str], seed: int) -> list[bool]:
    """Signatures and buckets in Rust."""
    from rensa import RMinHash, RMinHashLSH

    signatures = RMinHash.from_token_sets([shingles(t) for t in texts], NUM_BANDS * ROWS_PER_BAND, seed)
    index, flags = RMinHashLSH(0.5, NUM_BANDS * ROWS_PER_BAND, NUM_BANDS), []
    for i, signature in enumerate(signatures):
        flags.append(bool(index.query(signature)))
        index.insert(i, signature)
    return flags


PEERS: dict[str, Pass] = {
    "datasketch MinHashLSHBloom": datasketch_bloom,
    "datasketch MinHashLSH": datasketch_lsh,
    "rensa": rensa,
}
MODULES = {"datasketch MinHashLSHBloom": "pybloomfilter", "datasketch MinHashLSH": "datasketch", "rensa": "rensa"}
warnings.filterwarnings("ignore", category=RuntimeWarning, module="datasketch")
