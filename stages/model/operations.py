"""Three operations whose gradient is written out, because what autograd makes of their formulas reads memory too often.

On a CPU a small network's matrix products take less time than what lies between them. RMSNorm and rotary positions keep
their input and take a third of the passes; the head with its cross entropy computes its gradient along with the loss,
some rows at a time, so that neither logits nor their gradient ever exist whole (Hsu et al. 2024, "Liger kernel"). Sums
are in fp32; under autocast what goes into a matrix product is cast to it once. What they give up: second derivatives.

Shapes: B sequences, T tokens, D width, S head size, N rows, V vocabulary.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100  # a target that is not scored
LOGITS_BYTES = {"cpu": 32 << 20}  # fp32 logits that exist at a time: what still fits a cache
LOGITS_BYTES_ELSEWHERE = 256 << 20


def rms_norm(x: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """RMSNorm over the last axis: x / sqrt(mean(x^2) + eps) * weight, in fp32, given as autocast's type or that of `x`."""
    return cast("Tensor", _RMSNorm.apply(x, weight_D, eps, _products(x)))  # type: ignore[no-untyped-call]


def rotate(x_BHTS: Tensor, cos_TS: Tensor, sin_TS: Tensor) -> Tensor:
    """Turn each feature pair (i, i + S/2) by its position's angle."""
    return cast("Tensor", _Rotate.apply(x_BHTS, cos_TS, sin_TS))  # type: ignore[no-untyped-call]


def linear_cross_entropy(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, z_loss: float = 0.0) -> Tensor:
    """The sum of -log softmax(hidden weight')[target] over scored rows, in fp32.

    The gradient is that of the loss and of `z_loss` times the sum of log(Z)^2, of which the value says nothing.
    """
    how = (z_loss, _products(hidden_ND))
    found = _LinearCrossEntropy.apply(hidden_ND, weight_VD, targets_N, how)  # type: ignore[no-untyped-call]
    return cast("Tensor", found)


def rows_at_a_time(vocab_size: int, device: torch.device) -> int:
    """Rows whose fp32 logits may exist at a time."""
    return max(1, LOGITS_BYTES.get(device.type, LOGITS_BYTES_ELSEWHERE) // (4 * vocab_size))


def _products(x: Tensor) -> torch.dtype:
    """The type in which matrix products of `x` are taken here."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, weight_D: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        wide = x if x.dtype == torch.float64 else x.float()
        mean = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(x.shape[-1])
        scale = mean.add_(eps).rsqrt_()
        context.save_for_backward(x, weight_D, scale)
        normal: Tensor = (wide * scale).mul_(weight_D)
        return normal.to(dtype)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight_D, scale = context.saved_tensors
        gradient = gradients[0].to(scale.dtype)
        product = gradient * x
        along = product.flatten(0, -2)
        weight_gradient_D = along.T.mv(scale.flatten())
        dot = along.mv(weight_D).view_as(scale)
        pull = scale.pow(3).mul_(dot).div_(-x.shape[-1])
        learned = (gradient * weight_D).mul_(scale).addcmul_(x.to(scale.dtype), pull)
        return learned.to(x.dtype), weight_gradient_D.to(weight_D.dtype), None, None


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x_BHTS: Tensor, cos_TS: Tensor, sin_TS: Tensor) -> Tensor:
        context.save_for_backward(cos_TS, sin_TS)
        return _turned(x_BHTS, cos_TS, sin_TS, 1)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        cos_TS, sin_TS = context.saved_tensors
        return _turned(gradients[0], cos_TS, sin_TS, -1), None, None


def _turned(x_BHTS: Tensor, cos_TS: Tensor, sin_TS: Tensor, way: int) -> Tensor:
    wide = x_BHTS.to(torch.promote_types(x_BHTS.dtype, cos_TS.dtype))
    (first, second), half = wide.chunk(2, -1), sin_TS.shape[-1] // 2
    turned = wide * cos_TS
    turned[..., :half].addcmul_(second, sin_TS[..., :half], value=-way)
    turned[..., half:].addcmul_(first, sin_TS[..., half:], value=way)
    return turned.to(x_BHTS.dtype)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, how: tuple[float, torch.dtype]
    ) -> Tensor:
        z_loss, dtype = how
        hidden, weight = hidden_ND.to(dtype), weight_VD.to(dtype)
        learned_ND, learned_VD = torch.empty_like(hidden), torch.zeros_like(weight_VD)
        total = torch.zeros((), device=hidden.device)
        size = rows_at_a_time(len(weight), hidden.device)
        for rows, targets, learned in zip(
            hidden.split(size), targets_N.split(size), learned_ND.split(size), strict=True
        ):
            loss, gradient_RV, weights_R1 = _measured(rows @ weight.T, targets, z_loss)
            total += loss
            gradient = gradient_RV.to(dtype)
            torch.mul(gradient @ weight, weights_R1.to(dtype), out=learned)
            weighed = rows * weights_R1.to(dtype)
            if dtype == learned_VD.dtype:
                learned_VD.addmm_(gradient.T, weighed)
            else:
                learned_VD += gradient.T @ weighed
        context.save_for_backward(learned_ND, learned_VD)
        context.dtype = hidden_ND.dtype
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        learned_ND, learned_VD = context.saved_tensors
        return (learned_ND * gradients[0]).to(context.dtype), learned_VD * gradients[0], None, None


def _measured(logits_RV: Tensor, targets_R: Tensor, z_loss: float) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, and its gradient for the logits as a product: R V, and R 1 that is to be multiplied to its rows.

    The second holds what is 0 for rows that are not scored, and the z-loss's 1 + 2 c log Z: a pass over N D, not N V.
    """
    logits_RV = logits_RV.float()
    places_R1, scored_R1 = targets_R.clamp(min=0)[:, None], (targets_R != IGNORED).float()[:, None]
    logs_RV = F.log_softmax(logits_RV, -1)
    loss = -(logs_RV.gather(1, places_R1) * scored_R1).sum()
    log_z_R1 = logits_RV[:, :1] - logs_RV[:, :1]
    held_R1 = 1 + 2 * z_loss * log_z_R1
    return loss, logs_RV.exp_().scatter_add_(1, places_R1, -1 / held_R1), held_R1 * scored_R1
