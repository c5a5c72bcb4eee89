"""A random permutation of 0..n-1 that is computed, not stored: any position costs the same and needs no memory.

An eight-round Feistel network over the smallest even number of bits that holds n, with cycle walking (Black and Rogaway
2002) for the rest; the round function is splitmix64 (Steele et al. 2014). The order depends on (seed, epoch, n) alone,
not on a library's version. What it gives up: cryptographic strength.
"""

import hashlib

import numpy as np
import numpy.typing as npt

NUM_ROUNDS = 8  # four are biased where halves are two bits wide (chi-squared 103 for 49 degrees), eight are not

Indices = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]


class Permutation:
    """The permutation of `size` items that `seed` and `epoch` name."""

    def __init__(self, size: int, seed: int, epoch: int) -> None:
        self.size = size
        self.half_bits = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
        self.mask = np.uint64((1 << int(self.half_bits)) - 1)
        digest = hashlib.sha512(f"{seed}/{epoch}".encode()).digest()
        self.keys = np.frombuffer(digest, np.uint64)[:NUM_ROUNDS]

    def __getitem__(self, positions: Indices) -> Indices:
        """The items at these positions."""
        if positions.size and not 0 <= positions.min() <= positions.max() < self.size:
            raise IndexError(f"positions {positions.min()}..{positions.max()} of a permutation of {self.size}")
        items = self._encrypt(positions.astype(np.uint64))
        while (outside := items >= self.size).any():  # the domain is under 4 * size, so few walks are long
            items[outside] = self._encrypt(items[outside])
        return items.astype(np.int64)

    def _encrypt(self, words: Words) -> Words:
        left, right = words >> self.half_bits, words & self.mask
        for key in self.keys:
            left, right = right, left ^ (_splitmix64(right ^ key) & self.mask)
        return left << self.half_bits | right


def _splitmix64(words: Words) -> Words:
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
