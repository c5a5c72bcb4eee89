"""Bloom filters a band at a million documents: strangers taken for known, and bytes against theory and a dictionary index.

Strangers are disjoint sets of 300, 1500 and 4000 random shingles, sketched by our kernel. datasketch's band keys are drawn
beside them: the minimum of n uniform 32-bit hashes is floor((1 - (1 - u)^(1/n)) 2^32), a key the sum of a band's six. Its
collisions are counted exactly, with no Bloom filter between; what its filters add is the nominal rate.
"""

import math
import tempfile
from collections.abc import Iterator
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numba import njit

from benchmarks.dedup_near import NUM_BANDS, ROWS_PER_BAND
from benchmarks.table import Comparison, Options
from stages.dedup import Dedup
from stages.dedup.bloom import BandFilters
from stages.dedup.shape import Shape
from stages.sketch.kernel import keys_of_sets, mix

Keys = npt.NDArray[np.uint64]

SET_SIZES = (300, 1500, 4000)
RATE = 1e-4  # high enough to be counted: 100 of a million
BLOCK = 2000  # documents sketched at a time
NUM_PEER_QUERIES = 4000


def rates(options: Options) -> Iterator[Comparison]:
    """Share of new documents taken for seen, when a million others are in: nominal and datasketch beside."""
    count = 50_000 if options.quick else 1_000_000
    for size in SET_SIZES:
        ours = our_rate(count, size)
        low, high = interval(round(ours * count), count)
        print(
            f"{count} sets of {size}: {ours:.3g} in [{low:.3g}, {high:.3g}], nominal {RATE:g}; model of the sums {model(count, size):.3g}"
        )
        what = f"false positives, {count} sets of {size}"
        yield Comparison(what, "nominal", ours, RATE, "share", RATE / max(ours, 1e-12), ours <= 1.5 * RATE)
        sums = sums_rate(count, size)
        yield Comparison(what, "datasketch's sums", ours, sums, "share", sums / max(ours, 1e-12), None)


def our_rate(count: int, size: int) -> float:
    """Fill filters for `count` documents, then look up as many strangers."""
    with tempfile.TemporaryDirectory() as folder:
        filters = BandFilters.create(Path(folder) / "filters", Shape(NUM_BANDS, count, RATE))
        for start in range(0, count, BLOCK):
            filters.insert(disjoint_keys(start, BLOCK, size))
        found = 0
        for start in range(count, 2 * count, BLOCK):
            found += int(filters.contains(disjoint_keys(start, BLOCK, size)).any(axis=1).sum())
    return found / count


def disjoint_keys(first: int, count: int, size: int) -> Keys:
    """Band keys of documents `first...`, which have no shingle in common with any other."""
    sets = _shingles(first * size, count * size), np.arange(0, (count + 1) * size, size)
    keys: Keys = keys_of_sets(sets, (NUM_BANDS, ROWS_PER_BAND), np.uint64(0))
    return keys


@njit(cache=True)
def _shingles(first: int, count: int) -> Keys:
    hashes = np.empty(count, np.uint64)
    for k in range(count):
        hashes[k] = mix(np.uint64(first + k + 1))  # one to one: no two are alike
    return hashes


def sums_rate(count: int, size: int) -> float:
    """Share of strangers whose band sum is that of one of `count` documents, in any band."""
    draw = np.random.Generator(np.random.PCG64(size))
    hit = np.zeros(NUM_PEER_QUERIES, np.bool_)
    for _ in range(NUM_BANDS):
        minima = np.floor(-np.expm1(np.log1p(-draw.random((count + NUM_PEER_QUERIES, ROWS_PER_BAND))) / size) * 2.0**32)
        sums = minima.astype(np.uint64).sum(axis=1)
        hit |= np.isin(sums[count:], sums[:count])
    return float(hit.mean())


def model(count: int, size: int) -> float:
    """The share that sums make collide: 1 - exp(-b n c |S| / 2^32), c = Gamma(2r - 1) / (2^(2r - 1) Gamma(r)^2)."""
    r = ROWS_PER_BAND
    c = math.gamma(2 * r - 1) / (2 ** (2 * r - 1) * math.gamma(r) ** 2)
    return -math.expm1(-NUM_BANDS * count * c * size / 2**32)


def interval(found: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share (Clopper and Pearson 1934)."""
    from scipy.stats import beta

    low = beta.ppf(0.025, found, count - found + 1) if found else 0.0
    high = beta.ppf(0.975, found + 1, count - found) if found < count else 1.0
    return float(low), float(high)


def index_size(options: Options) -> Iterator[Comparison]:
    """Bytes a document of a full filter file, against theory and against MinHashLSH's own way to disk.

    MinHashLSH keeps the minima themselves, of 32 bits by default and of 64 in the scheme that is as exact as ours; the
    names of documents are integers in it. 32 bands of 8 and a rate of 1e-6 a band are what LSHBloom's paper compares; 1e-3
    is what the stage takes where flags are verified, 1e-5 where they are not.
    """
    count = 1000 if options.quick else 10_000
    ours = [((NUM_BANDS, ROWS_PER_BAND), settings.filter_rate) for settings in (Dedup(), Dedup(verify=False))]
    for (num_bands, rows), rate in (*ours, ((32, 8), -math.expm1(32 * math.log1p(-1e-6)))):
        what = f"index, {num_bands} bands of {rows}, rate {rate:.2g}"
        for capacity in (100_000, 1_000_000):
            shape = Shape(num_bands, capacity, rate)
            size, theory = _file_bytes(shape) / capacity, shape.theory_bytes() / capacity
            equal = size <= 1.05 * theory
            yield Comparison(
                f"{what}, {capacity} documents", "theory", size, theory, "bytes each", theory / size, equal
            )
        for scheme in ("affine32", "affine64"):
            theirs = _pickled_bytes(count, num_bands, rows, scheme) / count
            yield Comparison(what, f"MinHashLSH, pickled, {scheme}", size, theirs, "bytes each", theirs / size, None)


def _file_bytes(shape: Shape) -> int:
    with tempfile.TemporaryDirectory() as folder:
        return BandFilters.create(Path(folder) / "filters", shape).size_bytes


def _pickled_bytes(count: int, num_bands: int, rows: int, scheme: str) -> int:
    from datasketch import MinHash as PeerMinHash
    from datasketch import MinHashLSH

    draw = np.random.Generator(np.random.PCG64(0))
    index = MinHashLSH(num_perm=num_bands * rows, params=(num_bands, rows))
    for i in range(count):
        signature = PeerMinHash(num_perm=num_bands * rows, scheme=scheme)
        signature.update_batch([draw.bytes(8) for _ in range(8)])
        index.insert(i, signature)
    return len(ForkingPickler.dumps(index))
