"""Which box of a tensor a rank holds, by arithmetic alone.

Ranks stand on a grid of named axes ("pipeline", "data", "tensor"), the last one fastest. A tensor lies on one stage of the
pipeline, and is cut along its dimensions by the other axes, one after the other, each cut as `torch.chunk` does: every chunk
but the last ones has ceil(length / ranks). So the box of any rank of any grid follows from the tensor's shape, its splits
and its stage, and no rank has to be asked what it holds.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

PIPELINE = "pipeline"  # the axis along which whole tensors are handed out

Split = tuple[str, int]  # axis of the grid, dimension of the tensor
Place = Mapping[str, int]  # where a rank stands: its number along each axis


class Box(NamedTuple):
    """Where a part of a tensor begins and how large it is, by dimension."""

    offset: tuple[int, ...]
    size: tuple[int, ...]

    def within(self, outer: "Box") -> tuple[slice, ...]:
        """Slices that cut this box out of the part that `outer` is."""
        starts = [o - whole for o, whole in zip(self.offset, outer.offset, strict=True)]
        return tuple(slice(start, start + size) for start, size in zip(starts, self.size, strict=True))

    def common(self, other: "Box") -> "Box | None":
        """What two boxes share, if anything."""
        firsts = tuple(map(max, self.offset, other.offset))
        ends = [min(a + n, b + m) for a, n, b, m in zip(*self, *other, strict=True)]
        sizes = tuple(end - first for first, end in zip(firsts, ends, strict=True))
        return Box(firsts, sizes) if all(size > 0 for size in sizes) else None


@dataclass(frozen=True)
class Cut:
    """A tensor's shape, how it is cut over a grid, and the place along "pipeline" of the ranks that own it."""

    shape: tuple[int, ...]
    splits: tuple[Split, ...] = ()
    stage: int = 0

    def box(self, grid: Mapping[str, int], place: Place) -> Box:
        """What the rank at `place` holds; of size 0 where there are more ranks than rows."""
        offset, size = [0] * len(self.shape), list(self.shape)
        for axis, dimension in self.splits:
            chunk = math.ceil(size[dimension] / grid[axis])
            start = min(place[axis] * chunk, size[dimension])
            offset[dimension] += start
            size[dimension] = min(chunk, size[dimension] - start)
        return Box(tuple(offset), tuple(size))

    def owned(self, place: Place) -> bool:
        """Whether this rank is the first of those that hold the same box."""
        cut = {axis for axis, _ in self.splits}
        firsts = {axis: number for axis, number in place.items() if axis not in cut}
        return firsts.pop(PIPELINE, 0) == self.stage and not any(firsts.values())

    def overlapping(self, grid: Mapping[str, int], wanted: Box) -> Iterator[tuple[int, Box]]:
        """The owners of all that `wanted` needs: number and box. It asks as many ranks as there are to find, not all."""
        axes = [axis for axis, _ in self.splits]
        for numbers in itertools.product(*(self._chunks(grid, i, wanted) for i in range(len(axes)))):
            place = dict.fromkeys(grid, 0) | {PIPELINE: self.stage} | dict(zip(axes, numbers, strict=True))
            box = self.box(grid, place)
            if box.common(wanted):
                yield number_of(grid, place), box

    def _chunks(self, grid: Mapping[str, int], index: int, wanted: Box) -> range:
        """Chunks of a split that may hold some of `wanted`: those it meets, if no split before cut this dimension."""
        axis, dimension = self.splits[index]
        if any(d == dimension for _, d in self.splits[:index]):
            return range(grid[axis])
        chunk = max(1, math.ceil(self.shape[dimension] / grid[axis]))
        start = wanted.offset[dimension]
        return range(start // chunk, min(grid[axis], (start + max(1, wanted.size[dimension]) - 1) // chunk + 1))


@dataclass(frozen=True)
class Piece:
    """What this rank holds of a tensor: an empty one of a tensor of another stage."""

    local: Tensor
    cut: Cut

    @classmethod
    def whole(cls, tensor: Tensor) -> "Piece":
        """A tensor of which every rank holds all."""
        return cls(tensor, Cut(tuple(tensor.shape)))


def number_of(grid: Mapping[str, int], place: Place) -> int:
    """A rank's number, from where it stands."""
    number = 0
    for axis, length in grid.items():
        number = number * length + place[axis]
    return number


def place_of(grid: Mapping[str, int], number: int) -> dict[str, int]:
    """Where a rank stands, from its number."""
    place = {}
    for axis, length in reversed(list(grid.items())):
        number, place[axis] = divmod(number, length)
    return {axis: place[axis] for axis in grid}
