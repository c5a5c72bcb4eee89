"""Attention over a sequence that is split over ranks: exchange positions for heads, attend, exchange back.

DeepSpeed-Ulysses (Jacobs et al. 2023): each of s ranks holds T/s positions of all heads; two exchanges of all with all
give it all T positions of H/s heads for the time of the attention. What it gives up: more ranks than key-value heads.

Shapes: B sequences, H heads (any kind), T positions of the whole sequence, S head size, s ranks.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor


class _Exchange(torch.autograd.Function):
    """Part j of the first axis goes to rank j; the gradient takes the same way back."""

    @staticmethod
    def forward(context: Any, parts: Tensor, group: dist.ProcessGroup) -> Tensor:
        context.group = group
        received = torch.empty_like(parts)
        dist.all_to_all_single(received, parts, group=group)
        return received

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return cast("Tensor", _Exchange.apply(gradients[0].contiguous(), context.group)), None  # type: ignore[no-untyped-call]


def heads_for_positions(x_BHTS: Tensor, group: dist.ProcessGroup) -> Tensor:
    """All positions of this rank's heads, from all heads of its positions: B H T/s S to B H/s T S."""
    size = group.size()
    parts = x_BHTS.unflatten(1, (size, -1)).movedim(1, 0).contiguous()
    received = cast("Tensor", _Exchange.apply(parts, group))  # type: ignore[no-untyped-call]
    return received.movedim(0, 2).flatten(2, 3)


def positions_for_heads(x_BHTS: Tensor, group: dist.ProcessGroup) -> Tensor:
    """The way back: B H/s T S to B H T/s S."""
    size = group.size()
    parts = x_BHTS.unflatten(2, (size, -1)).movedim(2, 0).contiguous()
    received = cast("Tensor", _Exchange.apply(parts, group))  # type: ignore[no-untyped-call]
    return received.movedim(0, 1).flatten(1, 2)


class Ulysses:
    """An attention function over split sequences, from one over whole ones."""

    def __init__(self, attend: Callable[..., Tensor], group: dist.ProcessGroup) -> None:
        self.attend, self.group = attend, group

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        """`options` go to the attention function; a mask is that of the whole sequence."""
        whole = (heads_for_positions(x, self.group) for x in (query, key, value))
        return positions_for_heads(self.attend(*whole, **options), self.group)
