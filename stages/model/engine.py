"""What an engine is: a network that learns, whatever spreads it over ranks.

A step is `measure` (loss and gradient, weights unchanged) and then `apply` or `discard`. `native` is PyTorch's own
FSDP2 and DTensor, `deepspeed` the second engine. In both, weights, gradients and the optimizer's state are fp32; `bf16` runs
the matrix products under autocast, so that small updates of norms are not lost to rounding. State is named by
parameter, so a run goes on under another layout, number of ranks or engine.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from stages.base import SettingsError
from stages.model.network import IGNORED, Network
from stages.model.optimizers import SHARDED, OptimizerName
from stages.model.optimizers.sophia import Curvature, Sophia
from stages.model.parallelize import Layout
from stages.model.pieces import Piece

Precision = Literal["fp32", "bf16"]
EngineName = Literal["native", "deepspeed"]
State = Mapping[str, Piece]


class TrainingError(Exception):
    """Training cannot go on. The message names the step."""


@dataclass(frozen=True)
class Optimization:
    """How a step is taken. `canonical_ranks`: in so many virtual ranks whatever the real ones; 0 for real ones."""

    batch_sequences: int
    micro_batch_sequences: int
    weight_decay: float
    max_gradient_norm: float
    precision: Precision
    optimizer: OptimizerName = "adamw"
    batch_parts: int = 1
    """At most so many updates share a batch."""
    engine: EngineName = "native"
    canonical_ranks: int = 0


class Batch(NamedTuple):
    """What one rank learns from in a step: B x T inputs and the token after each, -100 where it is not scored.

    With `documents_BT` a position sees only those before it that have its own number.
    """

    inputs_BT: Tensor
    targets_BT: Tensor
    documents_BT: Tensor | None = None

    def rows(self, first: int, count: int, device: torch.device) -> "Batch":
        """A micro-batch, on the device where it is computed."""
        inputs_BT, targets_BT, documents_BT = (None if t is None else t[first : first + count].to(device) for t in self)
        assert inputs_BT is not None
        assert targets_BT is not None
        return Batch(inputs_BT, targets_BT, documents_BT)


class Taken(NamedTuple):
    """A step: over all ranks the loss in nats a token, the gradient norm before clipping, the tokens."""

    loss: float
    gradient_norm: float
    num_tokens: int


class Engine(ABC):
    """A network that learns. Every rank calls the same methods in the same order.

    `network` can be called by all ranks together under `torch.no_grad()`, and sums of its losses over `world` are right: in a
    pipeline the last stage gives the loss, the others zeros. `micro` is the size of a micro-batch.
    """

    def __init__(self, network: Network, optimization: Optimization, layout: Layout) -> None:
        self.network, self.optimization, self.layout = network, optimization, layout
        self.world = layout.data
        share = optimization.batch_sequences // self.world.size
        if share * self.world.size != optimization.batch_sequences:
            problem = (
                f"index.batch_sequences {optimization.batch_sequences} does not split over {self.world.size} ranks"
            )
            raise SettingsError(problem)
        if share % optimization.batch_parts:
            problem = f"{share} sequences a rank do not split into {optimization.batch_parts} equal updates"
            raise SettingsError(f"{problem}: set fewer pretrain.batch_doublings, or another index.batch_sequences")
        _check_optimizer(optimization.optimizer, layout)
        part = share // optimization.batch_parts
        most = min(part, self.micro_limit())
        self.micro = max(size for size in range(1, most + 1) if part % size == 0)

    def step(self, batch: Batch, learning_rate: float, step: int) -> Taken:
        """Learn from this rank's share of the batch, or of an equal part; scored tokens of all ranks weigh the same.

        Raises TrainingError, before the weights change, if loss or gradient are not finite.
        """
        taken = self.measure(batch, step)
        if not math.isfinite(taken.loss):
            cure = "try a lower pretrain.learning_rate or longer warm-up"
            raise TrainingError(f"step {step}: the loss is {taken.loss}; {cure}")
        if not math.isfinite(taken.gradient_norm):
            words = f"the gradient norm is {taken.gradient_norm}, with a loss of {taken.loss:.4f}"
            raise TrainingError(f"step {step}: {words}")
        self.apply(learning_rate)
        return taken

    @abstractmethod
    def measure(self, batch: Batch, step: int) -> Taken:
        """Loss and gradient of a batch, ready to be applied; the weights stay. Neither need be finite."""

    @abstractmethod
    def apply(self, learning_rate: float, max_norm: float | None = None) -> None:
        """Change the weights by the measured gradient, clipped at `max_norm` (by default, at the setting)."""

    @abstractmethod
    def discard(self) -> None:
        """Forget the measured gradient."""

    @abstractmethod
    def state(self) -> State:
        """fp32 weights (`weights/NAME`) and the optimizer's tensors (`exp_avg/NAME`, ...), what this rank holds of them.

        They may be the tensors that the engine works with: copy them before the next step.
        """

    @abstractmethod
    def restore(self, state: State, step: int) -> None:
        """Go on from `self.state()`, whose tensors were filled with those of after `step` steps."""

    def micro_limit(self) -> int:
        """The most sequences that are computed at a time."""
        return self.optimization.micro_batch_sequences

    def autocast(self) -> torch.autocast:
        """The number format of the forward pass, for measurements outside a step."""
        return torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.optimization.precision == "bf16")

    def num_micro(self, batch: Batch) -> int:
        """Micro-batches of a batch."""
        return len(batch.inputs_BT) // self.micro

    def estimate(self, optimizer: torch.optim.Optimizer, batch: Batch) -> Curvature | None:
        """The curvature that Sophia takes in before its next step, from the first micro-batch of every rank, if one is due.

        Its labels follow from steps taken and rank. It changes nothing: a measured step may be discarded.
        """
        if not isinstance(optimizer, Sophia) or not optimizer.due:
            return None
        inputs_BT, targets_BT, documents_BT = batch.rows(0, self.micro, self.world.device)
        seed = optimizer.steps_taken * self.world.size + self.world.rank
        chance = torch.Generator(self.world.device).manual_seed(seed)
        parameters = list(self.network.parameters())
        with self.autocast():
            drawn_BT = self.network.draw(inputs_BT, documents_BT, chance).masked_fill(targets_BT == IGNORED, IGNORED)
            loss = self.network(inputs_BT, drawn_BT, "sum", documents_BT)
        num_scored = int(self.world.sum((drawn_BT != IGNORED).sum()))
        gradients = [self.world.sum(g) / num_scored for g in torch.autograd.grad(loss, parameters)]
        return Curvature(parameters, gradients, num_scored)

    def num_scored(self, batch: Batch) -> Tensor:
        """Tokens of the global batch that count."""
        scored = self.world.sum((batch.targets_BT != IGNORED).sum().to(self.world.device))
        wanted = self.layout.parallelism
        return scored // (wanted.sequence_parallel * wanted.pipeline_parallel)  # ranks that read the same


def _check_optimizer(name: OptimizerName, layout: Layout) -> None:
    wanted = layout.parallelism
    if name not in SHARDED and (wanted.zero_stage or wanted.tensor_parallel > 1):
        cure = f"set zero_stage=0 and tensor_parallel=1, found {wanted.zero_stage} and {wanted.tensor_parallel}"
        raise SettingsError(f"pretrain.optimizer {name} needs each weight and its gradient whole: {cure}")
    if name == "sophia" and wanted.sequence_parallel * wanted.pipeline_parallel > 1:
        cure = "set sequence_parallel=1 and pipeline_parallel=1"
        raise SettingsError(
            f"pretrain.optimizer sophia draws labels for whole sequences from the whole network: {cure}"
        )


def make_engine(network: Network, optimization: Optimization, layout: Layout) -> Engine:
    """The engine that is asked for, over a network that every rank has made alike."""
    if optimization.engine == "deepspeed":
        from stages.model.deepspeed import DeepSpeedEngine

        return DeepSpeedEngine(network, optimization, layout)
    if optimization.canonical_ranks:
        from stages.model.canonical import CanonicalEngine

        return CanonicalEngine(network, optimization, layout)
    if layout.parallelism.pipeline_parallel > 1:
        from stages.model.pipelined import PipelinedEngine

        return PipelinedEngine(network, optimization, layout)
    from stages.model.native import NativeEngine

    return NativeEngine(network, optimization, layout)
