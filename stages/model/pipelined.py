"""Training steps through a pipeline of ranks, each with some layers, by the timetable of one forward and one backward.

The gradient is that of the whole batch, so losses are those of one process but for rounding. Where embedding and head share
their weights, the first and the last stage both have them, add up their gradients and take the same step. ZeRO cuts each
stage's weights over its own data ranks. State is named by parameter, and every rank knows what the others have, so a
checkpoint is read by any other layout. What it gives up: Sophia, whose labels are drawn from the whole network's output.
"""

import json
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from stages.model.distributed import said
from stages.model.engine import Batch, Optimization, State
from stages.model.native import NativeEngine
from stages.model.network import Network
from stages.model.parallelize import Layout, gather_gradients
from stages.model.pieces import Cut, Piece
from stages.model.pipeline import Arriving, Stages
from stages.model.timetable import Action, turns

EMBEDDING = "embedding.weight"


class PipelinedEngine(NativeEngine):
    """The native engine with layers cut over ranks."""

    stages: Stages

    def __init__(self, network: Network, optimization: Optimization, layout: Layout) -> None:
        super().__init__(network, optimization, layout)
        self._cuts_everywhere = self._shared_cuts()
        self._cuts = {name: self._cuts_everywhere[f"weights/{name}"] for name in self._cuts}

    def micro_limit(self) -> int:
        """At least as many micro-batches as ranks of a pipeline, which wait for each other else."""
        wanted = self.optimization
        part = wanted.batch_sequences // self.world.size // wanted.batch_parts
        return min(wanted.micro_batch_sequences, max(1, part // self.layout.parallelism.pipeline_parallel))

    def state(self) -> State:
        """The tensors that the engine works with, by name; of those of other stages, how they are cut there."""
        own = super().state()
        elsewhere = torch.empty(0)
        return {n: Piece(own[n].local if n in own else elsewhere, cut) for n, cut in self._cuts_everywhere.items()}

    def _passes(self, batch: Batch, num_scored: Tensor) -> Tensor:
        plan = turns(self.stages.rank, self.stages.num_ranks, len(self.stages.own), self.num_micro(batch))
        passes = Passes(self, batch, num_scored)
        last = [turn.action for turn in plan if turn.action][-1]
        for turn in plan:
            made = passes.take(turn.action, last=turn.action == last) if turn.action else None
            sent = (made, turn.receiver) if made is not None and turn.receiver is not None else None
            passes.exchange(sent, turn.arriving)
        return passes.total

    def _synchronised(self, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        """Sums over data ranks; then those of shared weights, the same two numbers on both stages."""
        gradients = super()._synchronised(gradients)
        ends = {0: self.stages.num_ranks - 1, self.stages.num_ranks - 1: 0}
        if self.network.sizes.tie_embeddings and (other := ends.get(self.stages.rank)) is not None:
            own = gradients[EMBEDDING]
            ((work, theirs),) = self.stages.post.exchange((own, other), [(other, torch.empty_like(own))])
            self.world.wait(work)
            gradients[EMBEDDING] = own + theirs
        return gradients

    def _shared_cuts(self) -> dict[str, Cut]:
        """How every tensor of the state is cut, and on which stage, whoever has it: told once."""
        own = {name: (piece.cut.shape, piece.cut.splits) for name, piece in super().state().items()}
        group = cast("dist.ProcessGroup", self.layout.pipeline)
        found: dict[str, Cut] = {}
        for stage, words in enumerate(said(json.dumps(own), group, self.world.device)):
            for name, (shape, splits) in json.loads(words).items():
                found.setdefault(name, Cut(tuple(shape), tuple((axis, d) for axis, d in splits), stage))
        return found


class Passes:
    """The micro-batches of one batch on their way through this rank."""

    def __init__(self, engine: PipelinedEngine, batch: Batch, num_scored: Tensor) -> None:
        self.engine, self.stages, self.batch, self.num_scored = engine, engine.stages, batch, num_scored
        self.total = torch.zeros((), dtype=torch.float64, device=engine.world.device)
        self._arriving: dict[Action, Arriving] = {}
        self._open: dict[Action, tuple[Tensor, Tensor]] = {}  # what stages were given and made of it

    def take(self, action: Action, *, last: bool) -> Tensor | None:
        """Do one action; what the next one needs of it, if any. `last`: no other follows on this rank."""
        return self._forward(action) if action.forward else self._backward(action, last=last)

    def exchange(self, sent: tuple[Tensor, int] | None, arriving: tuple[tuple[int, Action], ...]) -> None:
        """Send what was made, and make room for what others make at the same time."""
        num_tokens = self.batch.inputs_BT.shape[1] // self.engine.layout.parallelism.sequence_parallel
        rooms = [(rank, self.stages.room(self.engine.micro, num_tokens)) for rank, _ in arriving]
        found = self.stages.post.exchange(sent, rooms)
        self._arriving |= zip((use for _, use in arriving), found, strict=True)

    def _forward(self, action: Action) -> Tensor | None:
        engine, first = self.engine, action.micro * self.engine.micro
        inputs, targets_BT, documents_BT = self.batch.rows(first, engine.micro, self.total.device)
        if action.stage:
            inputs = self._arrived(action).requires_grad_()
        with engine.autocast():
            made: Tensor = engine.network(inputs, targets_BT, "sum", documents_BT, action.stage)
            if self.stages.last(action.stage):
                made = made / self.num_scored
                self.total += made.detach()
        self._open[action] = (inputs, made)
        return None if self.stages.last(action.stage) else made.detach()

    def _backward(self, action: Action, *, last: bool) -> Tensor | None:
        inputs, made = self._open.pop(action._replace(forward=True))
        gradient = None if self.stages.last(action.stage) else self._arrived(action)
        network = self.engine.network
        gather_gradients(network, last=last, zero_stage=self.engine.layout.parallelism.zero_stage)
        if isinstance(network, FSDPModule):
            network.set_is_last_backward(last)
        torch.autograd.backward(made, gradient)
        return inputs.grad

    def _arrived(self, action: Action) -> Tensor:
        work, tensor = self._arriving.pop(action)
        self.engine.world.wait(work)
        return tensor
