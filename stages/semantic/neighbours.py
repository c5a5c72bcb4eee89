"""Which documents are alike: cosines within a cluster and with the clusters whose centres are next nearest (multi-probe).

A pair over the threshold is found if the home of one is among the clusters that the other probes. Documents are numbered by
cluster, so that a cluster is a stretch of the file; `places` say which of two is the better copy. Memory is that of a block
of 1024 by 4096 cosines a worker. Of a document that has many better ones like it only the best `MAX_LINKS` of a block are
kept: were they all to go, it could stay although another one is like it.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from stages.dedup.spill import U64
from stages.semantic.vectors import Rows, Unit, Vectors, blocks

QUERIES = 1024
MAX_LINKS = 16


class Limits(NamedTuple):
    """What makes two documents alike: the least cosine, and the least length of the shorter one, of the longer one's."""

    threshold: float
    length_fraction: float


class Facts(NamedTuple):
    """Of documents: the clusters that each probes, its own first (n, probes), its place from best to worst, its length."""

    probes: npt.NDArray[np.int32]
    places: Rows
    lengths: Unit


class Clusters(NamedTuple):
    """Documents by cluster: their rows, vectors, facts; where each cluster begins (k + 1)."""

    rows: Rows
    vectors: Vectors
    facts: Facts
    starts: Rows

    @classmethod
    def arrange(cls, vectors: Vectors, facts: Facts, file: Path) -> Self:
        """Put documents in the order of their homes; a cluster keeps the order in which they came."""
        homes = facts.probes[:, 0]
        rows = np.argsort(homes, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(homes, minlength=facts.probes.max() + 1))])
        ordered = Facts(facts.probes[rows], facts.places[rows], facts.lengths[rows])
        return cls(rows, vectors.taken(rows, file), ordered, starts)


class Found(NamedTuple):
    """Of a stretch of documents: links (worse place, better place, bits of the cosine), and the nearest of each."""

    links: U64
    cosines: Unit
    neighbours: Rows


def search(clusters: Clusters, limits: Limits, pool: ThreadPoolExecutor, workers: int) -> Iterator[Found]:
    """What is found for all documents, in their order."""
    spans = [
        (home, *span)
        for home in range(len(clusters.starts) - 1)
        for span in blocks(int(clusters.starts[home]), int(clusters.starts[home + 1]), QUERIES)
    ]
    for first in range(0, len(spans), workers):  # so that no more than one a worker waits to be taken
        yield from pool.map(lambda span: look(clusters, limits, *span), spans[first : first + workers])


def look(clusters: Clusters, limits: Limits, home: int, start: int, stop: int) -> Found:
    """Compare the documents `start:stop` of cluster `home` with all of the clusters that they probe."""
    queries, probes = clusters.vectors.unit(slice(start, stop)), clusters.facts.probes[start:stop]
    best, neighbours = np.full(stop - start, -1, np.float32), np.full(stop - start, -1)
    links = [np.zeros((0, 3), np.uint64)]
    for cluster in np.unique(probes).tolist():
        asking = np.flatnonzero((probes == cluster).any(axis=1))
        for low, high in blocks(int(clusters.starts[cluster]), int(clusters.starts[cluster + 1])):
            cosines = queries[asking] @ clusters.vectors.unit(slice(low, high)).T
            _blank_self(cosines, asking + start - low)
            nearest = cosines.argmax(axis=1)
            values = cosines[np.arange(len(asking)), nearest]
            nearer = values > best[asking]
            best[asking[nearer]], neighbours[asking[nearer]] = values[nearer], nearest[nearer] + low
            links.append(_links(clusters, home, cosines, limits, (asking + start, low)))
    return Found(np.concatenate(links), best, neighbours)


def _blank_self(cosines: Unit, columns: Rows) -> None:
    inside = np.flatnonzero((columns >= 0) & (columns < cosines.shape[1]))
    cosines[inside, columns[inside]] = -1


def _links(clusters: Clusters, home: int, cosines: Unit, limits: Limits, where: tuple[Rows, int]) -> U64:
    """Links of the pairs of a block; one that the other document finds too, from its own cluster, is left to it."""
    rows, columns = np.nonzero(cosines >= limits.threshold)
    bits = cosines[rows, columns].view(np.uint32)
    asking, others, facts = where[0][rows], columns + where[1], clusters.facts
    mine, theirs = facts.places[asking], facts.places[others]
    theirs_only = (mine < theirs) & (facts.probes[others] != home).all(axis=1)
    lengths = np.sort([facts.lengths[asking], facts.lengths[others]], axis=0)
    wanted = ((mine > theirs) | theirs_only) & (lengths[0] >= limits.length_fraction * lengths[1])
    pairs = np.column_stack([np.maximum(mine, theirs), np.minimum(mine, theirs), bits])[wanted]
    return capped(pairs.astype(np.uint64))


def capped(links: U64) -> U64:
    """Sorted, with the best `MAX_LINKS` of each document."""
    links = links[np.lexsort((links[:, 1], links[:, 0]))]
    first = np.searchsorted(links[:, 0], links[:, 0])
    kept: U64 = links[np.arange(len(links)) - first < MAX_LINKS]
    return kept


class Sampled(NamedTuple):
    """Pairs over the threshold of a sample of documents with all others: how many there are, how many were compared."""

    num_pairs: int
    num_compared: int


def measure(clusters: Clusters, threshold: float, sample: Rows, pool: ThreadPoolExecutor) -> Sampled:
    """Compare the documents `sample` with all, and count which of those pairs `search` compares."""
    queries = clusters.vectors.unit(sample)

    def count(span: tuple[int, int]) -> tuple[int, int]:
        cosines = queries @ clusters.vectors.unit(slice(*span)).T
        _blank_self(cosines, sample - span[0])
        rows, columns = np.nonzero(cosines >= threshold)
        return len(rows), int(_compared(clusters, sample[rows], columns + span[0]).sum())

    counts = list(pool.map(count, blocks(0, len(clusters.vectors))))
    return Sampled(sum(c[0] for c in counts), sum(c[1] for c in counts))


def _compared(clusters: Clusters, one: Rows, other: Rows) -> npt.NDArray[np.bool_]:
    probes = clusters.facts.probes
    asked: list[npt.NDArray[np.bool_]] = [
        (probes[rows] == probes[homes, :1]).any(axis=1) for rows, homes in ((one, other), (other, one))
    ]
    return asked[0] | asked[1]
