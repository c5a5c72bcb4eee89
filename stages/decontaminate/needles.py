"""Benchmark items as what is looked for: their word trigrams in a hash table, each with the items that have it.

An item is its question; a short question says too little (`Which is true?`), so its answer is added. A trigram weighs the
more, the fewer items have its words (the sum of the words' logarithms, as in retrieval); one that more than `MAX_ITEMS`
items share is a phrase of the benchmarks' (`which of the following`) and weighs nothing; copies of an item count as one.
An item with fewer than `MIN_GRAMS` trigrams of its own cannot be told from chance and is reported as not looked for.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.evaluation import BenchmarkItem
from stages.compiled import compiled
from stages.decontaminate.words import Hashes, Places, words

SIZE = 3  # words of a gram: long enough to be rare, short enough to survive an error in every sixth word
MAX_ITEMS, MIN_GRAMS, SHORT_WORDS = 16, 5, 12
SIEVE_BITS = 22  # 512 KiB stay in a core's cache; 3 % of the bits are set by 4,000 items
EMPTY = np.uint64(0)
FACTORS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9))


class Index(NamedTuple):
    """Grams of all needles. Postings of gram g: `items[at[g]:at[g + 1]]`, each with its number within the item.

    sieve (2**22 bits as u8), keys and grams (a power of two of slots: hash, gram), lengths (words of each needle), counts
    (distinct grams of each needle, those of many items left out), weights (of each gram, f32), totals (of each needle).
    """

    sieve: npt.NDArray[np.uint8]
    keys: Hashes
    grams: Places
    at: Places
    items: Places
    slots: Places
    lengths: Places
    counts: Places
    weights: npt.NDArray[np.float32]
    totals: npt.NDArray[np.float32]


def needle(item: BenchmarkItem) -> str:
    """The text of an item that a document would have if the item had leaked into it."""
    if len(words(item.question).hashes) >= SHORT_WORDS:
        return item.question
    return f"{item.question}\n{item.answer}"


def index(texts: Sequence[str]) -> Index:
    """The index of needles, numbered as they come."""
    hashes = [words(text).hashes for text in texts]
    distinct = [np.unique(gram_hashes(h)) for h in hashes]
    every, counts = _unique([*{h.tobytes(): d for h, d in zip(hashes, distinct, strict=True)}.values()])
    kept = every[counts <= MAX_ITEMS]
    weights = _weights(hashes, kept)
    pairs = [(np.searchsorted(kept, d[np.isin(d, kept, assume_unique=True)]), i) for i, d in enumerate(distinct)]
    grams = np.concatenate([np.zeros(0, np.int64), *(g for g, _ in pairs)])
    items = np.concatenate([np.zeros(0, np.int64), *(np.full(len(g), i) for g, i in pairs)])
    slots = np.concatenate([np.zeros(0, np.int64), *(np.arange(len(g)) for g, _ in pairs)])
    order = np.argsort(grams, kind="stable")
    at = np.searchsorted(grams[order], np.arange(len(kept) + 1))
    return Index(
        *_table(kept),
        at.astype(np.int32),
        items[order].astype(np.int32),
        slots[order].astype(np.int32),
        np.array([len(h) for h in hashes], np.int32),
        np.array([len(g) for g, _ in pairs], np.int32),
        weights,
        np.array([weights[g].sum(dtype=np.float64) for g, _ in pairs], np.float32),
    )


def _unique(parts: Sequence[Hashes]) -> tuple[Hashes, npt.NDArray[np.int64]]:
    return np.unique(np.concatenate([*parts, np.zeros(0, np.uint64)]), return_counts=True)


def _weights(hashes: Sequence[Hashes], kept: Hashes) -> npt.NDArray[np.float32]:
    """Sum over a gram's words of log(items / items with the word)."""
    every, counts = _unique([np.unique(h) for h in hashes])
    rarity = np.log((len(hashes) + 1) / counts)
    weights = np.zeros(len(kept), np.float32)
    for h in hashes:
        word = rarity[np.searchsorted(every, h)]
        grams = gram_hashes(h)
        total = np.zeros(len(grams))
        for first in range(SIZE):
            total += word[first : first + len(grams)]
        place = np.searchsorted(kept, grams)
        known = kept[np.minimum(place, len(kept) - 1)] == grams if len(kept) else np.zeros(len(grams), bool)
        weights[place[known]] = total[known]
    return weights


def gram_hashes(hashes: Hashes) -> Hashes:
    """Hash each run of `SIZE` words; N words have N - SIZE + 1."""
    found = np.zeros(max(0, len(hashes) - SIZE + 1), np.uint64)
    for place, factor in enumerate(FACTORS):
        found += hashes[place : place + len(found)] * factor
    return np.maximum(found, 1)  # 0 marks an empty slot


def _table(kept: Hashes) -> tuple[npt.NDArray[np.uint8], Hashes, Places]:
    size = 1 << max(4, (4 * len(kept)).bit_length())
    keys, grams = np.full(size, EMPTY), np.zeros(size, np.int32)
    sieve = np.zeros(1 << SIEVE_BITS >> 3, np.uint8)
    _fill(kept, keys, grams, sieve)
    return sieve, keys, grams


@compiled
def _fill(kept: Hashes, keys: Hashes, grams: Places, sieve: npt.NDArray[np.uint8]) -> None:
    mask = keys.size - 1
    for gram in range(kept.size):
        slot = np.int64(kept[gram] >> np.uint64(20)) & mask
        while keys[slot] != EMPTY:
            slot = (slot + 1) & mask
        keys[slot], grams[slot] = kept[gram], gram
        bit = np.int64(kept[gram] >> np.uint64(64 - SIEVE_BITS))
        sieve[bit >> 3] |= np.uint8(1 << (bit & 7))


@compiled
def lookup(key: np.uint64, found: Index) -> int:
    """The gram of a hash, or -1."""
    bit = np.int64(key >> np.uint64(64 - SIEVE_BITS))
    if not found.sieve[bit >> 3] >> (bit & 7) & 1:
        return -1
    mask = found.keys.size - 1
    slot = np.int64(key >> np.uint64(20)) & mask
    while found.keys[slot] != EMPTY:
        if found.keys[slot] == key:
            return int(found.grams[slot])
        slot = (slot + 1) & mask
    return -1
