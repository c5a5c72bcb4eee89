"""Gradient-boosted regression trees, small enough to read: squared loss, quantile bins, complete trees of one depth.

Friedman, "Greedy function approximation" (2001), with shrinkage and a least number of rows a leaf. A model is three
arrays and fits a thousand rows of thirty columns in about a second. What is given up: missing values, other losses, speed.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DEPTH = 3
NUM_BINS = 64


@dataclass(frozen=True)
class Trees:
    """`base` plus, of every tree (rows), the leaf that a page falls into; an inner node sends `x > threshold` right."""

    base: float
    columns: NDArray[np.int64]  # (trees, 2^DEPTH - 1)
    thresholds: Floats  # (trees, 2^DEPTH - 1)
    leaves: Floats  # (trees, 2^DEPTH)

    def predict(self, table: Floats) -> Floats:
        """One value a row of `table` (rows, features)."""
        total = np.full(len(table), self.base)
        rows = np.arange(len(table))
        for columns, thresholds, leaves in zip(self.columns, self.thresholds, self.leaves, strict=True):
            node = np.zeros(len(table), dtype=np.int64)
            for _ in range(DEPTH):
                node = 2 * node + 1 + (table[rows, columns[node]] > thresholds[node])
            total += leaves[node - (2**DEPTH - 1)]
        return total

    def __add__(self, other: "Trees") -> "Trees":
        """Trees that predict the sum of what both predict."""
        mine, theirs = (self.columns, self.thresholds, self.leaves), (other.columns, other.thresholds, other.leaves)
        return Trees(self.base + other.base, *(np.concatenate(pair) for pair in zip(mine, theirs, strict=True)))

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "base": round(self.base, 6),
            "columns": self.columns.tolist(),
            "thresholds": np.round(self.thresholds, 6).tolist(),
            "leaves": np.round(self.leaves, 6).tolist(),
        }

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "Trees":
        """The inverse of `plain`."""
        arrays = (np.asarray(plain[k], dtype=float).reshape(len(plain[k]), -1) for k in ("thresholds", "leaves"))
        columns = np.asarray(plain["columns"], dtype=np.int64).reshape(len(plain["columns"]), -1)
        return cls(float(plain["base"]), columns, *arrays)


def fit(table: Floats, target: Floats, num_trees: int = 80, rate: float = 0.1, min_leaf: int = 8) -> Trees:
    """Trees that predict `target` (rows) from `table` (rows, features)."""
    edges = [np.unique(np.quantile(column, np.linspace(0, 1, NUM_BINS + 1)[1:-1])) for column in table.T]
    bins = np.stack([np.searchsorted(e, c, side="left") for e, c in zip(edges, table.T, strict=True)], axis=1)
    base = float(target.mean())
    left = target - base
    grown = []
    for _ in range(num_trees):
        columns, cuts, node = _grow(bins, left, min_leaf)
        leaves = _leaf_means(node, left) * rate
        left = left - leaves[node]
        thresholds = [float(edges[c][k]) if k < len(edges[c]) else np.inf for c, k in zip(columns, cuts, strict=True)]
        grown.append((columns, np.minimum(thresholds, 1e9), leaves))
    return Trees(base, *(np.array([tree[i] for tree in grown]) for i in range(3)))


def _grow(bins: NDArray[np.int64], left: Floats, min_leaf: int) -> tuple[list[int], list[int], NDArray[np.int64]]:
    """One tree: the column and the bin that each inner node splits at, and every row's leaf (from 0)."""
    columns, cuts = [0] * (2**DEPTH - 1), [NUM_BINS + 1] * (2**DEPTH - 1)
    node = np.zeros(len(bins), dtype=np.int64)
    for inner in range(2**DEPTH - 1):
        rows = np.flatnonzero(node == inner)
        best = _best_split(bins[rows], left[rows], min_leaf)
        if best is not None:
            columns[inner], cuts[inner] = best
        node[rows] = 2 * inner + 1 + (bins[rows, columns[inner]] > cuts[inner])
    return columns, cuts, node - (2**DEPTH - 1)


def _best_split(bins: NDArray[np.int64], left: Floats, min_leaf: int) -> tuple[int, int] | None:
    """The column and the last bin of the left side that lower the squared error most; None where none does."""
    if len(bins) < 2 * min_leaf:
        return None
    num_rows, num_columns = bins.shape
    width = NUM_BINS + 1
    flat = (bins + np.arange(num_columns) * width).ravel()
    counts = np.bincount(flat, minlength=width * num_columns).reshape(num_columns, width).cumsum(axis=1)
    weights = np.repeat(left, num_columns)
    sums = np.bincount(flat, weights, minlength=width * num_columns).reshape(num_columns, width).cumsum(axis=1)
    others = num_rows - counts
    allowed = (counts >= min_leaf) & (others >= min_leaf)
    gain = sums**2 / np.maximum(counts, 1) + (left.sum() - sums) ** 2 / np.maximum(others, 1)
    gain = np.where(allowed, gain - left.sum() ** 2 / num_rows, 0.0)
    best = int(gain.argmax())
    return divmod(best, width) if gain.flat[best] > 1e-9 else None


def _leaf_means(leaf: NDArray[np.int64], left: Floats) -> Floats:
    counts = np.bincount(leaf, minlength=2**DEPTH)
    means: Floats = np.bincount(leaf, left, minlength=2**DEPTH) / np.maximum(counts, 1)
    return means
