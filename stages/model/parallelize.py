"""How a network is spread over ranks, applied from outside in a fixed order.

    tensor       matrices of a layer cut over ranks, Megatron's way (Shoeybi et al. 2019): DTensor's `parallelize_module`
    pipeline     layers cut over ranks, in stages (Huang et al. 2019): see `pipeline` and `timetable`
    sequence     positions of a sequence cut over ranks, exchanged for heads inside attention (see `ulysses`)
    activations  layers compute their activations again in the backward pass (Chen et al. 2016)
    compile      each layer through `torch.compile`
    data         FSDP2's `fully_shard` over what is then there (ZeRO, Rajbhandari et al. 2020; Zhao et al. 2023)

The network keeps its names and its calls: the same code runs on one rank and on many. Data comes last because it cuts
what the others made. Ranks of one tensor group are neighbours, then those of one sequence group: the fastest links are
inside a node; those of one pipeline, which say least, are farthest apart. What it gives up: tensor groups that share the
norms' activations.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Replicate
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.utils.checkpoint import checkpoint

from stages.base import SettingsError
from stages.model.distributed import World
from stages.model.network import Attention, Block, Network
from stages.model.pieces import PIPELINE, Cut, Place, place_of
from stages.model.pipeline import Stages
from stages.model.sizes import Sizes
from stages.model.ulysses import Ulysses


@dataclass(frozen=True)
class Parallelism:
    """How a run is spread. `zero_stage` 1 to 3 cut the optimizer's state, gradients too, weights too over data ranks."""

    zero_stage: int = 0
    tensor_parallel: int = 1
    sequence_parallel: int = 1
    compile: bool = False
    checkpoint_activations: bool = False
    pipeline_parallel: int = 1
    stages_per_rank: int = 1

    def problems(self, sizes: Sizes, num_ranks: int) -> list[str]:
        """What keeps a network from being spread over so many ranks."""
        tensor, sequence = self.tensor_parallel, self.sequence_parallel
        found = []
        if sizes.qk_norm and tensor > 1:
            found.append("qk_norm goes with tensor_parallel 1: its weights belong to all heads")
        if num_ranks % (tensor * sequence * self.pipeline_parallel):
            sizes_words = (
                f"tensor_parallel {tensor} x sequence_parallel {sequence} x pipeline_parallel {self.pipeline_parallel}"
            )
            found.append(f"{sizes_words} does not divide {num_ranks} ranks")
        found += self._pipeline_problems(sizes)
        if sizes.num_heads % (tensor * sequence) or sizes.num_kv_heads % (tensor * sequence):
            heads = f"{sizes.num_heads} query heads and {sizes.num_kv_heads} key-value heads"
            found.append(f"tensor_parallel {tensor} x sequence_parallel {sequence} does not divide {heads}")
        if tensor * sequence > 1 and set(sizes.kinds) != {"attention"}:
            found.append("tensor_parallel and sequence_parallel cut attention, not linear attention: set both to 1")
        if sizes.hidden_width % tensor:
            found.append(f"tensor_parallel {tensor} does not divide the hidden width {sizes.hidden_width}")
        if sizes.context_tokens % sequence:
            found.append(
                f"sequence_parallel {sequence} does not divide the {sizes.context_tokens} tokens of a sequence"
            )
        return found

    def _pipeline_problems(self, sizes: Sizes) -> list[str]:
        pipeline, each = self.pipeline_parallel, self.stages_per_rank
        if pipeline == 1 and each > 1:
            return [f"stages_per_rank {each} belongs to a pipeline: set pipeline_parallel, or stages_per_rank=1"]
        if pipeline * each > sizes.num_layers:
            return [
                f"pipeline_parallel {pipeline} x stages_per_rank {each} needs a layer each, found {sizes.num_layers}"
            ]
        return []


@dataclass(frozen=True)
class Layout:
    """Where this rank stands, and the groups that it works in.

    `data` stands for the ranks that read different samples (ranks of one tensor or sequence group or one pipeline read the
    same); its sums run over samples, positions and stages, and leave tensor groups out, whose ranks compute the same numbers.
    """

    world: World
    data: World
    parallelism: Parallelism
    mesh: DeviceMesh | None = None
    sequence: dist.ProcessGroup | None = None

    @property
    def grid(self) -> dict[str, int]:
        """How many ranks stand along each axis along which tensors can be cut."""
        pipeline, tensor = self.parallelism.pipeline_parallel, self.parallelism.tensor_parallel
        return {PIPELINE: pipeline, "data": self.world.size // (pipeline * tensor), "tensor": tensor}

    @property
    def place(self) -> Place:
        """Where this rank stands on the grid."""
        return place_of(self.grid, self.world.rank)

    @property
    def cut(self) -> bool:
        """Whether no rank holds all weights."""
        wanted = self.parallelism
        return self.world.size > 1 and (wanted.zero_stage > 0 or wanted.tensor_parallel * wanted.pipeline_parallel > 1)

    @property
    def replicas(self) -> World:
        """The ranks that learn the same weights, of which this one may hold a part: `data`, in this rank's stage."""
        return self.data if self.pipeline is None else replace(self.data, group=self._group("data"))

    @property
    def pipeline(self) -> dist.ProcessGroup | None:
        """The ranks that one micro-batch goes through, first stage first."""
        return self._group(PIPELINE) if self.parallelism.pipeline_parallel > 1 else None

    def _group(self, axis: str) -> dist.ProcessGroup:
        return cast("DeviceMesh", self.mesh)[axis].get_group()


def lay_out(world: World, parallelism: Parallelism, sizes: Sizes) -> Layout:
    """Make the groups of a run; SettingsError if network, ranks and wishes do not go together."""
    if problems := parallelism.problems(sizes, world.size):
        raise SettingsError("\n".join(f"pretrain: {p}" for p in problems))
    tensor, sequence = parallelism.tensor_parallel, parallelism.sequence_parallel
    if world.size == 1:
        return Layout(world, world, parallelism)
    pipeline, share = parallelism.pipeline_parallel, tensor * sequence
    if pipeline * share == 1:
        whole = _mesh(world, data=world.size) if parallelism.zero_stage else None
        return Layout(world, world, parallelism, whole)
    place, size = divmod(world.rank, world.size // pipeline)[1], world.size // pipeline
    mesh = _mesh(world, pipeline=pipeline, data=size // tensor, tensor=tensor)
    summed = _mesh(world, summed=world.size // tensor, tensor=tensor) if pipeline > 1 else mesh
    group = summed["summed" if pipeline > 1 else "data"].get_group()
    data = replace(world, rank=place // share, size=size // share, group=group)
    if sequence == 1:
        return Layout(world, data, parallelism, mesh)
    groups = _mesh(world, data=pipeline * data.size, sequence=sequence, tensor=tensor)
    return Layout(world, data, parallelism, mesh, groups["sequence"].get_group())


def _mesh(world: World, **axes: int) -> DeviceMesh:
    """Ranks on a grid, the last axis fastest; without a pipeline of one stage, for which nobody needs a group."""
    sizes = {name: size for name, size in axes.items() if size > 1 or name != PIPELINE}
    return init_device_mesh(world.device.type, tuple(sizes.values()), mesh_dim_names=tuple(sizes))


def parallelize(network: Network, layout: Layout) -> Stages | None:
    """Spread a network, that every rank has made alike, over the layout's ranks; this rank's stages of a pipeline."""
    wanted, stages = layout.parallelism, None
    if wanted.tensor_parallel > 1:
        _cut_matrices(network, cast("DeviceMesh", layout.mesh)["tensor"])
    if layout.pipeline is not None:
        stages = Stages(network, layout.pipeline, wanted.stages_per_rank)
    blocks = [block for block in network.blocks if isinstance(block, Block)]
    if layout.sequence is not None:
        _cut_sequences(network, blocks, layout.sequence)
    for block in blocks:
        if wanted.checkpoint_activations:
            block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)  # type: ignore[method-assign]
        if wanted.compile:
            block.compile()
    if layout.world.size > 1 and wanted.zero_stage > 0:
        _cut_data((*blocks, network), cast("DeviceMesh", layout.mesh)["data"], wanted.zero_stage)
    return stages


def cut_of(parameter: Tensor) -> Cut:
    """How a parameter is cut over the grid; FSDP cuts what tensor parallelism left, so the last axis comes first."""
    if not isinstance(parameter, DTensor):
        return Cut(tuple(parameter.shape))
    names = parameter.device_mesh.mesh_dim_names or ()
    splits = [(n, p.dim) for n, p in zip(names, parameter.placements, strict=True) if hasattr(p, "dim")]
    return Cut(tuple(parameter.shape), tuple(reversed(splits)))


def local(tensor: Tensor) -> Tensor:
    """What this rank holds of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _cut_matrices(network: Network, mesh: DeviceMesh) -> None:
    """The first matrices of attention and feed-forward by outputs, the last by inputs: one sum over ranks for each."""
    tied = network.head.weight is network.embedding.weight
    by_outputs = ("attention.query", "attention.key", "attention.value", "feed_forward.gate", "feed_forward.up")
    plan: dict[str, Any] = {f"blocks.*.{name}": ColwiseParallel() for name in by_outputs}
    plan |= {f"blocks.*.{name}": RowwiseParallel() for name in ("attention.output", "feed_forward.down")}
    plan["embedding"] = RowwiseParallel(input_layouts=Replicate())
    plan["head"] = ColwiseParallel(output_layouts=Replicate())
    parallelize_module(network, mesh, plan, src_data_rank=None)  # every rank has made the same weights
    if tied:
        network.head.weight = network.embedding.weight


def _cut_sequences(network: Network, blocks: Iterable[Block], group: dist.ProcessGroup) -> None:
    """The network takes whole sequences still, computes this rank's positions, and gives the loss of those alone."""
    part = network.sizes.context_tokens // group.size()
    mine = slice(group.rank() * part, (group.rank() + 1) * part)
    for name in ("cos_TS", "sin_TS"):
        network.register_buffer(name, getattr(network, name)[mine].clone(), persistent=False)
    for block in blocks:
        attention = cast("Attention", block.attention)
        attention.attend = Ulysses(attention.attend, group)
    network.forward = functools.partial(_part_of_sequence, network.forward, mine)  # type: ignore[method-assign]


def _part_of_sequence(
    forward: Callable[..., Tensor], mine: slice, inputs: Tensor, targets_BT: Tensor, *rest: Any, **named: Any
) -> Tensor:
    """Tokens are those of whole sequences; what comes from the stage before in a pipeline has been cut already."""
    found = forward(inputs if inputs.is_floating_point() else inputs[:, mine], targets_BT[:, mine], *rest, **named)
    if found.shape == targets_BT[:, mine].shape:  # the loss of every position: those of other ranks are theirs to give
        return torch.nn.functional.pad(found, (mine.start, targets_BT.shape[1] - mine.stop))
    return found


def _cut_data(modules: tuple[nn.Module, ...], mesh: DeviceMesh, zero_stage: int) -> None:
    """`modules` are the layers, and then the network, which has the rest."""
    for module in modules:
        fully_shard(module, mesh=mesh, reshard_after_forward=zero_stage == 3)
    for module in modules:
        if isinstance(module, FSDPModule):  # sums, not means: the loss is divided by all tokens of all ranks already
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(enable=True)


def gather_gradients(network: Network, *, last: bool, zero_stage: int) -> None:
    """Say before a backward pass what follows it: of the micro-batches of a step, only the last one's is followed by an update."""
    if isinstance(network, FSDPModule):
        network.set_requires_gradient_sync(last or zero_stage > 1)
        network.set_reshard_after_backward(last or zero_stage == 3)


def reshard(network: Network) -> None:
    """Forget gathered weights, before this rank's own part of them changes."""
    for module in network.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def synchronised(tensors: list[Tensor], world: World) -> list[Tensor]:
    """Sums over ranks of tensors that all of them hold whole, in one exchange."""
    flat = world.sum(torch.cat([t.flatten() for t in tensors]))
    return [part.view_as(t) for part, t in zip(flat.split([t.numel() for t in tensors]), tensors, strict=True)]
