"""MinHash signatures (Broder 1997) of word n-grams, cut into bands (Indyk and Motwani 1998), in 64 bits throughout.

The chance that two documents have the same minimum under one hash is the share of n-grams that they have in common.
A band is several minima, and its key is the 64-bit XXH3 hash of their bytes. (The reference implementation of LSHBloom
takes the *sum* of the minima; minima of long documents are all near 0, so sums of unrelated documents collide.)

Shapes: S n-grams, P = num_bands * rows_per_band hashes.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

U64 = npt.NDArray[np.uint64]

BLOCK = 8192  # n-grams hashed at a time: two arrays of 64 KiB stay in a core's cache; 2.6 times one (P, S) array
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, odd: spreads the place of a word in its n-gram


class MinHash:
    """A family of P hash functions x -> a * x + b modulo 2**64, drawn with `seed`."""

    def __init__(self, num_bands: int, rows_per_band: int, seed: int) -> None:
        draw = np.random.Generator(np.random.PCG64(seed)).integers
        count = num_bands * rows_per_band
        self.num_bands = num_bands
        self.factors: U64 = draw(0, 2**64, count, np.uint64) | np.uint64(1)  # odd: one to one
        self.offsets: U64 = draw(0, 2**64, count, np.uint64)

    def signature(self, ngrams: U64) -> U64:
        """Return the P minima over S >= 1 n-gram hashes."""
        minima = [np.uint64(2**64 - 1)] * len(self.factors)
        for start in range(0, len(ngrams), BLOCK):
            block = ngrams[start : start + BLOCK]
            hashes = np.empty_like(block)
            for i, (factor, offset) in enumerate(zip(self.factors, self.offsets, strict=True)):
                np.multiply(block, factor, out=hashes)
                hashes += offset
                minima[i] = min(minima[i], hashes.min())
        return np.array(minima, np.uint64)

    def band_keys(self, ngrams: U64) -> list[int]:
        """Return one 64-bit key a band."""
        bands = self.signature(ngrams).astype("<u8").reshape(self.num_bands, -1)
        return [xxhash.xxh3_64_intdigest(band.tobytes()) for band in bands]


def hash_ngrams(words: list[str], size: int) -> U64:
    """Hash each run of `size` words: S = len(words) - size + 1 hashes; fewer words are one shorter run, none none."""
    if not words:
        return np.zeros(0, np.uint64)
    size = min(size, len(words))
    known = {word: xxhash.xxh3_64_intdigest(word.encode()) for word in set(words)}
    hashes = np.fromiter((known[word] for word in words), np.uint64, len(words))
    ngrams = np.zeros(len(words) - size + 1, np.uint64)
    for place in range(size):
        ngrams = ngrams * MULTIPLIER + hashes[place : place + len(ngrams)]
    return _mixed(ngrams)


def _mixed(x: U64) -> U64:
    """Spread every bit over all (the finish of SplitMix64, Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: npt.NDArray[Any] = x ^ (x >> np.uint64(31))
    return mixed
