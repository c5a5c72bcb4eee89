"""Windows of words as hashes, in one compiled pass over the bytes of texts.

The hash of a window is a polynomial in the hashes of its words modulo the prime 2**61 - 1 (Karp and Rabin 1987), at two
bases, rolled on from word to word. 85 bits of it are kept: among 10**9 windows (6 GB of text) any two that differ share
them with a probability of 1e-8. Given up: words are told apart by 60 bits.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stages.compiled import compiled, inlined
from stages.decontaminate.words import decode
from stages.substring.characters import ALONE, COUNT, DIGIT, IDEOGRAPHS, LETTER, MARK, SPACE, kinds

Bytes = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]
Bounds = npt.NDArray[np.int32]  # within a text, which Arrow keeps below 2 GiB

PLACE_BITS = np.uint64(40)  # of a record's second number; the others are the window's second hash
MAX_WORDS = 1 << 40  # in a corpus: 7 TB of English
CHECK = ~np.uint64(MAX_WORDS - 1)
SEED, PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)  # FNV-1a
MERSENNE = np.uint64((1 << 61) - 1)
BASES = (0x0F3A94C6D2B8715E, 0x1B0E5D8347A96C2D)  # below 2**61 - 1, of no other meaning
BITS_30, BITS_31 = np.uint64((1 << 30) - 1), np.uint64((1 << 31) - 1)
U30, U31, U61, U4 = np.uint64(30), np.uint64(31), np.uint64(61), np.uint64(4)


class Rule(NamedTuple):
    """What a window is: its number of words, the bases, and the bases' powers that a word has when it leaves."""

    num_words: int
    bases: U64
    powers: U64

    @classmethod
    def of(cls, num_words: int) -> "Rule":
        """The rule for windows of so many words."""
        powers = [pow(b, num_words - 1, int(MERSENNE)) for b in BASES]
        return cls(num_words, np.array(BASES, np.uint64), np.array(powers, np.uint64))


class Text(NamedTuple):
    """The words of one text: the bytes where each begins and ends."""

    starts: Bounds
    ends: Bounds


def windows(texts: pa.Array, rule: Rule) -> tuple[U64, Places]:
    """The windows of an Arrow array of texts, and the number of words of each text.

    A window is a record of two numbers: its hash; and its second hash, with the number of its first word among the words
    of all these texts in the lower 40 bits. Left out are windows of which less than half of the words have a letter.
    """
    texts = texts.cast(pa.large_string())
    _, offsets, data = texts.buffers()
    starts = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    raw = np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)
    records = np.empty((int(starts[-1] - starts[0]) // 2 + len(texts), 2), np.uint64)  # costs what is written to
    counts = np.zeros(len(texts), np.int64)
    return records[: _scan(raw, starts, kinds(), rule, (records, counts))], counts


def words(data: bytes) -> Text:
    """Where the words of a text are."""
    room = np.empty((2, len(data) // 2 + 1), np.int32)  # costs what is written to
    count = _words(np.frombuffer(data, np.uint8), kinds(), room)
    return Text(room[0, :count], room[1, :count])


def characters(data: bytes, places: Places) -> Places:
    """The characters before each of these ascending bytes."""
    return _characters(np.frombuffer(data, np.uint8), places)


@compiled
def _scan(data: Bytes, starts: Places, table: Bytes, rule: Rule, out: tuple[U64, Places]) -> int:
    records, counts = out
    size = rule.num_words
    ring, lettered = np.zeros(size, np.uint64), np.zeros(size, np.int64)
    found = base = 0
    for row in range(starts.size - 1):
        one, two, letters, slot, count = np.uint64(0), np.uint64(0), 0, 0, 0
        ring[:], lettered[:] = np.uint64(0), 0
        place = starts[row]
        while True:
            _begin, place, hashed, kind = _next(data, place, starts[row + 1], table)
            if kind == MARK:
                break
            word = hashed >> U4
            one = _rolled(one, ring[slot], word, rule.bases[0], rule.powers[0])
            two = _rolled(two, ring[slot], word, rule.bases[1], rule.powers[1])
            letters += (kind >= LETTER) - lettered[slot]
            ring[slot], lettered[slot] = word, kind >= LETTER
            slot, count = (slot + 1) if slot + 1 < size else 0, count + 1
            if count >= size and 2 * letters >= size:
                records[found, 0] = _mixed(one)
                records[found, 1] = (_mixed(two) & CHECK) | np.uint64(base + count - size)
                found += 1
        counts[row] = count
        base += count
    return found


@compiled
def _words(data: Bytes, table: Bytes, out: Bounds) -> int:
    count = place = 0
    while True:
        begin, place, _, kind = _next(data, place, data.size, table)
        if kind == MARK:
            return count
        out[0, count], out[1, count] = begin, place
        count += 1


@compiled
def _characters(data: Bytes, places: Places) -> Places:
    out = np.empty_like(places)
    count = at = 0
    for i in range(places.size):
        while at < places[i]:
            count += (data[at] & 0xC0) != 0x80
            at += 1
        out[i] = count
    return out


@inlined
def _next(data: Bytes, i: int, stop: int, table: Bytes) -> tuple[int, int, np.uint64, int]:
    """The next word from byte `i` on: where it begins and ends, its hash, its greatest kind (`MARK`: there is none)."""
    begin, hashed, greatest = i, SEED, MARK
    while i < stop:
        kind, width = int(table[data[i]]), 1
        if data[i] >= 0x80:
            code, width = decode(data, i)
            kind = _kind(code, table)
        if kind == SPACE:
            if greatest != MARK:
                break
            begin, hashed = i + width, SEED  # marks between spaces are no word
        else:
            if (greatest == ALONE and kind >= DIGIT) or (kind == ALONE and greatest != MARK):
                break
            for byte in range(i, i + width):
                hashed = (hashed ^ np.uint64(data[byte])) * PRIME
            greatest = max(greatest, kind)
        i += width
    return begin, i, _mixed(hashed), greatest


@inlined
def _kind(code: int, table: Bytes) -> int:
    if code < COUNT:
        return int(table[code])
    return ALONE if IDEOGRAPHS[0] <= code < IDEOGRAPHS[1] else MARK


@inlined
def _rolled(value: np.uint64, old: np.uint64, new: np.uint64, base: np.uint64, power: np.uint64) -> np.uint64:
    """The hash of a window without its oldest word and with a new one."""
    value = value + MERSENNE - _product(old, power)
    return _reduced(_product(_reduced(value), base) + new)


@inlined
def _product(a: np.uint64, b: np.uint64) -> np.uint64:
    """A product modulo 2**61 - 1 of two numbers below it, in 64 bits: each is cut at bit 31."""
    high, low = (a >> U31) * (b >> U31), (a & BITS_31) * (b & BITS_31)
    middle = (a & BITS_31) * (b >> U31) + (a >> U31) * (b & BITS_31)
    return _reduced((high << np.uint64(1)) + (middle >> U30) + ((middle & BITS_30) << U31) + low)


@inlined
def _reduced(x: np.uint64) -> np.uint64:
    x = (x & MERSENNE) + (x >> U61)
    return x - MERSENNE if x >= MERSENNE else x


@inlined
def _mixed(x: np.uint64) -> np.uint64:
    """Spread every bit over all (the finish of SplitMix64, Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
