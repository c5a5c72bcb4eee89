"""Spherical k-means (Dhillon and Modha 2001): unit vectors, unit centres, nearness by cosine.

Every block of vectors is multiplied by one thread, and sums of blocks are added in order, so centres are the same with any
number of workers. What it gives up: centres begin as random vectors, not spread out as by k-means++, and follow a sample.
"""

import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stages.semantic.vectors import Unit, Vectors, blocks

SAMPLED = 64  # vectors a centre that k-means learns from
MAX_ROUNDS = 10
SETTLED = 1e-3  # stop when this share of the sample, or less, has changed its cluster
BLOCK_COSINES = 1 << 22  # 16 MiB
MIN_BLOCK, MAX_BLOCK = 64, 8192
MIN_MEAN_SIZE = 256  # documents a cluster, by default


class Nearest(NamedTuple):
    """For n vectors the nearest of k centres, nearest first (n, probes), and the cosine to the first of them (n)."""

    centres: npt.NDArray[np.int32]
    cosines: Unit


def default_clusters(count: int) -> int:
    """The square root of the number of vectors, unless clusters would be tiny."""
    return max(1, min(math.isqrt(count), count // MIN_MEAN_SIZE))


def kmeans(vectors: Vectors, count: int, seed: int, pool: ThreadPoolExecutor, scratch: Path) -> Unit:
    """The centres (count, width) of clusters of a sample of the vectors."""
    draw = np.random.default_rng(seed)
    size = min(len(vectors), max(count * SAMPLED, MIN_MEAN_SIZE))
    sample = vectors.taken(np.sort(draw.choice(len(vectors), size, replace=False)), scratch)
    centres = sample.unit(np.sort(draw.choice(size, count, replace=False)))
    homes = np.full(size, -1, np.int32)
    for _ in range(MAX_ROUNDS):
        found = nearest(sample, centres, 1, pool).centres[:, 0]
        moved, homes = np.count_nonzero(found != homes), found
        centres = _means(sample, homes, centres)
        if moved <= SETTLED * size:
            break
    return centres


def nearest(vectors: Vectors, centres: Unit, probes: int, pool: ThreadPoolExecutor) -> Nearest:
    """The `probes` nearest centres of every vector."""
    size = int(np.clip(BLOCK_COSINES // len(centres), MIN_BLOCK, MAX_BLOCK))
    ends = list(blocks(0, len(vectors), size))
    found = Nearest(np.empty((len(vectors), probes), np.int32), np.empty(len(vectors), np.float32))

    def look(span: tuple[int, int]) -> None:
        cosines = vectors.unit(slice(*span)) @ centres.T
        near = np.argpartition(-cosines, probes - 1, axis=1)[:, :probes]
        order = np.argsort(-np.take_along_axis(cosines, near, 1), axis=1, kind="stable")
        near = np.take_along_axis(near, order, 1)
        found.centres[slice(*span)] = near
        found.cosines[slice(*span)] = np.take_along_axis(cosines, near[:, :1], 1)[:, 0]

    _done(pool.map(look, ends))
    return found


def _done(results: Iterable[None]) -> None:
    for _ in results:  # raises what a thread raised
        continue


def _means(vectors: Vectors, homes: npt.NDArray[np.int32], before: Unit) -> Unit:
    """The direction of each cluster's sum; a cluster without vectors keeps the centre that it had."""
    sums = np.zeros(before.shape, np.float64)
    for start, stop in blocks(0, len(vectors)):
        order = np.argsort(homes[start:stop], kind="stable")
        found, first = np.unique(homes[start:stop][order], return_index=True)
        sums[found] += np.add.reduceat(vectors.unit(slice(start, stop))[order].astype(np.float64), first)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.where(lengths > 0, sums / np.maximum(lengths, 1e-300), before).astype(np.float32)
