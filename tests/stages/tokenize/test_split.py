"""Documents are held out by their own hash."""

import hashlib
import random

import pytest

from stages.tokenize.split import held_out

IDS = [hashlib.sha256(b"%d" % n).hexdigest() for n in range(4000)]


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 0.9])
def test_share(fraction: float) -> None:
    """The share held out is the one asked for, within 4 standard errors."""
    error = (fraction * (1 - fraction) / len(IDS)) ** 0.5
    assert abs(held_out(IDS, 0, fraction).mean() - fraction) < 4 * error


def test_definition() -> None:
    """A document is held out if the first 64 bits of BLAKE2b of seed and id, as a fraction, are below the share."""
    for doc_id, out in zip(IDS[:200], held_out(IDS[:200], 7, 0.3), strict=True):
        digest = hashlib.blake2b(f"7:{doc_id}".encode(), digest_size=8).digest()
        assert out == (int.from_bytes(digest, "little") < 0.3 * 2**64)


def test_a_document_stays_on_its_side() -> None:
    """Neither order nor growth of the corpus moves a document; a larger share only adds; a seed is another split."""
    whole = dict(zip(IDS, held_out(IDS, 3, 0.2), strict=True))
    some = random.Random(0).sample(IDS, 500)
    assert held_out(some, 3, 0.2).tolist() == [whole[i] for i in some]
    larger = held_out(IDS, 3, 0.3)
    assert all(out or not whole[i] for i, out in zip(IDS, larger, strict=True))
    assert held_out(IDS, 4, 0.2).tolist() != list(whole.values())


@pytest.mark.parametrize("count", [2, 3, 5, 20])
@pytest.mark.parametrize("fraction", [1e-9, 0.1, 0.999999999])
def test_no_side_is_empty(count: int, fraction: float) -> None:
    """With two documents or more, each side has one, however small or large the share."""
    for seed in range(20):
        mask = held_out(IDS[:count], seed, fraction)
        assert 0 < mask.sum() < count


def test_none_wanted_none_possible() -> None:
    """A share of 0 holds out nothing, and a lone document is for training."""
    assert not held_out(IDS, 0, 0).any()
    assert held_out(IDS[:1], 0, 0.99).tolist() == [False]
    assert held_out([], 0, 0.5).tolist() == []
