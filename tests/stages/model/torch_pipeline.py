"""The same stages under `torch.distributed.pipelining`, to compare with: its schedules, its messages, its backward passes."""

from collections.abc import Callable
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleInterleaved1F1B
from torch.nn.functional import cross_entropy

from stages.model.engine import Batch
from stages.model.network import IGNORED
from stages.model.pipelined import PipelinedEngine


class Part(nn.Module):
    """One stage of an engine's, as torch takes it; the last one gives logits."""

    def __init__(self, engine: PipelinedEngine, stage: int) -> None:
        super().__init__()
        self.network, self.stages, self.stage = engine.network, engine.stages, stage

    def forward(self, inputs: Tensor) -> Tensor:
        """The residual stream, or the scores of every next token."""
        made = self.stages._through(self.stage, inputs, None)
        return cast("Tensor", self.network.head(self.network.norm(made))) if self.stages.last(self.stage) else made


def torch_passes(engine: PipelinedEngine, batch: Batch, num_scored: int) -> Callable[[], float]:
    """A call that leaves the batch's gradient in the parameters, as the engine's own passes do; it gives the loss, or 0."""
    group, stages, device = cast("dist.ProcessGroup", engine.layout.pipeline), engine.stages, torch.device("cpu")
    parts = [PipelineStage(Part(engine, g), g, stages.num_stages, device, group=group) for g in stages.own]

    def loss_of(logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
        total = cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), ignore_index=IGNORED, reduction="sum")
        return total / num_scored

    count = engine.num_micro(batch)
    if len(parts) == 1:
        schedule: Schedule1F1B | ScheduleInterleaved1F1B = Schedule1F1B(parts[0], count, loss_of, scale_grads=False)
    else:
        schedule = ScheduleInterleaved1F1B(parts, count, loss_of, scale_grads=False)

    def passes() -> float:
        losses: list[Tensor] = []
        inputs = [batch.inputs_BT] if stages.rank == 0 else []
        last = stages.rank == stages.num_ranks - 1
        schedule.step(*inputs, target=batch.targets_BT if last else None, losses=losses if last else None)
        return float(sum(loss.detach() for loss in losses))

    return passes
