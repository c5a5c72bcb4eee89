"""Signatures are what MinHash says they are."""

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from stages.sketch import minhash
from stages.sketch.minhash import MinHash, hash_ngrams

MASK = 2**64 - 1
WORDS = st.lists(st.sampled_from(["a", "b", "ab", "c"]), max_size=30)


def random_ngrams(count: int, seed: int) -> minhash.U64:
    """Draw hashes of n-grams."""
    return np.random.default_rng(seed).integers(0, 2**64, count, np.uint64)


@given(WORDS, st.integers(1, 6))
def test_ngrams_are_equal_where_their_words_are(words: list[str], size: int) -> None:
    """Two n-grams have the same hash if, and only if, they are the same words in the same order."""
    hashes = hash_ngrams(words, size).tolist()
    size = min(size, len(words)) or 1
    grams = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
    assert len(hashes) == len(grams)
    assert len(set(zip(grams, hashes, strict=True))) == len(set(grams)) == len(set(hashes))


def test_ngrams_of_few_words() -> None:
    """Fewer words than an n-gram are one n-gram, and no word is none."""
    assert len(hash_ngrams(["one", "two"], 5)) == 1
    assert hash_ngrams(["one", "two"], 5) != hash_ngrams(["two", "one"], 5)
    assert len(hash_ngrams([], 5)) == 0


@pytest.mark.parametrize("count", [1, 7, 8192, 8193, 20_000])
def test_signature_is_the_formula(count: int) -> None:
    """Each minimum is that of a * x + b modulo 2**64, computed with Python's integers."""
    family, ngrams = MinHash(2, 3, seed=5), random_ngrams(count, seed=1)
    expected = [
        min((a * x + b) & MASK for x in ngrams.tolist())
        for a, b in zip(family.factors.tolist(), family.offsets.tolist(), strict=True)
    ]
    assert family.signature(ngrams).tolist() == expected


def test_band_keys_are_xxh3_of_the_bands() -> None:
    """A key is the XXH3 hash of a band's minima, little endian, so it is the same on every machine."""
    family, ngrams = MinHash(4, 3, seed=0), random_ngrams(50, seed=2)
    data = family.signature(ngrams).astype("<u8").tobytes()
    assert family.band_keys(ngrams) == [xxhash.xxh3_64_intdigest(data[i : i + 24]) for i in range(0, 96, 24)]


def test_a_seed_is_a_family() -> None:
    """The same seed gives the same keys, another seed others; every factor is odd, so that no two n-grams merge."""
    ngrams = random_ngrams(100, seed=3)
    first, again, other = (MinHash(8, 4, seed=s) for s in (1, 1, 2))
    assert first.band_keys(ngrams) == again.band_keys(ngrams)
    assert not set(first.band_keys(ngrams)) & set(other.band_keys(ngrams))
    assert (first.factors & np.uint64(1)).all()


@pytest.mark.parametrize("jaccard", [0.1, 0.3, 0.5, 0.8])
def test_equal_minima_estimate_jaccard(jaccard: float) -> None:
    """The share of equal minima is the share of common n-grams, within 4 standard errors of 2,048 hashes."""
    union = random_ngrams(3000, seed=int(100 * jaccard))
    common = round(jaccard * len(union))
    half = (len(union) - common) // 2
    left, right = union[: common + half], np.concatenate([union[:common], union[common + half :]])
    family = MinHash(256, 8, seed=0)
    share = float((family.signature(left) == family.signature(right)).mean())
    assert abs(share - jaccard) < 4 * (jaccard * (1 - jaccard) / 2048) ** 0.5


def test_a_pair_is_found_as_often_as_theory_says() -> None:
    """Pairs with half their n-grams in common share a band with probability 1 - (1 - s**r)**b, within 4 errors."""
    expected, count = 1 - (1 - 0.5**3) ** 4, 600
    found = 0
    for seed in range(count):
        ngrams, family = random_ngrams(60, seed), MinHash(4, 3, seed)
        left, right = family.band_keys(ngrams[:45]), family.band_keys(ngrams[15:])
        found += any(x == y for x, y in zip(left, right, strict=True))
    assert abs(found / count - expected) < 4 * (expected * (1 - expected) / count) ** 0.5


def test_keys_of_long_unrelated_documents_do_not_collide() -> None:
    """Among 2,000 unrelated documents of 3,000 n-grams no band key occurs twice.

    Keys that are sums of 32-bit minima, as the reference has them, collide here: the minima of long documents are
    small, and few sums are possible.
    """
    family = MinHash(4, 6, seed=0)
    signatures = [family.signature(random_ngrams(3000, seed)) for seed in range(2000)]
    keys = [xxhash.xxh3_64_intdigest(s[:6].tobytes()) for s in signatures]
    assert len(set(keys)) == 2000
    sums = [sum(minimum >> 32 for minimum in s[:6].tolist()) for s in signatures]
    assert max(sums) < 2**26  # so among 100,000 such documents many pairs would have the same sum
