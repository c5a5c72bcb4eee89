"""Signatures are what MinHash says they are."""

import gzip
import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasketch import MinHash as PeerMinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.sketch.fold import fold
from stages.sketch.kernel import Hashes, signature
from stages.sketch.minhash import MinHash, Sets
from stages.sketch.normalize import normalize, words
from tests.stages.sketch import plain

PAPERS = Path(__file__).parents[3].parent / "shared" / "data" / "corpora" / "pmc-ccby-260.jsonl.gz"
WORDS = st.lists(st.sampled_from(["a", "b", "ab", "c", "größe", "中文", "x_1"]), max_size=30)
PINNED = [["c1f31642df3b0bfe", "b1d8300b34ae5d55"], ["279ccc740a779c93", "b3904c9d2c8b5e16"]]  # by `plain`
SIZES = (1, 2, 7, 40, 200, 1000)


def random_ngrams(count: int, seed: int) -> Hashes:
    """Draw hashes of n-grams."""
    return np.random.default_rng(seed).integers(1, 2**64, count, np.uint64)


def keys_of(family: MinHash, ngrams: Hashes) -> list[int]:
    """The band keys of one set."""
    keys: list[int] = family.keys(Sets(ngrams, np.array([0, len(ngrams)])))[0].tolist()
    return keys


def agreement(left: Hashes, right: Hashes, places: int, seed: int) -> float:
    """The share of equal minima of two sets."""
    one, two = (signature(ngrams, places, np.uint64(seed)) for ngrams in (left, right))
    return float((one == two).mean())


def pair(count: int, jaccard: float, seed: int) -> tuple[Hashes, Hashes, float]:
    """Draw two sets whose union has `count` members; returns their true similarity too."""
    union = random_ngrams(count, seed)
    common = round(jaccard * count)
    half = (count - common) // 2
    return union[: common + half], np.concatenate([union[:common], union[common + half :]]), common / count


# ---- the definition


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=5), st.integers(1, 6))
def test_ngrams_are_those_of_the_plain_words(texts: list[str], size: int) -> None:
    """The distinct n-grams of any text are the plain reference's: Unicode words, normalized, in runs."""
    sets = MinHash(2, 3, 0, size).sets(pa.array(texts, pa.string()))
    expected = [sorted(set(plain.ngrams(words(normalize(t)), size))) for t in texts]
    assert [sets.hashes[a:b].tolist() for a, b in itertools.pairwise(sets.offsets)] == expected


@settings(max_examples=100, deadline=None)
@given(WORDS, st.integers(1, 6))
def test_ngrams_are_as_many_as_runs_of_words(these: list[str], size: int) -> None:
    """There are as many distinct n-grams as distinct runs; few words are one shorter run, and no word is none."""
    runs = {tuple(these[i : i + size]) for i in range(max(1, len(these) - size + 1))} if these else set()
    assert len(MinHash(1, 1, 0, size).sets(pa.array([" ".join(these)])).hashes) == len(runs)


@pytest.mark.parametrize("count", [1, 2, 5, 13, 60, 400])
def test_keys_are_the_formula(count: int) -> None:
    """Sets smaller and larger than the signature have the keys of the definition, computed with Python's integers."""
    family, ngrams = MinHash(4, 3, seed=5), random_ngrams(count, seed=count)
    assert keys_of(family, ngrams) == plain.band_keys(set(ngrams.tolist()), 4, 3, 5)


def test_texts_and_sets_have_the_same_keys() -> None:
    """Keys come out the same from texts and from their sets, whatever stands beside them in the batch."""
    texts = ["", "±", "one", "one two", "a b c d e f " * 20, "Größe α x\u0302 中文 テスト " * 30, "w " * 5000]
    family = MinHash(42, 6, seed=3)
    keys, sizes = family.sketch(fold(pa.array(texts)))
    sets = family.sets(pa.array(texts))
    assert sizes.tolist() == np.diff(sets.offsets).tolist() == [0, 0, 1, 1, 6, 5, 1]
    assert (family.keys(sets) == keys).all()
    assert (keys[:2] == 0).all()
    alone = np.concatenate([family.sketch(fold(pa.array([t])))[0] for t in texts])
    assert (alone == keys).all()


def test_keys_are_pinned() -> None:
    """A sketch's bytes do not change from one version or machine to the next without notice."""
    keys, _ = MinHash(2, 3, seed=0).sketch(fold(pa.array(["The eﬃcient hyphen-\nation of Größe, α and 中文.", "one"])))
    assert [[f"{k:016x}" for k in row] for row in keys.tolist()] == PINNED


def test_repeats_and_order_do_not_matter() -> None:
    """A signature is one of a set."""
    family, ngrams = MinHash(8, 4, seed=0), random_ngrams(50, seed=2)
    assert keys_of(family, np.concatenate([ngrams[::-1], ngrams])) == keys_of(family, ngrams)


def test_a_seed_is_a_family() -> None:
    """The same seed gives the same keys, another seed others."""
    ngrams = random_ngrams(100, seed=3)
    first, again, other = (MinHash(8, 4, seed=s) for s in (1, 1, 2**63 - 1))
    assert keys_of(first, ngrams) == keys_of(again, ngrams)
    assert not set(keys_of(first, ngrams)) & set(keys_of(other, ngrams))


# ---- the estimate


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("jaccard", [0.15, 0.5, 0.85])
def test_equal_minima_estimate_jaccard(count: int, jaccard: float) -> None:
    """Over 400 pairs the mean error is 0 within 4 standard errors, and the variance not above classic MinHash's.

    Classic MinHash has variance s (1 - s) / P; the margin of 1.25 is 3.5 standard errors of a variance of 400.
    """
    errors = []
    for seed in range(400):
        left, right, true = pair(count, jaccard, seed)
        if not len(left) or not len(right):
            return
        errors.append(agreement(left, right, 252, seed) - true)
    classic = true * (1 - true) / 252
    assert abs(np.mean(errors)) <= 4 * (classic / len(errors)) ** 0.5
    assert np.var(errors) <= 1.25 * classic


@pytest.mark.parametrize("count", [12, 60, 500])
def test_a_pair_is_found_as_often_as_theory_says(count: int) -> None:
    """Pairs with half their n-grams in common share a band with probability 1 - (1 - s**r)**b, within 5 points."""
    expected, found = 1 - (1 - 0.5**3) ** 4, 0
    for seed in range(1500):
        left, right, _ = pair(count, 0.5, seed)
        family = MinHash(4, 3, seed)
        found += any(x == y for x, y in zip(keys_of(family, left), keys_of(family, right), strict=True))
    assert abs(found / 1500 - expected) < 0.05


def test_keys_of_long_unrelated_documents_do_not_collide() -> None:
    """Among 2,000 unrelated documents of 3,000 n-grams no band key occurs twice.

    Keys that are sums of 32-bit minima, as the reference has them, collide here: the minima of long documents are
    small, and few sums are possible.
    """
    family = MinHash(4, 6, seed=0)
    hashes = np.concatenate([random_ngrams(3000, seed) for seed in range(2000)])
    keys = family.keys(Sets(hashes, np.arange(0, 3000 * 2001, 3000)))
    assert len(np.unique(keys)) == 8000
    sums = [sum(m >> 32 for m in PeerLike.minima(seed)) for seed in range(200)]
    assert max(sums) < 2**26  # so among 100,000 such documents many pairs would have the same sum


class PeerLike:
    """Six classic 32-bit minima of a document of 3,000 n-grams, at the top of 64 bits."""

    @staticmethod
    def minima(seed: int) -> list[int]:
        """Draw them."""
        return [int(random_ngrams(3000, 10_000 * seed + k).min()) for k in range(6)]


def test_estimates_of_papers_are_as_good_as_the_peers() -> None:
    """On cut and shuffled papers our mean square error is at most datasketch's with as many hashes."""
    if not PAPERS.exists():
        pytest.skip("the set of real papers is not on this machine")
    with gzip.open(PAPERS, "rt") as stream:
        texts = [json.loads(line)["text"][:4000] for line in itertools.islice(stream, 40)]
    texts += [t[: len(t) * (3 + i % 7) // 10] for i, t in enumerate(texts)]
    family = MinHash(42, 6, 0)
    sets = family.sets(pa.array(texts))
    ours, theirs = [], []
    for i in range(40):
        left, right = (sets.hashes[sets.offsets[k] : sets.offsets[k + 1]] for k in (i, i + 40))
        true = len(np.intersect1d(left, right)) / len(np.union1d(left, right))
        peers = [PeerMinHash(252, scheme="affine64", hashfunc=int) for _ in range(2)]
        for peer, values in zip(peers, (left, right), strict=True):
            peer.update_batch(values.tolist())
        ours.append(agreement(left, right, 252, 0) - true)
        theirs.append(peers[0].jaccard(peers[1]) - true)
    assert np.mean(np.square(ours)) <= 1.1 * np.mean(np.square(theirs))
    assert abs(np.mean(ours)) < 0.015
