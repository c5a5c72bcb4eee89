import numpy as np
import pytest

from stages.stream.feistel import Permutation


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 16, 17, 255, 256, 257, 1000, 4097])
def test_every_item_comes_once(size: int) -> None:
    """It is a permutation, at sizes on both sides of every power of two."""
    items = Permutation(size, seed=3, epoch=0)[np.arange(size)]
    assert sorted(items.tolist()) == list(range(size))


def test_positions_are_independent() -> None:
    """Any position can be asked for alone, in any order, and gives what the whole gives."""
    permutation = Permutation(1000, seed=0, epoch=5)
    whole = permutation[np.arange(1000)]
    for position in (0, 999, 421):
        assert permutation[np.array([position])][0] == whole[position]
    assert (permutation[np.array([7, 3, 7])] == whole[[7, 3, 7]]).all()


def test_order_is_frozen() -> None:
    """The order of a seed never changes, whatever library version computes it: resumed runs depend on it."""
    assert Permutation(10, seed=0, epoch=0)[np.arange(10)].tolist() == [1, 7, 9, 2, 3, 8, 4, 6, 5, 0]


def test_seed_and_epoch_change_the_order() -> None:
    """Different seeds and epochs are different shuffles, and none is the identity."""
    orders = [Permutation(500, s, e)[np.arange(500)].tolist() for s in range(3) for e in range(3)]
    assert len({tuple(o) for o in orders}) == 9
    assert list(range(500)) not in orders


def test_order_looks_random() -> None:
    """Over 2,000 shuffles of 8 items each item stands at each place about equally often (chi-squared, 49 degrees)."""
    counts = np.zeros((8, 8))
    for epoch in range(2000):
        counts[np.arange(8), Permutation(8, seed=11, epoch=epoch)[np.arange(8)]] += 1
    chi_squared = ((counts - 250) ** 2 / 250).sum()
    assert chi_squared < 85.4  # the 99.9th percentile


def test_outside_is_refused() -> None:
    """A position that is not there is an error, not another item."""
    with pytest.raises(IndexError):
        Permutation(10, 0, 0)[np.array([10])]
    with pytest.raises(IndexError):
        Permutation(10, 0, 0)[np.array([-1])]


def test_large_sizes_cost_nothing() -> None:
    """A trillion items need no memory: positions at both ends come back inside and distinct."""
    size = 10**12
    items = Permutation(size, 0, 0)[np.array([0, 1, size // 2, size - 1])]
    assert len(set(items.tolist())) == 4
    assert (items < size).all()
