"""Random permutations of 0..n-1 that are computed, not stored: any position costs the same and needs no memory.

An eight-round Feistel network over the smallest number of bits that holds n, its two parts as even as they can be, with
cycle walking (Black and Rogaway 2002) for what lies outside; the round function is splitmix64 (Steele et al. 2014). All
functions work element by element on arrays, each element under a size and keys of its own, and the order depends on
these alone, not on a library's version. What it gives up: cryptographic strength.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

NUM_ROUNDS = 8  # four are biased where parts are two bits wide (chi-squared 103 for 49 degrees), eight are not
MIN_BITS = 6  # parts of one or two bits leave a bias in which items stand side by side

Indices = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]


def named_keys(name: str) -> Words:
    """Keys (8 words) of a name."""
    return np.frombuffer(hashlib.sha512(name.encode()).digest(), "<u8").astype(np.uint64)[:NUM_ROUNDS]


def numbered_keys(keys: Words, numbers: Indices) -> Words:
    """Keys (8 x N) for N numbers, an epoch or a step, under keys of a name (8, or 8 x N)."""
    base = keys.reshape(NUM_ROUNDS, -1)
    return _splitmix64(base + _splitmix64(numbers.astype(np.uint64)))


def permute(positions: Indices, sizes: Indices | np.int64, keys: Words) -> Indices:
    """Items at these positions: `positions[i]` of the permutation of `sizes[i]` under `keys[:, i]`.

    `sizes` and `keys` are broadcast. IndexError for a position outside its permutation.
    """
    return _walk(positions, sizes, keys, backwards=False)


def unpermute(items: Indices, sizes: Indices | np.int64, keys: Words) -> Indices:
    """Positions at which these items stand: the inverse of `permute`."""
    return _walk(items, sizes, keys, backwards=True)


def _walk(words: Indices, sizes: Indices | np.int64, keys: Words, *, backwards: bool) -> Indices:
    """Apply the network until each word lies inside its size again: the domain is at most twice that, or 64."""
    words, sizes = np.broadcast_arrays(words, sizes)
    if words.size and (wrong := (words < 0) | (words >= sizes)).any():
        raise IndexError(f"position {words[wrong][0]} of a permutation of {sizes[wrong][0]}")
    keys = np.broadcast_to(keys.reshape(NUM_ROUNDS, -1), (NUM_ROUNDS, words.size))
    found, limits = words.astype(np.uint64), sizes.astype(np.uint64)
    bits = np.maximum(_bit_lengths(limits - np.uint64(1)), np.uint64(MIN_BITS)) if words.size else limits
    outside = np.arange(words.size)
    while outside.size:
        some = _network(found[outside], bits[outside], keys[:, outside], backwards=backwards)
        found[outside] = some
        outside = outside[some >= limits[outside]]
    return found.astype(np.int64)


def _network(words: Words, bits: Words, keys: Words, *, backwards: bool) -> Words:
    low_bits = bits >> np.uint64(1)
    low_mask = (np.uint64(1) << low_bits) - np.uint64(1)
    high_mask = (np.uint64(1) << (bits - low_bits)) - np.uint64(1)
    high, low = words >> low_bits, words & low_mask
    for r in _rounds(backwards=backwards):
        if r % 2:
            high ^= _splitmix64(low ^ keys[r]) & high_mask
        else:
            low ^= _splitmix64(high ^ keys[r]) & low_mask
    joined: Words = high << low_bits | low
    return joined


def _rounds(*, backwards: bool) -> Iterator[int]:
    return reversed(range(NUM_ROUNDS)) if backwards else iter(range(NUM_ROUNDS))


def _bit_lengths(words: Words) -> Words:
    """Bits that each number needs, exactly, 0 for 0."""
    filled = words.copy()
    for shift in (1, 2, 4, 8, 16, 32):
        filled |= filled >> np.uint64(shift)
    lengths: Words = np.bitwise_count(filled).astype(np.uint64)
    return lengths


def _splitmix64(words: Words) -> Words:
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words
