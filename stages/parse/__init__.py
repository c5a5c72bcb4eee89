"""Parse: text out of every source, page by page where there are pages."""

from collections.abc import Mapping

from schemas.corpus import Document, Dropped, SourceFile
from stages.base import Stage
from stages.tables import Outputs, Reader


class Parse(Stage):
    """Turn sources into documents: a PDF's text layer, OCR for pages without one, native readers for the rest."""

    name = "parse"
    inputs = {"sources": SourceFile}
    outputs = {"documents": Document, "dropped": Dropped}
    conserves = ("sources", "documents")
    packages = ("pypdfium2", "lxml")

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Parse this shard's sources in worker processes, in order."""
        from stages.parse.pool import parse

        parse(self, inputs["sources"], outputs)
