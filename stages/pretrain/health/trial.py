"""What a diagnosis asks of a run of training: batches by their step, measured at the weights of this moment."""

import math
from collections.abc import Collection, Mapping, Sequence

import torch

from stages.model.engine import Batch, Engine, State
from stages.model.network import IGNORED
from stages.model.optimizers.adamw import BETAS
from stages.pretrain.data import Data
from stages.pretrain.health.diagnose import Measured
from stages.pretrain.health.state import Tensors, impossible


class RunTrial:
    """A `Trial` of an engine and its data. `left_out` are the sequences, by step, that the run does not learn from."""

    def __init__(
        self, engine: Engine, data: Data, left_out: Mapping[int, Collection[int]], *, mask_documents: bool
    ) -> None:
        self.engine, self.data, self.left_out, self.mask_documents = engine, data, left_out, mask_documents

    def measured(self, step: int, *, moved: bool = False, without: Sequence[int] = ()) -> Measured:
        """Measure a step's batch; `moved`: each rank takes its neighbour's share; `without` these sequences (from 0)."""
        batch = self.batch(step, moved=moved, without={*without, *self.left_out.get(step, ())})
        taken = self.engine.measure(batch, step)
        self.engine.discard()
        return Measured(taken.loss, taken.gradient_norm)

    def losses(self, step: int) -> list[float]:
        """The loss of each sequence of a step's batch, in the order of the batch; NaN where nothing is scored."""
        world = self.data.world
        batch = self.batch(step)
        size = len(batch.inputs_BT)
        losses_B = torch.zeros(size * world.size, dtype=torch.float64, device=world.device)
        with torch.no_grad(), self.engine.autocast():
            for row in range(size):
                losses_B[world.rank * size + row] = self._loss(batch, row)
        return [float(v) for v in world.sum(losses_B)]

    def impossible(self) -> str | None:
        """The first tensor, on whatever rank, with a number that no update makes."""
        world = self.engine.layout.world  # ranks of a tensor group hold different parts
        state = self.engine.state()
        names = [key.removeprefix("weights/") for key in state if key.startswith("weights/")]
        found = [impossible([self._tensors(state, name)], BETAS) for name in names]
        broken_N = world.sum(torch.tensor([float(w is not None) for w in found], device=world.device))
        first = next((i for i, count in enumerate(broken_N.tolist()) if count), None)
        return None if first is None else found[first] or f"{names[first]}: broken on another rank"

    def batch(self, step: int, *, moved: bool = False, without: Collection[int] = ()) -> Batch:
        """The share of a step's batch that this rank has, or its neighbour's, with the targets of some sequences taken out."""
        world = self.data.world
        rank = (world.rank + moved) % world.size
        batch = self.data.at(step, rank, mask_documents=self.mask_documents).batch
        return omitted(batch, without, rank * len(batch.inputs_BT))

    def _tensors(self, state: State, name: str) -> Tensors:
        """Weights, and moments where they are AdamW's, of which the bound is known."""
        weight = state[f"weights/{name}"].local
        if self.engine.optimization.optimizer != "adamw":
            return Tensors(name, weight)
        return Tensors(name, weight, state[f"exp_avg/{name}"].local, state[f"exp_avg_sq/{name}"].local)

    def _loss(self, batch: Batch, row: int) -> float:
        device = self.data.world.device
        inputs_BT, targets_BT, documents_BT = (None if t is None else t[row : row + 1].to(device) for t in batch)
        count = int((batch.targets_BT[row] != IGNORED).sum())
        loss = float(self.engine.network(inputs_BT, targets_BT, "sum", documents_BT))
        if not count:
            return math.nan
        return loss / count if math.isfinite(loss) else math.inf


def omitted(batch: Batch, sequences: Collection[int], first: int) -> Batch:
    """The batch without targets in these sequences of the global batch, of which its own begin at `first`."""
    rows = [s - first for s in sequences if first <= s < first + len(batch.inputs_BT)]
    if not rows:
        return batch
    targets_BT = batch.targets_BT.clone()
    targets_BT[rows] = IGNORED
    return batch._replace(targets_BT=targets_BT)
