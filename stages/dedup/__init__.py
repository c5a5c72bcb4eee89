"""Dedup: drop documents that repeat an earlier one, exactly or nearly."""

from collections.abc import Mapping

from schemas.corpus import Document, Dropped, Duplicate
from stages.base import Stage
from stages.tables import Outputs, Reader


class Dedup(Stage):
    """Drop exact and near-duplicate documents (LSHBloom: MinHash bands, one Bloom filter a band)."""

    name = "dedup"
    inputs = {"documents": Document}
    outputs = {"documents": Document, "duplicates": Duplicate, "dropped": Dropped}
    conserves = ("documents", "documents")

    ngram_words: int = 5
    num_bands: int = 14
    rows_per_band: int = 8

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Stream the documents past the filters; the first of a group stays."""
        from stages.dedup.lshbloom import dedup

        dedup(self, inputs["documents"], outputs)
