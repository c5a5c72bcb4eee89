"""The verdict on candidates: the true Jaccard similarity of their sets of word n-grams.

    near       in common / in either >= threshold
    contained  in common / in the shorter >= containment, and the shorter has min_length_fraction of the longer's n-grams
    named      (the same title, or an identifier that too many carry) in common / in either >= NAMED_THRESHOLD

*Contained* is for copies that another parser or a cut has left with more or less around the same text: of 40 pairs of
one paper by two parsers 6 have a Jaccard of 0.45 to 0.5, and at least 0.82 of the shorter in common. An abstract is
contained in its paper too and is no copy of it: it is shorter than `min_length_fraction`.

The texts are read once, in the tables' order, and their n-grams kept in a scratch file that is mapped.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stages.base import num_workers
from stages.compiled import compiled
from stages.dedup.clusters import Parents, find, union
from stages.dedup.family import Family
from stages.dedup.near import NAMED
from stages.dedup.segments import Segment, take_all
from stages.dedup.spill import U64, Places
from stages.progress import Progress
from stages.sketch.minhash import Sets

Shares = npt.NDArray[np.float64]

NAMED_THRESHOLD = 0.1
CHUNK_ROWS = 32  # texts a thread takes at a time


class Limits(NamedTuple):
    """What makes two documents copies, as shares."""

    threshold: float
    containment: float
    min_length_fraction: float
    named: float = NAMED_THRESHOLD


@dataclass(frozen=True)
class Shingles:
    """Sorted distinct n-gram hashes of ascending `rows`: those of `rows[i]` are `hashes[offsets[i]:offsets[i + 1]]`."""

    rows: U64
    hashes: U64
    offsets: Places

    def similarity(self, pairs: U64) -> Shares:
        """The Jaccard similarity of each pair (n, 2) of rows; not a number where one was not read."""
        places = np.searchsorted(self.rows, pairs)
        scores = np.full(len(pairs), np.nan)
        read = np.append(self.rows, np.uint64(2**64 - 1))[places] == pairs
        both = read.all(axis=1)
        scores[both] = _similarities(places[both], self.hashes, self.offsets)
        return scores


def read_shingles(segments: Sequence[Segment], rows: U64, family: Family, file: Path, progress: Progress) -> Shingles:
    """Read the texts of ascending `rows` and write their n-grams' hashes to `file`."""
    progress.start("texts compared", len(rows))
    offsets, done = np.zeros(len(rows) + 1, np.int64), 1
    with file.open("wb") as out, ThreadPoolExecutor(num_workers()) as pool:
        for _, table in take_all(segments, "documents", rows, ("text",)):
            for chunk in pool.map(family.minhash.sets, _chunks(table["text"])):
                stop = done + len(chunk.offsets) - 1
                offsets[done:stop] = offsets[done - 1] + chunk.offsets[1:]
                done = stop
                out.write(np.ascontiguousarray(chunk.hashes).data)
            progress.advance(table.num_rows)
    assert done == len(offsets), (done, len(offsets))
    hashes = np.memmap(file, np.uint64, "r") if offsets[-1] else np.zeros(0, np.uint64)
    return Shingles(rows, hashes, offsets)


def set_similarities(some: Sets, others: Sets) -> Shares:
    """The Jaccard similarity of each set to the other in the same place."""
    count = len(some.offsets) - 1
    places = np.column_stack([np.arange(count), np.arange(count) + count + 1])
    hashes = np.concatenate([some.hashes, others.hashes])
    return _similarities(places, hashes, np.concatenate([some.offsets, others.offsets + len(some.hashes)]))


def _chunks(texts: pa.ChunkedArray) -> Iterable[pa.Array]:
    whole = texts.combine_chunks() if texts.num_chunks != 1 else texts.chunk(0)
    return (whole.slice(start, CHUNK_ROWS) for start in range(0, len(whole), CHUNK_ROWS))


def join_copies(parents: Parents, candidates: U64, shingles: Shingles, members: U64, limits: Limits) -> None:
    """Join the clusters (over `members`) of those candidates (row, earlier row, weight) that are copies.

    Two that are joined already, through others, are not compared: the clusters are the same.
    """
    rows = candidates[:, :2]
    pairs = np.column_stack([np.searchsorted(members, rows), np.searchsorted(shingles.rows, rows)])
    least = np.where(candidates[:, 2] >= NAMED, limits.named, limits.threshold)
    contained = (limits.containment, limits.min_length_fraction)
    _join_copies(parents, pairs, least, (np.asarray(shingles.hashes), shingles.offsets), contained)


@compiled
def _common(a: U64, b: U64) -> int:
    """How many numbers two sorted sets share."""
    i = j = count = 0
    while i < len(a) and j < len(b):
        x, y = a[i], b[j]
        count += x == y
        i += x <= y
        j += y <= x
    return count


@compiled
def _similarities(places: Places, hashes: U64, offsets: Places) -> Shares:
    scores = np.zeros(len(places))
    for n in range(len(places)):
        i, j = places[n]
        a, b = hashes[offsets[i] : offsets[i + 1]], hashes[offsets[j] : offsets[j + 1]]
        common = _common(a, b)
        scores[n] = common / max(1, len(a) + len(b) - common)
    return scores


@compiled
def _join_copies(
    parents: Parents, pairs: Places, least: Shares, sets: tuple[U64, Places], contained: tuple[float, float]
) -> None:
    """`pairs` (n, 4): two places in `parents`, two in `sets`; `least` is the similarity that each pair needs."""
    hashes, offsets = sets
    for n in range(len(pairs)):
        p, q, i, j = pairs[n]
        if find(parents, p) == find(parents, q):
            continue
        a, b = hashes[offsets[i] : offsets[i + 1]], hashes[offsets[j] : offsets[j + 1]]
        common, shorter, longer = _common(a, b), min(len(a), len(b)), max(len(a), len(b))
        similar = common >= least[n] * (shorter + longer - common)
        if similar or (common >= contained[0] * shorter and shorter >= contained[1] * longer):
            union(parents, p, q)
