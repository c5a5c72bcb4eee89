"""Muon: the momentum of a hidden matrix, made orthogonal (Jordan et al. 2024); AdamW for everything else.

    m = mu m + (1 - mu) g;  u = (1 - mu) g + mu m;  w -= lr * (0.2 sqrt(max(M, N)) * orthogonal(u) + decay * w)

Five Newton-Schulz steps move every singular value of u into about 0.7 .. 1.2, which is as good as 1 in training. The
factor (Liu et al. 2025, "Muon is scalable") gives updates the size of AdamW's, so that one learning rate and one decay
serve both. The products run in bf16 on accelerators and in fp32 on CPUs. What it gives up: shards, since it needs the
matrix whole.
"""

import torch
from torch import Tensor

from stages.model.optimizers.adamw import Group, ParameterState
from stages.model.optimizers.matrices import MatrixOptimizer

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of Jordan's quintic: steepest at zero that stays in about 0.7 .. 1.2
NUM_ITERATIONS = 5
UPDATE_SIZE = 0.2  # root mean square of a typical AdamW update
EPSILON = 1e-7


class Muon(MatrixOptimizer):
    """Groups with `matrices` are made orthogonal, the others follow AdamW."""

    def matrix_state(self, weights_MN: Tensor) -> ParameterState:
        """The momentum."""
        return {"momentum": torch.zeros_like(weights_MN)}

    def matrix_step(self, parameter_MN: Tensor, state: ParameterState, group: Group) -> None:
        """Decay, then go along the orthogonal factor of Nesterov's momentum."""
        gradient_MN = parameter_MN.grad
        assert gradient_MN is not None
        momentum_MN = state["momentum"].lerp_(gradient_MN, 1 - MOMENTUM)
        ahead_MN = gradient_MN.lerp(momentum_MN, MOMENTUM)
        dtype = torch.float32 if parameter_MN.device.type == "cpu" else torch.bfloat16
        size = UPDATE_SIZE * max(parameter_MN.shape) ** 0.5
        parameter_MN.mul_(1 - group["lr"] * group["weight_decay"])
        parameter_MN.add_(orthogonal(ahead_MN, dtype), alpha=-group["lr"] * size)


def orthogonal(matrix_MN: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Nearly U V' of the singular value decomposition U S V', by Newton-Schulz steps x = a x + (b x x' + c (x x')^2) x."""
    a, b, c = COEFFICIENTS
    wide = matrix_MN.shape[0] <= matrix_MN.shape[1]
    x = (matrix_MN if wide else matrix_MN.T).to(dtype)  # the smaller Gram matrix
    x = x / x.norm().clamp(min=EPSILON)
    for _ in range(NUM_ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x if wide else x.T).to(matrix_MN.dtype)
