"""The shuffle is numpy's legacy one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.stream import mt19937
from stages.stream.mt19937 import shuffle


def both(seed: int, sizes: list[int], dtype: type = np.int32) -> None:
    """Shuffle ranges of these sizes with one generator each way, and compare them and what comes after."""
    numpys, ours = np.random.RandomState(seed), np.random.RandomState(seed)
    for size in sizes:
        theirs, mine = np.arange(size, dtype=dtype), np.arange(size, dtype=dtype)
        numpys.shuffle(theirs)
        shuffle(ours, mine)
        assert mine.tobytes() == theirs.tobytes()
    assert numpys.randint(0, 2**32, 700, np.uint32).tolist() == ours.randint(0, 2**32, 700, np.uint32).tolist()


@pytest.mark.parametrize("size", [*range(10), 623, 624, 625, 1023, 1024, 1025, 4095, 4096, 4097, 300_000])
def test_every_size_is_numpys(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Items and the generator's state equal numpy's, at sizes around a power of two and a block of words."""
    monkeypatch.setattr(mt19937, "FEWEST_ITEMS", 2)
    both(1234, [size])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 3000), min_size=1, max_size=5))
def test_shuffles_follow_one_another(seed: int, sizes: list[int]) -> None:
    """One generator may shuffle several arrays, short ones by numpy itself, and the whole sequence is numpy's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mt19937, "FEWEST_ITEMS", 700)
        both(seed, sizes)


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64])
def test_types_of_the_indices(dtype: type) -> None:
    """The types that document and shuffle indices have are shuffled alike."""
    both(7, [20_000, 9], dtype)


def test_a_view_is_shuffled_in_place() -> None:
    """A part of an array is shuffled and the rest left alone."""
    whole = np.arange(30_000, dtype=np.int32)
    shuffle(np.random.RandomState(5), whole[10_000:])
    expected = np.arange(10_000, 30_000, dtype=np.int32)
    np.random.RandomState(5).shuffle(expected)
    assert whole[:10_000].tolist() == list(range(10_000))
    assert whole[10_000:].tobytes() == expected.tobytes()


def test_a_gaussian_in_waiting_is_kept() -> None:
    """The second of a pair of normal draws, which the state holds back, is still given after a shuffle."""
    numpys, ours = np.random.RandomState(1), np.random.RandomState(1)
    assert numpys.normal() == ours.normal()
    numpys.shuffle(np.arange(20_000))
    shuffle(ours, np.arange(20_000))
    assert numpys.normal() == ours.normal()
