"""Substring: passages that many documents have, word for word, cut or counted."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from schemas.corpus import Document, Dropped, Passage, RepeatedSpan
from stages.base import Stage
from stages.tables import Outputs, Reader


class Substring(Stage):
    """Find runs of words that stand in several documents (licences, statements, headers), and cut them or count them.

    White space, and marks that stand alone (`###`, `|`), do not matter; every other character does.
    """

    name = "substring"
    undivided = "a part alone cannot see the others' documents"
    inputs = {"documents": Document}
    outputs = {"documents": Document, "passages": Passage, "spans": RepeatedSpan, "dropped": Dropped}
    packages = ("numpy", "numba")
    shares = ("decontaminate", "dedup", "sketch", "stream")
    conserves = ("documents", "documents")

    action: Literal["cut", "count"] = "cut"
    """Cut repeated passages out of the documents, or pass all documents on as they are and only say where they repeat."""
    keep: Literal["first", "none"] = "first"
    """Which occurrence is not cut: the first in the order of the documents, or none."""
    min_words: Annotated[int, Field(ge=2, le=10_000)] = 30
    """Least length of a passage; half of its words must have a letter, so that rows of numbers are none."""
    min_documents: Annotated[int, Field(ge=1)] = 3
    """A passage is repeated from so many documents on; two papers that share one are mostly by the same authors."""
    min_occurrences: Annotated[int, Field(ge=2)] = 2
    """And from so many occurrences on, several in one document counted: matters where it is above `min_documents`."""

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Read the texts twice: to find what is repeated, and to cut it."""
        from stages.substring.passages import substring

        substring(self, inputs["documents"], outputs)
