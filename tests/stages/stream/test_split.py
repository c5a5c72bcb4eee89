"""Documents are held out by their own hash."""

import hashlib
import random
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.stream.split import draw, held_out, split_rule

IDS = [hashlib.sha256(b"%d" % n).hexdigest() for n in range(4000)]


def mask(doc_ids: list[str], seed: int, fraction: float) -> list[bool]:
    """Split a corpus that comes in one batch."""
    return [bool(out) for out in held_out(split_rule([doc_ids], seed, fraction), doc_ids)]


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 0.9])
def test_share(fraction: float) -> None:
    """The share held out is the one asked for, within 4 standard errors."""
    error = (fraction * (1 - fraction) / len(IDS)) ** 0.5
    assert abs(np.mean(mask(IDS, 0, fraction)) - fraction) < 4 * error


def test_draws_are_uniform() -> None:
    """Draws of real digests and of ids that differ in one bit fill [0, 1) evenly (chi-squared, 99 degrees)."""
    for ids in (IDS, [f"{n:064x}" for n in range(4000)]):
        for seed in range(3):
            counts = np.histogram(draw(seed, ids), bins=100, range=(0, 1))[0]
            assert ((counts - 40) ** 2 / 40).sum() < 160  # p = 1e-4


def test_seeds_and_purposes_are_independent() -> None:
    """Which documents another seed or another purpose takes has nothing to do with which this one takes."""
    ours = draw(0, IDS)
    for other in (draw(1, IDS), draw(0, IDS, "sample")):
        assert abs(np.corrcoef(ours, other)[0, 1]) < 4 / len(IDS) ** 0.5


def test_definition() -> None:
    """A draw is the sum of the eight words of the id times the eight keys, modulo 2^64, as a fraction."""
    keys = hashlib.sha512(b"split:7").digest()
    for doc_id, found in zip(IDS[:200], draw(7, IDS[:200]), strict=True):
        total = sum(
            int.from_bytes(bytes.fromhex(doc_id)[4 * i : 4 * i + 4], "little")
            * int.from_bytes(keys[8 * i : 8 * i + 8], "little")
            for i in range(8)
        )
        assert found == (total % 2**64 >> 11) / 2**53


def test_a_document_stays_on_its_side() -> None:
    """Neither order nor growth of the corpus moves a document; a larger share only adds; a seed is another split."""
    whole = dict(zip(IDS, mask(IDS, 3, 0.2), strict=True))
    some = random.Random(0).sample(IDS, 500)
    assert mask(some, 3, 0.2) == [whole[i] for i in some]
    assert all(out or not whole[i] for i, out in zip(IDS, mask(IDS, 3, 0.3), strict=True))
    assert mask(IDS, 4, 0.2) != list(whole.values())


@settings(max_examples=200, deadline=None)
@given(st.sets(st.sampled_from(IDS), min_size=2), st.integers(0, 99), st.floats(1e-9, 1, exclude_max=True))
def test_no_side_is_empty(ids: set[str], seed: int, fraction: float) -> None:
    """With two documents or more, each side has one, however small or large the share."""
    assert set(mask(sorted(ids), seed, fraction)) == {False, True}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.sampled_from(IDS))), st.floats(0, 1, exclude_max=True))
def test_batches_do_not_matter(batches: list[list[str]], fraction: float) -> None:
    """The rule of a corpus is the same however its rows come."""
    assert split_rule(batches, 5, fraction) == split_rule([[i for ids in batches for i in ids]], 5, fraction)


def test_a_shard_decides_as_the_whole() -> None:
    """Shards that know only the rule split their rows as one process splits all of them."""
    rule = split_rule([IDS], 1, 0.15)
    shards = [held_out(rule, IDS[first : first + 321]) for first in range(0, len(IDS), 321)]
    assert np.concatenate(shards).tolist() == mask(IDS, 1, 0.15)


def test_the_threshold_is_the_share_unless_a_side_is_empty() -> None:
    """`below` is what was asked for, just above the smallest draw if none is under it, the largest if all are."""
    draws = np.sort(draw(0, IDS))
    assert split_rule([IDS], 0, 0.1).below == 0.1
    assert split_rule([IDS], 0, float(draws[0])).below == np.nextafter(draws[0], 1)
    assert split_rule([IDS], 0, float(np.nextafter(draws[-1], 1))).below == draws[-1]


def test_none_wanted_none_possible() -> None:
    """A share of 0 holds out nothing, and a lone document, even one that comes twice, is for training."""
    assert not any(mask(IDS, 0, 0))
    assert mask(IDS[:1], 0, 0.99) == [False]
    assert mask(IDS[:1] * 2, 0, 0.99) == [False, False]
    assert mask([], 0, 0.5) == []


def test_memory_does_not_grow() -> None:
    """A corpus of 200,000 documents takes no more memory than one of 4,000."""

    def peak(repeats: int) -> int:
        batches: Iterator[list[str]] = (IDS for _ in range(repeats))
        tracemalloc.start()
        split_rule(batches, 0, 0.1)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1)
    assert peak(50) < 1.2 * peak(1)
