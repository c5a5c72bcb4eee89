"""Training whose bits do not depend on the number of processes.

The batch is cut into V virtual ranks, whatever the real ones. Each virtual rank's gradient is computed by itself, and
the V gradients are added up as the leaves of one binary tree: ((0 + 1) + (2 + 3)) + ... A process computes V/W
neighbouring leaves and adds up their subtree; the roots of the subtrees are added by recursive doubling (Thakur et al.
2005), at each level the sum of the same two numbers, whose order addition does not mind. Every process then takes the
same step on all weights. What decides the order of sums inside a virtual rank is the number of threads, which is set
(`canonical_threads`), and the kernels, which are asked to be deterministic. What it gives up: ZeRO, tensor and sequence
parallelism, pipelines; V, the ranks and their ratio must be powers of two; it costs one exchange of all gradients per doubling.
"""

import torch
import torch.distributed as dist
from torch import Tensor

from stages.base import SettingsError
from stages.model.engine import Batch, Optimization
from stages.model.native import NativeEngine
from stages.model.network import Network
from stages.model.parallelize import Layout, Parallelism


class CanonicalEngine(NativeEngine):
    """The native engine with sums in canonical order."""

    def __init__(self, network: Network, optimization: Optimization, layout: Layout) -> None:
        if problems := _problems(optimization, layout):
            raise SettingsError("\n".join(f"pretrain: {p}" for p in problems))
        torch.use_deterministic_algorithms(mode=True)
        super().__init__(network, optimization, layout)

    def micro_limit(self) -> int:
        """A virtual rank's share: a sum over more or fewer sequences at a time has other bits."""
        return self.optimization.batch_sequences // self.optimization.canonical_ranks

    def _learn(self, batch: Batch, num_scored: Tensor) -> Tensor:
        losses, subtrees = [], Subtrees()
        for index in range(self.num_micro(batch)):
            losses.append(self._backward(batch, index, num_scored).double())
            subtrees.add([p.grad for p in self._parameters.values() if p.grad is not None])
            self.discard()
        learned = subtrees.root()
        for parameter, gradient in zip(self._parameters.values(), doubled(learned, self.world.rank), strict=True):
            parameter.grad = gradient
        return self._in_order(torch.stack(losses)).sum()

    def _in_order(self, own: Tensor) -> Tensor:
        """Every virtual rank's number, on every rank."""
        every = [torch.empty_like(own) for _ in range(self.world.size)]
        dist.all_gather(every, own)
        return torch.cat(every)


class Subtrees:
    """Sums of neighbouring leaves, the largest whole subtrees so far: a binary counter whose digits are gradients."""

    def __init__(self) -> None:
        self._digits: list[tuple[int, list[Tensor]]] = []

    def add(self, leaf: list[Tensor]) -> None:
        """Add the next leaf."""
        level = 0
        while self._digits and self._digits[-1][0] == level:
            left = self._digits.pop()[1]
            leaf = [a.add_(b) for a, b in zip(left, leaf, strict=True)]
            level += 1
        self._digits.append((level, leaf))

    def root(self) -> list[Tensor]:
        """The sum of all leaves, of which there were a power of two."""
        ((_, root),) = self._digits
        return root


def doubled(tensors: list[Tensor], rank: int) -> list[Tensor]:
    """Sums over ranks in the order of the tree: each level's partner has the neighbouring subtree's sum."""
    flat, stride = torch.cat([t.flatten() for t in tensors]), 1
    while stride < dist.get_world_size():
        received = torch.empty_like(flat)
        work = dist.batch_isend_irecv(
            [dist.P2POp(dist.isend, flat, rank ^ stride), dist.P2POp(dist.irecv, received, rank ^ stride)]
        )
        for part in work:
            part.wait()
        flat, stride = flat + received, 2 * stride
    return [part.view_as(t) for part, t in zip(flat.split([t.numel() for t in tensors]), tensors, strict=True)]


def _problems(wanted: Optimization, layout: Layout) -> list[str]:
    virtual, size, found = wanted.canonical_ranks, layout.world.size, []
    if layout.parallelism != Parallelism():
        found.append(
            "canonical_ranks goes with no ZeRO, no tensor or sequence parallelism, no pipeline, no compile: unset those"
        )
    if virtual & (virtual - 1) or size & (size - 1) or virtual < size:
        found.append(
            f"canonical_ranks {virtual} and the {size} ranks must be powers of two, and no more ranks than those"
        )
    if wanted.batch_parts > 1 or wanted.optimizer == "sophia":
        found.append(
            "canonical_ranks goes with no batch_doublings and not with sophia, whose estimate is a real rank's"
        )
    if wanted.batch_sequences % virtual:
        found.append(f"canonical_ranks {virtual} does not divide index.batch_sequences {wanted.batch_sequences}")
    return found
