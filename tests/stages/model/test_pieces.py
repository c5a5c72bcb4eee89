import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.model.pieces import Box, Cut, number_of, place_of

GRIDS = st.builds(lambda data, tensor: {"data": data, "tensor": tensor}, st.integers(1, 5), st.integers(1, 4))
SPLITS = st.sampled_from(
    [(), (("data", 0),), (("tensor", 0), ("data", 0)), (("tensor", 1), ("data", 0)), (("tensor", 1),)]
)
SHAPES = st.tuples(st.integers(1, 13), st.integers(1, 9))


def places(grid: dict[str, int]) -> list[dict[str, int]]:
    """Where each rank stands, in order."""
    return [place_of(grid, number) for number in range(grid["data"] * grid["tensor"])]


def part(whole: torch.Tensor, box: Box) -> torch.Tensor:
    """What a rank holds."""
    return whole[box.within(Box((0, 0), tuple(whole.shape)))]


@settings(max_examples=60, deadline=None)
@given(SHAPES, SPLITS, GRIDS)
def test_boxes_are_those_of_chunk(shape: tuple[int, int], splits: tuple, grid: dict[str, int]) -> None:
    """Every rank's box is what `torch.chunk`, applied split after split, leaves it; empty where there are no more rows."""
    whole = torch.arange(shape[0] * shape[1]).view(shape)
    for place in places(grid):
        expected = whole
        for axis, dimension in splits:
            chunks = expected.chunk(grid[axis], dimension)
            empty = expected.narrow(dimension, 0, 0)
            expected = chunks[place[axis]] if place[axis] < len(chunks) else empty
        found = part(whole, Cut(shape, splits).box(grid, place))
        assert found.shape == expected.shape
        assert torch.equal(found, expected)


@settings(max_examples=60, deadline=None)
@given(SHAPES, SPLITS, GRIDS, SPLITS, GRIDS)
def test_any_box_is_put_together_from_any_cut(
    shape: tuple[int, int], splits: tuple, grid: dict[str, int], others: tuple, other_grid: dict[str, int]
) -> None:
    """What a rank of one grid needs, the owners on another grid have, each element once."""
    cut, wanted_cut = Cut(shape, splits), Cut(shape, others)
    for place in places(other_grid):
        wanted = wanted_cut.box(other_grid, place)
        counts = torch.zeros(wanted.size, dtype=torch.int64)
        for number, source in cut.overlapping(grid, wanted):
            assert cut.owned(place_of(grid, number))
            assert source == cut.box(grid, place_of(grid, number))
            common = source.common(wanted)
            assert common is not None
            counts[common.within(wanted)] += 1
        assert bool((counts == 1).all())


def test_ranks_are_numbered_along_the_last_axis_first() -> None:
    """Neighbours share a tensor group, and numbers and places are each other's inverse."""
    grid = {"data": 3, "tensor": 2}
    assert [tuple(place_of(grid, n).values()) for n in range(6)] == list(itertools.product(range(3), range(2)))
    assert [number_of(grid, place_of(grid, n)) for n in range(6)] == list(range(6))


@pytest.mark.parametrize(("splits", "owners"), [((), [0]), ((("data", 0),), [0, 2]), ((("tensor", 0),), [0, 1])])
def test_what_several_ranks_hold_has_one_owner(splits: tuple, owners: list[int]) -> None:
    """Of the ranks with the same box, the first owns it."""
    grid = {"data": 2, "tensor": 2}
    assert [n for n in range(4) if Cut((4,), splits).owned(place_of(grid, n))] == owners


def test_few_ranks_are_asked() -> None:
    """A rank of 1,024 finds its rows among 4,096 others by arithmetic: it asks the four that have them."""
    wanted = Cut((1 << 20, 2), (("data", 0),)).box({"data": 1024}, {"data": 500})
    found = [number for number, _ in Cut((1 << 20, 2), (("data", 0),)).overlapping({"data": 4096}, wanted)]
    assert found == [2000, 2001, 2002, 2003]
