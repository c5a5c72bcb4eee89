"""Allot: the parts of parse's budget that its shards have, divided once, before they start."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from schemas.corpus import Allotment, SourceFile
from stages.base import SettingsError, Stage
from stages.parse import Parse
from stages.parse.router import SAMPLE
from stages.tables import Outputs, Reader


class Allot(Stage):
    """One row a shard of parse: its part of the budget, so that all shards spend it as if at one price.

    Read from the text layers of documents drawn in every shard; a recipe has it where parse has a budget and several shards.
    """

    name = "allot"
    undivided = "the parts of a budget are found together"
    inputs = {"sources": SourceFile}
    outputs = {"allotment": Allotment}
    packages = ("pypdfium2", "numpy", "numba", "pikepdf")
    shares = ("parse",)

    parsing: Parse | None = None
    """The settings of the parse whose budget is divided."""
    num_shards: Annotated[int, Field(ge=1)] = 1
    """Into how many parts."""
    documents: Annotated[int, Field(ge=1)] = SAMPLE
    """Drawn of each shard; 20 to 50 ms of a processor each."""

    def settings(self) -> dict[str, Any]:
        """The settings that make the output what it is, of parse too."""
        return {**super().settings(), "parsing": self.parsing and self.parsing.settings()}

    def external(self) -> str:
        """The router's weights."""
        return self.parsing.external() if self.parsing else ""

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Look at the sample in worker processes, then divide."""
        from stages.parse.router.allotment import divide

        if self.parsing is None or self.parsing.budget is None:
            raise SettingsError('allot.parsing: set those of a parse with a budget: {"parsing": {"budget": "0.5 s"}}')
        rows = divide(self.parsing, inputs["sources"], self.num_shards, self.documents)
        outputs["allotment"].write(rows)
        for row in rows:
            print(f"shard {row.shard}: {row.part:.1f} of {sum(r.part for r in rows):.1f}", flush=True)
