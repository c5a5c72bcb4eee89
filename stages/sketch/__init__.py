"""Sketch: what deduplication needs to know of each document, so that it never holds the texts."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from schemas import corpus
from schemas.corpus import Document
from stages.base import Stage
from stages.tables import Outputs, Reader


class Sketch(Stage):
    """One row a document: exact digest, names of the work, quality, MinHash band keys of its word n-grams.

    Two documents that share a fraction s of their distinct n-grams (Jaccard) have a band key in common with probability
    1 - (1 - s**rows_per_band)**num_bands: with the defaults 0.6 % at 0.1, 10 % at 0.2, 41 % at 0.3, 81 % at 0.4 and 98 %
    at 0.5. `dedup` compares the texts of those that it finds, so few are missed and none is wrong; for its setting
    `verify=false`, 42 bands of 6 rows (3 % at 0.3, 48 % at 0.5, 99 % at 0.7) are what the paper takes.

    Every document is sketched alone, so any number of shards gives the same rows.
    """

    name = "sketch"
    inputs = {"documents": Document}
    outputs = {"sketches": corpus.Sketch}
    packages = ("numpy", "numba")

    ngram_words: Annotated[int, Field(ge=1, le=64)] = 5
    num_bands: Annotated[int, Field(ge=1, le=1024)] = 64
    rows_per_band: Annotated[int, Field(ge=1, le=64)] = 4
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Read the documents batch by batch, on as many threads as the site gives."""
        from stages.sketch.rows import sketch

        sketch(self, inputs["documents"], outputs)
