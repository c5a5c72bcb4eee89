"""A stage that writes numbered rows, and in the middle of them has a fault of the kind that its settings name."""

from collections.abc import Mapping

from schemas.corpus import Dropped
from stages.base import Stage, rank
from stages.tables import Outputs, Reader

ROWS = 60


class Toy(Stage):
    """Numbered rows, with a fault in the middle."""

    name = "toy"
    outputs = {"rows": Dropped}
    located = frozenset({"fault", "folder"})  # the rows do not depend on them

    number: int = 0
    fault: str = ""
    folder: str = ""
    """Where marks are left: of attempts, and of faults that come once."""

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:  # noqa: ARG002 - the interface
        """Write this shard's rows."""
        from stages.toy.faults import note, strike

        if self.folder and rank() == 0:
            note(self, outputs.shard)
        outputs.progress.start("rows", ROWS)
        index, count = outputs.shard
        for i in range(ROWS * index // count, ROWS * (index + 1) // count):
            row_id, detail = f"{self.number}-{i}", f"row {i} of {self.number}"
            left_out = self.fault == "poison" and outputs.begin(row_id)
            if i == (ROWS * index + ROWS // 2) // count and rank() == 0 and not left_out:
                strike(self, outputs)
            if not left_out:
                outputs["rows"].write(Dropped(row_id=row_id, path="", reason="toy", detail=detail))
            outputs.progress.advance()
