"""Accelerators, the links between them, and the machine that a site's nodes make up.

Peak rates are the makers'; links are what collectives were measured to reach, not what a data sheet adds up. `efficiency` is the
share of the peak at which matrix products of whole training steps run: the median over published runs of that device
(tests/workflows/plan/published.csv; `python -m benchmarks.planner` fits it again and leaves one source out at a time).
"""

from dataclasses import dataclass, replace

from stages.base import SettingsError
from workflows.base import nearest

GIB = 1 << 30


@dataclass(frozen=True)
class Accelerator:
    """One device as programs see it. Rates in TFLOP/s of bf16 and GB/s; `links`: (largest group, GB/s a device)."""

    memory_gib: float
    tflops: float
    memory_gbytes: float
    links: tuple[tuple[int, float], ...]
    efficiency: float
    overlap: float  # share of weight and gradient traffic that runs behind computing
    hop_seconds: float = 10e-6  # a collective takes this much longer for every rank in it
    reserved_gib: float = 1.5  # driver, kernels, buffers of the collectives


# NVIDIA: data sheets; all-reduce rates of nccl-tests on DGX A100 and H100. Intel: train.md 2.2 of ALCF's measurements: 2,487 TFLOP/s
# a node, 1 TB/s a tile, 185 GB/s to the other tile of a GPU and 15 GB/s to other GPUs, of which a ring uses more than one; published memory
# lies 9 to 24 GiB above what weights, activations and logits add up to.
A100 = Accelerator(40, 312, 1555, ((16, 230.0),), 0.70, 0.7)
H100 = Accelerator(80, 989, 3350, ((16, 360.0),), 0.52, 0.7)
ACCELERATORS = {
    "a100-40": A100,
    "a100-80": replace(A100, memory_gib=80, memory_gbytes=2039),
    "h100": H100,
    "h100-96": replace(H100, memory_gib=96, memory_gbytes=2400),
    "max1550": Accelerator(64, 298, 1000, ((2, 185.0), (12, 20.0)), 0.37, 0.3, reserved_gib=12),
}


@dataclass(frozen=True)
class Machine:
    """Nodes of equal accelerators. `network_gbytes`: GB/s of a node to the others, all its adapters together."""

    accelerator: Accelerator
    per_node: int
    nodes: int
    network_gbytes: float

    @property
    def devices(self) -> int:
        """Accelerators of all nodes."""
        return self.per_node * self.nodes

    def bandwidth(self, ranks: int, stride: int = 1) -> float:
        """Bytes a second and rank in a ring of so many ranks, which are `stride` devices apart.

        A ring enters a node once and goes through all its ranks there, so a group has as many adapters as it has ranks in a node.
        """
        if ranks * stride <= self.per_node:
            return self._link(ranks * stride) * 1e9
        here = max(1, self.per_node // stride)
        network = self.network_gbytes * here / self.per_node
        return (network if here == 1 else min(network, self._link(self.per_node))) * 1e9

    def _link(self, span: int) -> float:
        return next((rate for most, rate in self.accelerator.links if span <= most), self.accelerator.links[-1][1])


def accelerator(name: str) -> Accelerator:
    """The accelerator of this name; `SettingsError` names the nearest where there is none."""
    if name not in ACCELERATORS:
        raise SettingsError(f"--device {name}: not known; {nearest(name, list(ACCELERATORS), 'devices')}")
    return ACCELERATORS[name]
