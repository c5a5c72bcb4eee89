"""SOAP: Adam in the slowly turning eigenbasis of Shampoo's preconditioner (Vyas et al. 2024); AdamW for the rest.

    L = b L + (1 - b) g g';  R = b R + (1 - b) g' g;  g~ = Q_L' g Q_R;  v = b2 v + (1 - b2) g~^2
    w -= lr * (Q_L (Q_L' m Q_R / (sqrt(v) + eps)) Q_R' + decay * w)

The first step only finds the bases (by eigh, as the gradient alone does not fill the space); every tenth step one
orthogonal iteration turns them: their columns are sorted by eigenvalue, and Q = qr(L Q). What it gives up: memory, two
squares more for each matrix (a side over 8192 stays as it is), and shards, since it needs the matrix whole.
"""

import torch
from torch import Tensor

from stages.model.optimizers.adamw import Group, ParameterState, moments
from stages.model.optimizers.matrices import MatrixOptimizer

BETAS, EPSILON = (0.95, 0.95), 1e-8
PRECONDITIONER_BETA = 0.95
EVERY = 10  # steps between two turns of the bases
MAX_SIDE = 8192
SIDES = ("left", "right")


class SOAP(MatrixOptimizer):
    """Groups with `matrices` follow Adam in their eigenbasis, the others AdamW."""

    def matrix_state(self, weights_MN: Tensor) -> ParameterState:
        """Both moments, and for each side of up to 8192 rows the covariance of the gradient and its basis."""
        state = moments(weights_MN)
        for side, size in zip(SIDES, weights_MN.shape, strict=True):
            if size <= MAX_SIDE:
                state[side] = weights_MN.new_zeros(size, size)
                state[f"{side}_basis"] = torch.eye(size, dtype=weights_MN.dtype, device=weights_MN.device)
        return state

    def matrix_step(self, parameter_MN: Tensor, state: ParameterState, group: Group) -> None:
        """A step of Adam in the basis so far, then the covariances with this gradient, and their bases if it is time."""
        gradient_MN, taken = parameter_MN.grad, int(state["step"]) - 1
        assert gradient_MN is not None
        if taken:
            update_MN = _adam(gradient_MN, state, taken)
            parameter_MN.mul_(1 - group["lr"] * group["weight_decay"]).add_(update_MN, alpha=-group["lr"])
        for axis, side in enumerate(SIDES):
            if side in state:
                other = gradient_MN if axis == 0 else gradient_MN.T
                state[side].lerp_(other @ other.T, 1 - PRECONDITIONER_BETA)
                if not taken:
                    state[f"{side}_basis"].copy_(torch.linalg.eigh(state[side])[1].flip(1))
                elif taken % EVERY == 0:
                    _turn(state, side, axis)


def _adam(gradient_MN: Tensor, state: ParameterState, taken: int) -> Tensor:
    """The update of Adam in the basis, turned back."""
    momentum_MN = state["exp_avg"].lerp_(gradient_MN, 1 - BETAS[0])
    turned_MN, ahead_MN = _into(gradient_MN, state), _into(momentum_MN, state)
    squares_MN = state["exp_avg_sq"].lerp_(turned_MN.square(), 1 - BETAS[1])
    scale = (1 - BETAS[1] ** taken) ** 0.5 / (1 - BETAS[0] ** taken)
    return _out_of(ahead_MN / (squares_MN.sqrt() + EPSILON) * scale, state)


def _into(x_MN: Tensor, state: ParameterState) -> Tensor:
    x_MN = state["left_basis"].T @ x_MN if "left" in state else x_MN
    return x_MN @ state["right_basis"] if "right" in state else x_MN


def _out_of(x_MN: Tensor, state: ParameterState) -> Tensor:
    x_MN = state["left_basis"] @ x_MN if "left" in state else x_MN
    return x_MN @ state["right_basis"].T if "right" in state else x_MN


def _turn(state: ParameterState, side: str, axis: int) -> None:
    """One orthogonal iteration, largest eigenvalue first; the squares go with their columns."""
    basis, covariance = state[f"{side}_basis"], state[side]
    order = (basis * (covariance @ basis)).sum(0).argsort(descending=True, stable=True)
    state["exp_avg_sq"].copy_(state["exp_avg_sq"].index_select(axis, order))
    basis.copy_(torch.linalg.qr(covariance @ basis[:, order])[0])
