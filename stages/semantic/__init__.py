"""Semantic: leave out documents that say in other words what another one says."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from schemas.corpus import (
    Certificate,
    Document,
    Dropped,
    Duplicate,
    Embedding,
    SimilarityCount,
    SimilarityExample,
    Sketch,
)
from stages.base import Stage
from stages.tables import Outputs, Reader


class Semantic(Stage):
    """Drop documents whose embedding is nearly that of another one which stays (SemDeDup, arXiv 2303.09540).

    Documents are compared within their cluster and with those of the clusters next to it. How many pairs that misses is
    measured in every run, on a sample that is compared with all.
    """

    name = "semantic"
    undivided = "a part alone cannot see the others' documents"
    inputs = {"documents": Document, "sketches": Sketch, "embeddings": Embedding}
    outputs = {
        "documents": Document,
        "duplicates": Duplicate,
        "dropped": Dropped,
        "similarities": SimilarityCount,
        "examples": SimilarityExample,
        "certificate": Certificate,
    }
    packages = ("numpy", "numba", "threadpoolctl")
    shares = ("dedup", "sketch", "stream")
    conserves = ("documents", "documents")

    threshold: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Least cosine of two documents of which one goes; `python -m stages.semantic.threshold` chooses it from labelled pairs."""
    min_length_fraction: Annotated[float, Field(ge=0, le=1)] = 0.4
    """Least length of the shorter one, of the longer one's: an abstract means what its paper does, and is no copy of it."""
    keep: Literal["best", "farthest"] = "best"
    """Which of two stays: the better copy, by the rule of `dedup`, or the one farther from its cluster's centre (SemDeDup)."""
    num_clusters: Annotated[int, Field(ge=0, le=1 << 20)] = 0
    """0: the square root of the number of documents, but none with fewer than 256 on average."""
    num_probes: Annotated[int, Field(ge=1, le=1024)] = 4
    """Clusters that a document is compared with: its own and those with the next nearest centres."""
    num_sampled: Annotated[int, Field(ge=0, le=10_000)] = 1000
    """Documents that are compared with all others, to measure the recall; 0: no certificate."""
    min_recall: Annotated[float, Field(ge=0, le=1)] = 0.95
    """The run fails if surely fewer of the pairs over the threshold were compared."""
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Cluster the embeddings, compare, decide, then pass on the documents that stay."""
        from stages.semantic.deduplicate import semantic

        semantic(self, inputs, outputs)
