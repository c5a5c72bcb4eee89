"""A byte-level n-gram model with interpolated Kneser-Ney smoothing, as a yardstick for a language model's bits a byte.

    p_k(b | c) = (max(n(cb) - D_k, 0) + D_k r(c) p_{k-1}(b | c')) / t(c),   D_k = n1 / (n1 + 2 n2)

c is the k - 1 bytes before b and c' the last k - 2 of them; n counts occurrences at the highest order and the distinct bytes in front
of a string below it; t(c) is the sum of n(cb), r(c) the number of distinct b, n1 and n2 the numbers of strings counted once
and twice; p_0 is 1/256, and a context that was never seen leaves p_{k-1} as it is (Chen and Goodman 1998, with one discount an
order). Strings of up to 8 bytes are whole numbers of 64 bits, so that counting is sorting.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.float64]
MAX_ORDER = 8
PAD = 0  # stands before a document's first byte


class Order(NamedTuple):
    """Strings of one length, sorted, how often they were seen, and by context the sum of that and the distinct followers."""

    strings: Keys
    counts: Numbers
    contexts: Keys
    totals: Numbers
    followers: Numbers
    discount: float


class ByteNgram:
    """Counts of all orders up to `order` (at most 8) over `documents`; each begins by itself."""

    def __init__(self, documents: Iterable[bytes], order: int) -> None:
        if not 1 <= order <= MAX_ORDER:
            raise ValueError(f"order is {order}; 1 to {MAX_ORDER} fit into 64 bits")
        strings, counts = np.unique(windows(documents, order), return_counts=True)
        self.orders: list[Order] = []
        for length in range(order, 0, -1):
            self.orders.insert(0, _order(strings, counts.astype(np.float64)))
            strings, counts = np.unique(strings & np.uint64((1 << 8 * (length - 1)) - 1), return_counts=True)

    def probabilities(self, documents: Iterable[bytes]) -> Numbers:
        """Of every byte of the documents, one after the other, given the bytes before it in its document."""
        strings = windows(documents, len(self.orders))
        found = np.full(len(strings), 1 / 256)
        for length, order in enumerate(self.orders, 1):
            own = strings & np.uint64((1 << 8 * length) - 1) if length < MAX_ORDER else strings
            place, known = _find(order.contexts, own >> np.uint64(8))
            at, seen = _find(order.strings, own)
            kept = np.where(seen, np.maximum(order.counts[at] - order.discount, 0), 0)
            spread = (kept + order.discount * order.followers[place] * found) / order.totals[place]
            found = np.where(known, spread, found)
        return found

    def bits_per_byte(self, documents: Iterable[bytes]) -> float:
        """Mean of -log2 of the probabilities."""
        return float(-np.log2(self.probabilities(documents)).mean())


def windows(documents: Iterable[bytes], order: int) -> Keys:
    """The last `order` bytes up to each byte, as a number whose lowest byte is the last."""
    parts = []
    for document in documents:
        data = np.frombuffer(bytes([PAD]) * (order - 1) + document, np.uint8).astype(np.uint64)
        keys = np.zeros(len(document), np.uint64)
        for offset in range(order):
            keys = keys << np.uint64(8) | data[offset : offset + len(document)]
        parts.append(keys)
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)


def _order(strings: Keys, counts: Numbers) -> Order:
    contexts, first, followers = np.unique(strings >> np.uint64(8), return_index=True, return_counts=True)
    totals = np.add.reduceat(counts, first) if len(counts) else counts
    once, twice = float((counts == 1).sum()), float((counts == 2).sum())
    discount = once / (once + 2 * twice) if once else 0.5
    return Order(strings, counts, contexts, totals, followers.astype(np.float64), discount)


def _find(sorted_keys: Keys, keys: Keys) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    places = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    return places, sorted_keys[places] == keys
