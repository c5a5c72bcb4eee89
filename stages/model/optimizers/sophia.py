"""Sophia-G: steps along the momentum, divided by an estimate of the curvature and clipped (Liu et al. 2023).

    m = b1 m + (1 - b1) g;  w -= lr * (clip(m / max(rho h, eps), -1, 1) + decay * w)

Every ten steps h = b2 h + (1 - b2) B g^2, with g the gradient of the mean loss over B tokens whose labels are drawn from
the network's own predictions (the Gauss-Newton-Bartlett estimator of the diagonal). The estimate takes one micro-batch
a rank. A step moves no weight by more than the learning rate, which should be somewhat below AdamW's. What it gives up:
shards of the optimizer's state (ZeRO 1), into which the estimate would have to be cut.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stages.model.optimizers.adamw import AdamW, Group, ParameterState

BETAS = (0.965, 0.99)
RHO = 0.05  # 0.03 to 0.08 leave 10 to 50 % of the weights unclipped in the paper's runs
EPSILON = 1e-15
EVERY = 10  # steps between two estimates


class Curvature(NamedTuple):
    """An estimate: gradients of the mean loss on `num_tokens` drawn labels."""

    parameters: Sequence[Tensor]
    gradients: Sequence[Tensor]
    num_tokens: int


class Sophia(AdamW):
    """Sophia-G for every group. Call `take` before a step if an estimate is `due`."""

    @property
    def steps_taken(self) -> int:
        """Steps so far."""
        return int(next(iter(self.state.values()))["step"])

    @property
    def due(self) -> bool:
        """Whether the curvature is estimated before the next step."""
        return self.steps_taken % EVERY == 0

    def first_state(self, weights: Tensor, group: Group) -> ParameterState:  # noqa: ARG002 - all groups alike
        """Momentum and curvature, zero."""
        return {"exp_avg": torch.zeros_like(weights), "curvature": torch.zeros_like(weights)}

    @torch.no_grad()
    def take(self, estimate: Curvature) -> None:
        """Let an estimate into the running mean."""
        for parameter, gradient in zip(estimate.parameters, estimate.gradients, strict=True):
            curvature = self.state[parameter]["curvature"]
            curvature.mul_(BETAS[1]).addcmul_(gradient, gradient, value=(1 - BETAS[1]) * estimate.num_tokens)

    def group_step(self, parameters: list[Tensor], group: Group) -> None:
        """Change these parameters of `group`."""
        for parameter in parameters:
            state, gradient = self.state[parameter], parameter.grad
            assert gradient is not None
            state["step"] += 1
            momentum = state["exp_avg"].lerp_(gradient, 1 - BETAS[0])
            update = (momentum / (state["curvature"] * RHO).clamp_(min=EPSILON)).clamp_(-1, 1)
            parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"])
