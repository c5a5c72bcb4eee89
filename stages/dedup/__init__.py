"""Dedup: drop documents that repeat an earlier one, exactly or nearly."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from schemas.corpus import Document, Dropped, Duplicate
from stages.base import Stage
from stages.tables import Outputs, Reader


class Dedup(Stage):
    """Drop exact and near-duplicate documents (LSHBloom: MinHash bands, one Bloom filter a band).

    Two documents that share a fraction s of their word n-grams (Jaccard) are taken for duplicates with probability
    1 - (1 - s**rows_per_band)**num_bands: with the defaults 3 % at 0.3, 30 % at 0.45, 48 % at 0.5, 87 % at 0.6 and
    99 % at 0.7.
    """

    name = "dedup"
    inputs = {"documents": Document}
    outputs = {"documents": Document, "duplicates": Duplicate, "dropped": Dropped}
    packages = ("numpy", "xxhash", "rbloom")
    shares = ("sketch",)
    conserves = ("documents", "documents")

    ngram_words: Annotated[int, Field(ge=1, le=64)] = 5
    num_bands: Annotated[int, Field(ge=1, le=1024)] = 42
    rows_per_band: Annotated[int, Field(ge=1, le=64)] = 6
    false_positive_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    """Share of new documents that the full Bloom filters, all together, may take for seen."""
    capacity: Annotated[int, Field(ge=0)] = 0
    """Documents that the filters are made for; 0: as many as the input has rows."""
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Stream the documents past the filters; the first of a group stays."""
        from stages.dedup.lshbloom import dedup

        dedup(self, inputs["documents"], outputs)
