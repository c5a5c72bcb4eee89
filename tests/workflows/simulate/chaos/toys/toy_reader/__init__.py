"""A stage whose input is damaged, as its settings say, just before it starts."""

from collections.abc import Mapping

from schemas.corpus import Dropped
from stages.base import Stage
from stages.tables import Outputs, Reader


class ToyReader(Stage):
    """Copy rows."""

    name = "toy_reader"
    inputs = {"rows": Dropped}
    outputs = {"rows": Dropped}
    located = frozenset({"damage"})

    damage: str = ""

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Copy."""
        for batch in inputs["rows"].batches():
            outputs["rows"].write(batch)
