"""Ingest: find files, archives' members and records, and say what each is, where from, and under which licence."""

from collections.abc import Mapping

from schemas.corpus import Dropped, SourceFile
from stages.base import Stage, Strings
from stages.tables import Outputs, Reader


class Ingest(Stage):
    """Find the files of a corpus: PDF, JSON Lines, Parquet, text, Markdown, JATS XML, in folders and archives."""

    name = "ingest"
    outputs = {"sources": SourceFile, "dropped": Dropped}
    located = frozenset({"paths"})

    paths: Strings = ("examples/corpus",)
    include: Strings = ("*",)
    exclude: Strings = ()
    licence: str | None = None

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """List every path and write a row for each thing found."""
        from stages.ingest.walk import ingest

        ingest(self, outputs)
