"""Filter: keep the documents that are worth training on and allowed to be."""

from collections.abc import Mapping

from schemas.corpus import Document, Dropped
from stages.base import Stage, Strings
from stages.tables import Outputs, Reader


class Filter(Stage):
    """Drop documents by language, length, repetition and licence, each with its reason."""

    name = "filter"
    inputs = {"documents": Document}
    outputs = {"documents": Document, "dropped": Dropped}
    conserves = ("documents", "documents")

    languages: Strings = ("en",)

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Judge every document."""
        from stages.filter.rules import filter_documents

        filter_documents(self, inputs["documents"], outputs)
