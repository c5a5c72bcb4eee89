"""Weights on their way from one layout to another, by our parameters' names, with the sizes and conventions that they need.

Rotary embeddings come in two conventions that no tensor shows: pairs of features half a head apart ("rotate-half": Hugging Face,
Megatron, and here) or side by side ("interleaved": Meta's own code, torchtitan's complex one). One becomes the other by
permuting the rows of the query and key matrices inside each head.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from schemas.table import ContractError
from stages.model.network import Network, Sizes

Rope = Literal["rotate-half", "interleaved"]


@dataclass(frozen=True)
class Carried:
    """A model between two layouts; `weights` by our names, rotate-half, a tied head left out."""

    sizes: Sizes
    weights: Mapping[str, Tensor]
    where: str  # for messages

    def network(self) -> Network:
        """The network in fp32 with these weights; `ContractError` if it misses one, knows one not, or shapes differ."""
        expected = parameter_shapes(self.sizes)
        problems = [f"missing: {name} {list(expected[name])}" for name in sorted(expected.keys() - self.weights.keys())]
        problems += [f"no place for {name}" for name in sorted(self.weights.keys() - expected.keys())]
        for name in sorted(expected.keys() & self.weights.keys()):
            if (found := tuple(self.weights[name].shape)) != expected[name]:
                problems.append(f"{name}: shape {list(found)}, expected {list(expected[name])}")
        if problems:
            raise ContractError(self.where, problems)
        network = Network(self.sizes)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(self.weights[name].to(torch.float32))
        return network.eval()


def parameter_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Shapes of our network's parameters by name, a tied head left out; nothing is allocated."""
    if problems := sizes.problems():
        raise ContractError("sizes", problems)
    with torch.device("meta"):
        return {name: tuple(p.shape) for name, p in Network(sizes).named_parameters()}


def rotate_half(rows_OD: Tensor, head_size: int) -> Tensor:
    """A query or key matrix of the interleaved convention in the rotate-half one: rows 0 2 4 ... 1 3 5 ... of each head."""
    width = rows_OD.shape[-1]
    return rows_OD.view(-1, head_size // 2, 2, width).transpose(1, 2).reshape(-1, width).contiguous()


def interleave(rows_OD: Tensor, head_size: int) -> Tensor:
    """The inverse of `rotate_half`."""
    width = rows_OD.shape[-1]
    return rows_OD.view(-1, 2, head_size // 2, width).transpose(1, 2).reshape(-1, width).contiguous()


def in_convention(weights: Mapping[str, Tensor], head_size: int, *, to: Rope) -> dict[str, Tensor]:
    """Query and key matrices permuted into a convention from the other one."""
    permute = rotate_half if to == "rotate-half" else interleave
    turned = (".attention.query.weight", ".attention.key.weight")
    return {name: permute(w, head_size) if name.endswith(turned) else w for name, w in weights.items()}
