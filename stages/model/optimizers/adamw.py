"""AdamW (Loshchilov and Hutter 2019).

The fused kernel of torch takes one pass over weights, gradients and both moments. All state is made at the start, as
plain tensors of the parameter's own, so that a checkpoint needs no step taken before it can be restored. Weights and
state are fp32: what small updates add to a norm would be lost to rounding in bf16.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

BETAS, EPSILON = (0.9, 0.95), 1e-8  # the usual choice for language models since GPT-3 (Brown et al. 2020)
Group = dict[str, Any]
ParameterState = dict[str, Tensor]


class AdamW(torch.optim.Optimizer):
    """AdamW for every group."""

    def __init__(self, groups: Iterable[Group]) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0})
        self.start()

    def start(self) -> None:
        """Make all state, as it is before the first step; again after the groups were given other parameters."""
        self.state.clear()
        for group in self.param_groups:
            for parameter in group["params"]:
                self.add_state(parameter, group)

    def add_state(self, parameter: Tensor, group: Group) -> None:
        """Make the state of one parameter of `group`, as it is before the first step."""
        made = self.first_state(parameter.data, group)
        self.state[parameter] = {"step": torch.zeros((), device=parameter.device), **made}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002 - torch's interface
        """Change every parameter that has a gradient."""
        for group in self.param_groups:
            learning = [p for p in group["params"] if p.grad is not None]
            if learning:
                self.group_step(learning, group)

    def first_state(self, weights: Tensor, group: Group) -> ParameterState:  # noqa: ARG002 - for subclasses
        """What a parameter of `group` has beside its count of steps, before the first one."""
        return moments(weights)

    def group_step(self, parameters: list[Tensor], group: Group) -> None:
        """Change these parameters of `group`."""
        adamw_step(parameters, [self.state[p] for p in parameters], group)


def moments(weights: Tensor) -> ParameterState:
    """The two moments of Adam, zero."""
    return {"exp_avg": torch.zeros_like(weights), "exp_avg_sq": torch.zeros_like(weights)}


def adamw_step(parameters: list[Tensor], states: list[ParameterState], group: Group) -> None:
    """One step of AdamW for these parameters: w -= lr * (m / (sqrt(v) + eps) + decay * w), m and v without their bias."""
    adamw(
        parameters,
        [p.grad for p in parameters if p.grad is not None],
        [state["exp_avg"] for state in states],
        [state["exp_avg_sq"] for state in states],
        [],
        [state["step"] for state in states],
        fused=True,
        amsgrad=False,
        beta1=BETAS[0],
        beta2=BETAS[1],
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=EPSILON,
        maximize=False,
    )
