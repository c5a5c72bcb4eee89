"""Permutations that are computed: complete, invertible, element by element, and without a bias that shows."""

from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.stream.feistel import Indices, named_keys, numbered_keys, permute, unpermute

SIZES = [1, 2, 3, 4, 5, 16, 17, 31, 32, 33, 63, 64, 65, 255, 256, 257, 1000, 4097]


def order(size: int, name: str = "test") -> Indices:
    """The whole permutation of `size` items under a name."""
    return permute(np.arange(size), np.int64(size), named_keys(name))


def shuffles(size: int, count: int) -> Indices:
    """`count` permutations, one a column, under numbered keys."""
    keys = numbered_keys(named_keys("shuffles"), np.arange(count))
    return np.stack([permute(np.full(count, i), np.int64(size), keys) for i in range(size)])


@pytest.mark.parametrize("size", SIZES)
def test_every_item_comes_once(size: int) -> None:
    """It is a permutation, at sizes on both sides of every change of the domain."""
    assert sorted(order(size).tolist()) == list(range(size))


@pytest.mark.parametrize("size", SIZES)
def test_inverse(size: int) -> None:
    """Positions go to items and back."""
    assert (unpermute(order(size), np.int64(size), named_keys("test")) == np.arange(size)).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 2**62), st.data())
def test_inverse_at_any_size(size: int, data: st.DataObject) -> None:
    """Any few positions of a permutation of any size come back, inside it and distinct."""
    positions = np.array(data.draw(st.lists(st.integers(0, size - 1), unique=True, min_size=1, max_size=8)))
    items = permute(positions, np.int64(size), named_keys("large"))
    assert 0 <= items.min() <= items.max() < size
    assert len(set(items.tolist())) == len(positions)
    assert (unpermute(items, np.int64(size), named_keys("large")) == positions).all()


def test_elements_are_independent() -> None:
    """An element's result depends on its own position, size and keys, whatever stands beside it."""
    sizes = np.array([7, 1000, 1, 10**12, 64, 7])
    positions = np.array([3, 999, 0, 123_456_789, 63, 3])
    keys = numbered_keys(named_keys("a"), np.array([0, 1, 2, 3, 4, 0]))
    together = permute(positions, sizes, keys)
    alone = [permute(positions[i : i + 1], sizes[i : i + 1], keys[:, i])[0] for i in range(6)]
    assert together.tolist() == alone
    assert together[0] == together[5]
    assert unpermute(together, sizes, keys).tolist() == positions.tolist()


def test_order_is_frozen() -> None:
    """The order of a name never changes, whatever library version computes it: resumed runs depend on it."""
    assert order(10, "0/arxiv").tolist() == [7, 8, 3, 2, 5, 1, 9, 4, 6, 0]
    keys = numbered_keys(named_keys("0/arxiv"), np.array([0, 1, 10**9]))
    assert permute(np.arange(3), np.int64(10**9), keys).tolist() == [394_636_103, 171_781_696, 627_826_405]


def test_names_and_numbers_change_the_order() -> None:
    """Different names and numbers are different shuffles, and none is the identity."""
    orders = [order(500, f"{n}").tolist() for n in range(4)] + shuffles(500, 4).T.tolist()
    assert len({tuple(o) for o in orders}) == 8
    assert list(range(500)) not in orders


@pytest.mark.parametrize("size", [3, 4, 5, 8, 13, 20])
def test_places_are_even(size: int) -> None:
    """Over 20,000 shuffles each item stands at each place about equally often (chi-squared, 1 in 10,000)."""
    found = shuffles(size, 20_000)
    counts = np.stack([np.bincount(row, minlength=size) for row in found])
    expected, degrees = 20_000 / size, (size - 1) ** 2
    assert ((counts - expected) ** 2 / expected).sum() < limit(degrees)


@pytest.mark.parametrize("size", [3, 4, 5, 6])
def test_orders_are_even(size: int) -> None:
    """Over 40,000 shuffles each of the size! orders comes about equally often (chi-squared, 1 in 10,000)."""
    codes = (shuffles(size, 40_000) * size ** np.arange(size)[:, None]).sum(0)
    counts = np.unique(codes, return_counts=True)[1]
    assert len(counts) == factorial(size)
    expected = 40_000 / factorial(size)
    assert ((counts - expected) ** 2 / expected).sum() < limit(factorial(size) - 1)


def limit(degrees: int) -> float:
    """The 99.99th percentile of chi-squared (Wilson and Hilferty 1931)."""
    return degrees * (1 - 2 / (9 * degrees) + 3.719 * (2 / (9 * degrees)) ** 0.5) ** 3


def test_outside_is_refused() -> None:
    """A position that is not there is an error, not another item."""
    for position in (10, -1):
        with pytest.raises(IndexError, match=f"position {position} of a permutation of 10"):
            permute(np.array([0, position]), np.int64(10), named_keys(""))
    with pytest.raises(IndexError):
        permute(np.array([0]), np.int64(0), named_keys(""))


def test_nothing_is_asked() -> None:
    """No positions give no items."""
    assert permute(np.empty(0, np.int64), np.int64(10), named_keys("")).tolist() == []
