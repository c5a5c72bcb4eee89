"""Numbers in weights and optimizer state that no update of AdamW can have made.

The moments m and v are sums of the same gradients, so |m| <= r sqrt(v) for every element at every step, by Cauchy and
Schwarz, with r = (1 - b1) / sqrt((1 - b2) (1 - b1^2 / b2)): 1.17 for the betas (0.9, 0.95). A flipped bit that makes an
update large breaks this, or leaves a negative v, an infinity or a weight of many powers of ten. Looking costs one pass
over the state, so it is done when there is an alarm. What it gives up: flips that keep within these bounds, whose effect on
the next update is within them too.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

LARGEST_WEIGHT = 1e4  # weights of trained networks stay under 1e2
SMALLEST_MOMENT = 1e-15  # its square is far from where fp32 has no digits left
SLACK = 1.05  # rounding of the two sums


class Tensors(NamedTuple):
    """A parameter's name, its weights and, where the optimizer has them, its first and second moment."""

    name: str
    weight: Tensor
    first: Tensor | None = None
    second: Tensor | None = None


def reach(betas: tuple[float, float]) -> float:
    """The largest |m| / sqrt(v) that AdamW can come to with these betas, at any step."""
    first, second = betas
    return (1 - first) / math.sqrt((1 - second) * (1 - first * first / second))


def impossible(state: Iterable[Tensors], betas: tuple[float, float]) -> str | None:
    """The first tensor with an element that training cannot have made, and what it is; None if there is none."""
    limit = SLACK * reach(betas)
    with torch.no_grad():
        for tensors in state:
            if tensors.weight.numel() and (words := _weights(tensors) or _moments(tensors, limit)):
                return words
    return None


def _weights(tensors: Tensors) -> str | None:
    largest = float(tensors.weight.abs().max())
    if not math.isfinite(largest):
        return f"{tensors.name}: a weight is not finite"
    return f"{tensors.name}: a weight of {largest:.3g}" if largest > LARGEST_WEIGHT else None


def _moments(tensors: Tensors, limit: float) -> str | None:
    first, second = tensors.first, tensors.second
    if first is None or second is None:
        return None
    if not bool(torch.isfinite(first).all() & torch.isfinite(second).all()):
        return f"{tensors.name}: a moment of the optimizer is not finite"
    if float(second.min()) < 0:
        return f"{tensors.name}: a second moment is negative"
    over = (first.abs() > limit * second.sqrt()) & (first.abs() > SMALLEST_MOMENT)
    return f"{tensors.name}: a first moment of more than {limit:.2f} sqrt(second moment)" if bool(over.any()) else None
