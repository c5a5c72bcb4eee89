"""Training steps by PyTorch alone: whatever `parallelize` made of the network, with an optimizer over local tensors.

The optimizer sees what this rank holds of every parameter as a plain tensor, so any that works element by element works
under any layout. Without ZeRO, gradients of data ranks are added up in one exchange after the backward pass; with it,
FSDP does so layer by layer while the backward pass goes on.
"""

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from stages.model.engine import Batch, Engine, Optimization, State, Taken
from stages.model.network import Network
from stages.model.optimizers import make_optimizer, optimizer_groups
from stages.model.optimizers.adamw import AdamW
from stages.model.optimizers.sophia import Curvature, Sophia
from stages.model.parallelize import (
    Layout,
    cut_of,
    gather_gradients,
    local,
    parallelize,
    reshard,
    synchronised,
)
from stages.model.pieces import Piece


class NativeEngine(Engine):
    """FSDP2, DTensor and Ulysses, as the layout says; one process alone runs the plain network."""

    def __init__(self, network: Network, optimization: Optimization, layout: Layout) -> None:
        super().__init__(network, optimization, layout)
        self.stages = parallelize(network.to(layout.world.device), layout)
        self._parameters = dict(network.named_parameters())
        self._local = {name: _own(p) for name, p in self._parameters.items()}
        self._cuts = {name: cut_of(p) for name, p in self._parameters.items()}
        self.optimizer = self._make_optimizer()
        self._norm = torch.zeros((), device=layout.world.device)
        self._curvature: Curvature | None = None

    def measure(self, batch: Batch, step: int) -> Taken:  # noqa: ARG002 - the interface
        """Loss and gradient of a batch, ready to be applied; the weights stay. Neither need be finite."""
        self.discard()
        self._curvature = self.estimate(self.optimizer, batch)
        num_scored = self.num_scored(batch)
        loss = self._learn(batch, num_scored)
        self._norm = self._gradient_norm()
        return Taken(float(loss), float(self._norm), int(num_scored))

    def apply(self, learning_rate: float, max_norm: float | None = None) -> None:
        """Change the weights by the measured gradient, clipped at `max_norm` (by default, at the setting)."""
        reshard(self.network)
        limit = self.optimization.max_gradient_norm if max_norm is None else max_norm
        torch.nn.utils.clip_grads_with_norm_(self._learning(), limit, self._norm)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        if isinstance(self.optimizer, Sophia) and self._curvature is not None:
            self.optimizer.take(self._curvature)
        self.optimizer.step()
        self.discard()

    def discard(self) -> None:
        """Forget the measured gradient."""
        for name, parameter in self._parameters.items():
            parameter.grad = self._local[name].grad = None

    def state(self) -> State:
        """The tensors that the engine works with, by name."""
        found = {}
        for name, parameter in self._local.items():
            found[f"weights/{name}"] = Piece(parameter.detach(), self._cuts[name])
            for key, value in self.optimizer.state[parameter].items():
                if key != "step":
                    alike = value.shape == parameter.shape
                    found[f"{key}/{name}"] = Piece(value, self._cuts[name]) if alike else Piece.whole(value)
        return found

    def restore(self, state: State, step: int) -> None:  # noqa: ARG002 - they are the engine's own tensors
        """Go on from `self.state()`, whose tensors were filled with those of after `step` steps."""
        self.discard()
        reshard(self.network)
        for tensors in self.optimizer.state.values():
            tensors["step"].fill_(step)

    def _learn(self, batch: Batch, num_scored: Tensor) -> Tensor:
        """Compute the gradient of all ranks' batch, and its loss."""
        total = self._passes(batch, num_scored)
        for name, gradient in self._synchronised(self._local_gradients()).items():
            self._local[name].grad = gradient
        return self.world.sum(total)

    def _passes(self, batch: Batch, num_scored: Tensor) -> Tensor:
        """Leave the gradient of this rank's batch in the parameters; the part of the loss that was computed here."""
        total = torch.zeros((), dtype=torch.float64, device=self.world.device)
        num_micro = self.num_micro(batch)
        for index in range(num_micro):
            last, stage = index == num_micro - 1, self.layout.parallelism.zero_stage
            gather_gradients(self.network, last=last, zero_stage=stage)
            total += self._backward(batch, index, num_scored)
        return total

    def _synchronised(self, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        """The sum over data ranks, where FSDP has not made it."""
        if self.world.alone or self.layout.parallelism.zero_stage:
            return gradients
        summed = synchronised(list(gradients.values()), self.layout.replicas)
        return dict(zip(gradients, summed, strict=True))

    def _backward(self, batch: Batch, index: int, num_scored: Tensor) -> Tensor:
        inputs_BT, targets_BT, documents_BT = batch.rows(index * self.micro, self.micro, self.world.device)
        with self.autocast():
            loss: Tensor = self.network(inputs_BT, targets_BT, "sum", documents_BT) / num_scored
        loss.backward()
        return loss.detach()

    def _local_gradients(self) -> dict[str, Tensor]:
        """What the backward pass left on this rank, cut as the parameters are."""
        named = self._parameters.items()
        return {name: local(_placed(p.grad, p)) for name, p in named if p.grad is not None}

    def _learning(self) -> list[Tensor]:
        return [p for p in self._local.values() if p.grad is not None]

    def _gradient_norm(self) -> Tensor:
        """Every weight counted once, whoever holds it."""
        if not self.layout.cut:
            return torch.nn.utils.get_total_norm([p.grad for p in self._learning() if p.grad is not None])
        place = self.layout.place
        own = [p.grad for n, p in self._local.items() if p.grad is not None and self._cuts[n].owned(place)]
        square = torch.nn.utils.get_total_norm(own).to(self.world.device).double().square()
        return self.layout.world.sum(square).sqrt().float()

    def _make_optimizer(self) -> AdamW:
        wanted = self.optimization
        groups = optimizer_groups(wanted.optimizer, self.network, wanted.weight_decay)
        names = {id(parameter): name for name, parameter in self._parameters.items()}
        for group in groups:
            group["params"] = [self._local[names[id(p)]] for p in group["params"]]
        return make_optimizer(wanted.optimizer, groups)


def _own(parameter: nn.Parameter) -> nn.Parameter:
    """What this rank holds of a parameter, as a parameter that shares its memory."""
    return nn.Parameter(local(parameter).detach()) if isinstance(parameter, DTensor) else parameter


def _placed(gradient: Tensor, parameter: Tensor) -> Tensor:
    """The gradient cut as its parameter is."""
    if isinstance(gradient, DTensor) and isinstance(parameter, DTensor):
        return gradient.redistribute(placements=parameter.placements)
    return gradient
