"""Decontaminate: take out of a corpus what benchmarks will ask."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from schemas.corpus import Document, Dropped
from schemas.evaluation import BenchmarkItem, ItemOverlap, Planted
from stages.base import FolderOrPackage, Stage
from stages.embed import digest
from stages.tables import Outputs, Reader


class Decontaminate(Stage):
    """Find benchmark items in documents, also where OCR, other numbers or another wording hide them, and take them out.

    Before it works on the corpus it plants items in it, clean and damaged, and fails if it does not find them.
    """

    name = "decontaminate"
    version = 2
    inputs = {"documents": Document, "items": BenchmarkItem}
    outputs = {"documents": Document, "overlaps": ItemOverlap, "planted": Planted, "dropped": Dropped}
    packages = ("numpy", "numba")
    shares = ("stream", "embed")
    whole = frozenset({"items"})
    located = frozenset({"embeddings"})
    conserves = ("documents", "documents")

    remove: Literal["document", "span", "nothing"] = "document"
    """What goes when an item is found: the document, the stretch of text that holds the item, or nothing (rows only)."""
    min_letters: Annotated[float, Field(ge=0.3, le=0.9)] = 0.46
    """Share of a long item's letter 4-grams that a stretch of text must have; a short item needs more, up to 0.9 (see `decide`)."""
    embeddings: FolderOrPackage = ""
    """A sentence-embedding model to ask about rewordings, by folder or package as in `embed.model`; empty: letters alone."""
    min_cosine: Annotated[float, Field(gt=0, le=1)] = 0.8
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the planted items."""

    def external(self) -> str:
        """Return the digest of the embedding model's files."""
        return digest(self.embeddings, "decontaminate.embeddings") if self.embeddings else ""

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Plant and find, then look through every document."""
        from stages.decontaminate.search import decontaminate

        decontaminate(self, inputs["documents"], inputs["items"], outputs)
