"""Clusters: documents joined by links, directly or through others (union-find, Tarjan 1975, with path halving).

The smallest row of a cluster stands for it, so the clusters do not depend on the order of the links.
"""

import numpy as np
import numpy.typing as npt

from stages.compiled import compiled

Parents = npt.NDArray[np.int64]


@compiled
def find(parents: Parents, node: int) -> int:
    """The node that stands for a cluster."""
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


@compiled
def union(parents: Parents, a: int, b: int) -> bool:
    """Join two clusters; whether they were two."""
    a, b = find(parents, a), find(parents, b)
    if a == b:
        return False
    if a > b:
        a, b = b, a
    parents[b] = a
    return True


@compiled
def union_all(parents: Parents, links: npt.NDArray[np.int64]) -> None:
    """Join the clusters of the two ends of each link (n, 2)."""
    for a, b in links:
        union(parents, a, b)


@compiled
def flatten(parents: Parents) -> None:
    """Let every node point at the one that stands for its cluster."""
    for node in range(len(parents)):
        parents[node] = find(parents, node)
