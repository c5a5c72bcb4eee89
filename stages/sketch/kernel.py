"""Compiled: from normalized texts to the distinct word n-grams they hold, and from these to MinHash band keys.

A word is hashed by its characters; an n-gram by a polynomial over its words' hashes, rolled from one n-gram to
the next; SplitMix64 spreads the bits of both. Nothing depends on the machine.

The signature is *fast similarity sketching* (Dahlgaard, Knudsen and Thorup, FOCS 2017): each n-gram falls by its hash into
one of P places, and the smallest in a place is that place's minimum; places that stay empty are filled by a second round
with other hashes, and so on. So each place holds the first n-gram of a random order, as in MinHash (Broder 1997): two
documents agree in a place with the probability of their Jaccard similarity exactly, short ones included, where
one-permutation hashing has to borrow between places. The cost is one hash an n-gram and P ln P a document, not P an n-gram.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from stages.compiled import compiled, inlined
from stages.sketch.characters import WORD
from stages.sketch.fold import Bytes, Folded, Offsets, decode

Hashes = npt.NDArray[np.uint64]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, odd
FACTOR = np.uint64(0xD1342543DE82EF95)  # of the polynomial; a multiplier with good spectra (Steele and Vigna 2021)
EMPTY = np.uint64(2**64 - 1)
HALF = np.uint64(32)
ONE = np.uint64(1)


@inlined
def mix(x: np.uint64) -> np.uint64:
    """Spread every bit over all (the finish of SplitMix64, Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@compiled
def band_keys(
    folded: Folded, ngram_words: int, bands: tuple[int, int], seed: np.uint64, kinds: Bytes
) -> tuple[Hashes, Offsets]:
    """Keys (N, num_bands) of N normalized texts, and how many distinct n-grams each has; keys of a text with none are 0.

    `bands` is (num_bands, rows_per_band). One 64-bit key a band: a hash of its minima, never a sum.
    """
    count = folded.offsets.size - 1
    keys, sizes = np.zeros((count, bands[0]), np.uint64), np.zeros(count, np.int64)
    found, table = _scratch(folded.offsets)
    minima = np.empty(bands[0] * bands[1], np.uint64)
    for row in range(count):
        num = _ngrams(folded.data, folded.offsets[row : row + 2], ngram_words, kinds, found)
        sizes[row] = _distinct(found, num, table)
        if num:
            _sketch(found[: sizes[row]], mix(seed + GOLDEN), minima)
            _join(minima, bands[1], keys[row])
    return keys, sizes


@compiled
def distinct_ngrams(folded: Folded, ngram_words: int, kinds: Bytes) -> tuple[Hashes, Offsets]:
    """The distinct n-grams of each text, as sorted hashes: text `i` has `hashes[offsets[i]:offsets[i + 1]]`."""
    count = folded.offsets.size - 1
    found, table = _scratch(folded.offsets)
    hashes, offsets = np.empty(folded.data.size // 2 + count, np.uint64), np.zeros(count + 1, np.int64)
    for row in range(count):
        num = _ngrams(folded.data, folded.offsets[row : row + 2], ngram_words, kinds, found)
        num = _distinct(found, num, table)
        offsets[row + 1] = offsets[row] + num
        hashes[offsets[row] : offsets[row + 1]] = np.sort(found[:num])
    return hashes[: offsets[count]], offsets


@compiled
def keys_of_sets(sets: tuple[Hashes, Offsets], bands: tuple[int, int], seed: np.uint64) -> Hashes:
    """Keys (N, num_bands) of N sets of n-gram hashes, given as (hashes, offsets); keys of an empty set are 0."""
    hashes, offsets = sets
    keys = np.zeros((offsets.size - 1, bands[0]), np.uint64)
    for row in range(offsets.size - 1):
        if offsets[row + 1] > offsets[row]:
            minima = signature(hashes[offsets[row] : offsets[row + 1]], bands[0] * bands[1], seed)
            _join(minima, bands[1], keys[row])
    return keys


@compiled
def signature(ngrams: Hashes, places: int, seed: np.uint64) -> Hashes:
    """The minima of a set of one n-gram or more."""
    minima = np.empty(places, np.uint64)
    _sketch(ngrams, mix(seed + GOLDEN), minima)
    return minima


@compiled
def _scratch(offsets: Offsets) -> tuple[Hashes, Hashes]:
    """Room for the n-grams of the longest text, and for a table in which a third stays free."""
    longest = 0
    for row in range(offsets.size - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    most = longest // 2 + 2  # a word and a blank are two bytes
    return np.empty(most, np.uint64), np.empty(most + most // 2 + 1, np.uint64)


@compiled
def _ngrams(data: Bytes, span: Offsets, ngram_words: int, kinds: Bytes, found: Hashes) -> int:
    """Hash each run of `ngram_words` words; fewer words are one shorter run, none is none. Returns how many."""
    num_words = _words(data, span, kinds, found)
    size = min(ngram_words, num_words)
    oldest = ONE
    for _ in range(size):
        oldest *= FACTOR
    rolled, leaving = np.uint64(0), np.uint64(0)
    for k in range(num_words):
        found[k] = mix(found[k])
        rolled = rolled * FACTOR + found[k] - leaving * oldest
        if k + 1 >= size:
            leaving = found[k + 1 - size]
            found[k + 1 - size] = mix(rolled)
    return num_words - size + 1 if num_words else 0


@compiled
def _words(data: Bytes, span: Offsets, kinds: Bytes, found: Hashes) -> int:
    """Hash each word by its characters; returns how many. ASCII costs the same in and between words: no branch to mispredict."""
    i, stop = span[0], span[1]
    word, inside, num = GOLDEN, 0, 0
    while i < stop:
        byte = data[i]
        found[num] = word
        if byte < 0x80:
            goes_on = (kinds[byte] & WORD) // WORD
            grown = (word ^ np.uint64(byte)) * FACTOR
            i += 1
        else:
            code, width = decode(data, i)
            goes_on = (kinds[code] & WORD) // WORD
            grown = (word ^ np.uint64(code)) * FACTOR
            i += width
        num += inside & ~goes_on
        word = grown if goes_on else GOLDEN
        inside = goes_on
    found[num] = word
    return num + inside


@compiled
def _distinct(found: Hashes, num: int, table: Hashes) -> int:
    """Move the distinct values of `found[:num]` to its front, in order; returns how many. Open addressing."""
    slots = num + num // 2 + 1
    table[:slots] = 0
    kept = 0
    for k in range(num):
        value = max(found[k], ONE)  # 0 marks a free slot
        slot: Any = np.int64(((value >> HALF) * np.uint64(slots)) >> HALF)
        while table[slot] != 0 and table[slot] != value:
            slot = slot + 1 if slot + 1 < slots else 0
        if table[slot] == 0:
            table[slot] = value
            found[kept] = value
            kept += 1
    return kept


@compiled
def _sketch(ngrams: Hashes, seed: np.uint64, minima: Hashes) -> None:
    """Fill every place of `minima` with the smallest hash that falls into it in the first round in which one does."""
    places = minima.size
    minima[:] = EMPTY
    is_open = np.ones(places, np.bool_)
    for round_ in range(places):
        offset = seed + np.uint64(round_) * GOLDEN
        for ngram in ngrams:
            value = mix(ngram + offset)
            place = np.int64(((value >> HALF) * np.uint64(places)) >> HALF)
            if is_open[place]:
                minima[place] = min(minima[place], value)
        num_open = 0
        for k in range(places):
            is_open[k] = minima[k] == EMPTY
            num_open += is_open[k]
        if num_open == 0:
            return
    for k in range(places):  # very few n-grams: each place left takes the smallest of all
        offset = seed + np.uint64(places + k) * GOLDEN
        if is_open[k]:
            for ngram in ngrams:
                minima[k] = min(minima[k], mix(ngram + offset))


@compiled
def _join(minima: Hashes, rows_per_band: int, keys: Hashes) -> None:
    """Hash each band's minima, in order, to one key."""
    for band in range(keys.size):
        key = GOLDEN
        for k in range(band * rows_per_band, (band + 1) * rows_per_band):
            key = mix(key ^ minima[k])
        keys[band] = key
