"""Counts of every batch are exact, and follow from the batch's number alone."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.stream.apportion import BITS, MAX_BATCH, ONE, Apportionment, Indices, num_below, reverse
from stages.stream.mixture import quantize

WEIGHTS = st.lists(st.one_of(st.just(0.0), st.floats(1e-9, 1)), min_size=1, max_size=9).filter(any)


def bits_reversed(number: int) -> int:
    """The definition, by text."""
    return int(f"{number:0{BITS}b}"[::-1], 2)


def exact_counts(parts: Indices, batch_sequences: int, batch: int) -> list[int]:
    """The definition, in fractions without limits."""
    shift = Fraction(bits_reversed(batch), ONE)
    ends = [Fraction(int(part), ONE) * batch_sequences for part in np.concatenate([[0], np.cumsum(parts)])]
    return [int(b + shift) - int(a + shift) for a, b in pairwise(ends)]


@given(st.lists(st.integers(0, ONE - 1), min_size=1))
def test_reverse(numbers: list[int]) -> None:
    """Bits are put in reverse order, and twice is nothing."""
    found = reverse(np.array(numbers))
    assert found.tolist() == [bits_reversed(n) for n in numbers]
    assert reverse(found).tolist() == numbers


@given(st.integers(0, 300), st.integers(0, ONE))
def test_num_below(count: int, bound: int) -> None:
    """The closed form counts what counting counts."""
    expected = sum(bits_reversed(n) < bound for n in range(count))
    assert num_below(np.array([count]), np.array([bound])).tolist() == [expected]


def test_num_below_everything() -> None:
    """Of all numbers up to 2^40, as many lie below a bound as it says."""
    bounds = np.array([0, 1, 12_345, ONE - 1, ONE])
    assert num_below(np.full(5, ONE - 1), bounds).tolist() == [0, 1, 12_345, ONE - 1, ONE - 1]


@settings(max_examples=80, deadline=None)
@given(WEIGHTS, st.integers(1, 600), st.integers(0, ONE - 1))
def test_counts_are_those_of_the_definition(weights: list[float], batch_sequences: int, batch: int) -> None:
    """At any batch up to 2^40 the counts equal arithmetic in fractions, sum to the batch and miss their target by under 1."""
    parts = quantize(weights)
    counts = Apportionment(parts, batch_sequences).counts(batch)
    assert counts.tolist() == exact_counts(parts, batch_sequences, batch)
    assert counts.sum() == batch_sequences
    targets = [Fraction(int(p), ONE) * batch_sequences for p in parts]
    assert all(abs(int(c) - t) < 1 for c, t in zip(counts, targets, strict=True))


@settings(max_examples=40, deadline=None)
@given(WEIGHTS, st.integers(1, 40), st.integers(1, 130))
def test_what_was_given_is_the_sum(weights: list[float], batch_sequences: int, num_batches: int) -> None:
    """Samples given before a batch are the sum over the batches before it, for every source and batch."""
    share = Apportionment(quantize(weights), batch_sequences)
    sources = np.arange(len(weights))
    total = np.zeros_like(sources)
    for batch in range(num_batches):
        assert share.given(np.full_like(sources, batch), sources).tolist() == total.tolist()
        total += share.counts(batch)


@settings(max_examples=40, deadline=None)
@given(WEIGHTS, st.integers(1, 40), st.integers(0, 1000))
def test_slots_and_turns(weights: list[float], batch_sequences: int, batch: int) -> None:
    """Slots of a batch go to sources in order, as many as counted, and every sample's batch is found again."""
    share = Apportionment(quantize(weights), batch_sequences)
    slots, batches = np.arange(batch_sequences), np.full(batch_sequences, batch)
    sources = share.source(batches, slots)
    assert sources.tolist() == np.repeat(np.arange(len(weights)), share.counts(batch)).tolist()
    in_batch = slots - share.first_slot(batches, sources)
    assert in_batch.tolist() == [i for n in share.counts(batch) for i in range(n)]
    turns = share.given(batches, sources) + in_batch
    assert share.batch(sources, turns, num_batches=2000).tolist() == batches.tolist()


@pytest.mark.parametrize("batch_sequences", [1, 7, 512])
def test_drift_is_bounded(batch_sequences: int) -> None:
    """What a source has given stays within the bound of the sequence (Bejian and Faure 1977) of its share, at all times."""
    random = np.random.default_rng(batch_sequences)
    for weights in (random.random(5), 1 / np.arange(1, 30), np.array([1e-6, 1.0])):
        parts = quantize(weights.tolist())
        share = Apportionment(parts, batch_sequences)
        for source in range(len(parts)):
            batches = np.arange(1, 20_000)
            given_before = share.given(batches, np.full_like(batches, source))
            drift = np.abs(given_before - batches * batch_sequences * (parts[source] / ONE))
            assert (drift <= 2 * (np.log2(batches) / 3 + 1)).all()
            assert (np.diff(given_before) >= 0).all()


def test_largest_sizes_do_not_overflow() -> None:
    """The largest batch, at the last of 2^40 batches, with 32,767 sources, is exact."""
    random = np.random.default_rng(0)
    parts = quantize((random.random(32_767) ** 8 + 1e-9).tolist())
    share = Apportionment(parts, MAX_BATCH)
    last, sources = ONE - 1, np.arange(len(parts))
    assert share.counts(last).tolist() == exact_counts(parts, MAX_BATCH, last)
    given_before = share.given(np.full_like(sources, last), sources)
    assert int(given_before.sum()) == last * MAX_BATCH
    assert int(given_before[5]) + exact_counts(parts, MAX_BATCH, last)[5] == int(parts[5]) * MAX_BATCH  # a full cycle
