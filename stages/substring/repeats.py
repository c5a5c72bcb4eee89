"""Which windows are repeated: the records of a part of the windows counted in a hash table, however often one of them occurs.

Most windows occur once. A sieve (two bits a slot: nothing, one, more) tells which may not, and only these are put into the
table. The records of a part lie in the order of their places, so the first one of a window is its first occurrence, and a
document is counted when it is another than the last one. Memory depends on how many different windows of a part may be
repeated, not on how often they are.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stages.compiled import compiled, inlined
from stages.dedup.spill import PART_RECORDS, U64, Part, Places, Spill
from stages.substring.windows import CHECK, Bytes

SIEVE_SLOTS = 1 << 22  # 1 MiB stays in a core's cache; 6 % of the slots are taken by a part of the usual length
LONG_RECORDS = 4 * PART_RECORDS  # a part with more is cut into shorter ones first
WINDOW, CHECK_AND_FIRST, COUNTS, LAST = range(4)  # columns of the table; counts: occurrences << 32 | documents
ONE_OCCURRENCE, MOST = np.uint64(1 << 32), np.uint64(0xFFFFFFFF)  # counts stop there
NOTHING = np.uint64(0xFFFFFFFFFFFFFFFF)
SLOT_BITS, ONE, TWO, THREE = np.uint64(20), np.uint64(1), np.uint64(2), np.uint64(3)


class Least(NamedTuple):
    """From how many occurrences and documents on a window is repeated."""

    occurrences: int
    documents: int


def repeats(part: Part, ends: Places, least: Least) -> Iterator[U64]:
    """Blocks of the repeated windows of a part, in their order.

    Each is three numbers: its place; the place where the window occurs first; its occurrences (upper 32 bits) and
    documents (lower 32). `ends` has the place after each document's last word.
    """
    sieve = np.zeros(SIEVE_SLOTS // 4, np.uint8)
    for block in part.blocks():
        _sift(block, sieve)
    table = _counted(part, sieve)
    for block in _left(part, sieve):
        rows = np.searchsorted(ends, places(block), side="right").astype(np.uint64)
        _count_documents(block, rows, table)
    for block in _left(part, sieve):
        yield _chosen(block, table, least.occurrences, least.documents)


def short_parts(part: Part) -> Iterator[Part]:
    """A part of the windows, cut into parts of which none is long, if that is possible."""
    bits, num_records = part.spill.bits_in_part, part.num_records
    if num_records <= LONG_RECORDS or bits < 32:
        yield part
        return
    file = part.spill.file.with_name(f"{part.spill.file.name}.{part.number}")
    shorter, below = Spill(file, 2, num_records, bits), np.uint64((1 << bits) - 1)
    for block in part.blocks():
        shorter.add(np.column_stack([block[:, 0] & below, block[:, 1]]))
    for short in shorter.parts():
        yield from short_parts(short)
    shorter.remove()


def places(records: U64) -> U64:
    """The places of records."""
    found: U64 = records[:, 1] & ~CHECK
    return found


def _left(part: Part, sieve: Bytes) -> Iterator[U64]:
    """The records that the sieve leaves, block by block."""
    for block in part.blocks():
        left = block[_sifted(block, sieve)]
        if len(left):
            yield left


def _counted(part: Part, sieve: Bytes) -> U64:
    """The table of the windows that the sieve leaves: a power of two of slots, half of them empty (counts 0)."""
    table, used = np.zeros((16, 4), np.uint64), 0
    for block in _left(part, sieve):
        if 2 * (used + len(block)) > len(table):
            table = _grown(table, np.zeros((1 << (2 * (used + len(block))).bit_length(), 4), np.uint64))
        used += _count(block, table)
    return table


@inlined
def _sieve_slot(window: np.uint64) -> tuple[np.uint64, np.uint64]:
    """The byte of a window's slot, and the bits in it."""
    slot = (window >> SLOT_BITS) & np.uint64(SIEVE_SLOTS - 1)
    return slot >> TWO, (slot & THREE) << ONE


@compiled
def _sift(block: U64, sieve: Bytes) -> None:
    for i in range(block.shape[0]):
        byte, shift = _sieve_slot(block[i, 0])
        if (sieve[byte] >> shift) & THREE < TWO:
            sieve[byte] += np.uint8(1) << shift


@compiled
def _sifted(block: U64, sieve: Bytes) -> npt.NDArray[np.bool_]:
    """Which windows of a block share their slot with another."""
    left = np.empty(block.shape[0], np.bool_)
    for i in range(block.shape[0]):
        byte, shift = _sieve_slot(block[i, 0])
        left[i] = (sieve[byte] >> shift) & THREE >= TWO
    return left


@inlined
def _slot(window: np.uint64, check: np.uint64, table: U64) -> np.uint64:
    """Where a window is in the table, or the empty slot where it would be."""
    mask = np.uint64(table.shape[0] - 1)
    slot = window & mask  # the upper bits are the part's
    while table[slot, COUNTS]:
        if table[slot, WINDOW] == window and (table[slot, CHECK_AND_FIRST] ^ check) & CHECK == 0:
            break
        slot = (slot + ONE) & mask
    return slot


@compiled
def _count(block: U64, table: U64) -> int:
    """Count the windows of a block; returns how many are new."""
    new = 0
    for i in range(block.shape[0]):
        slot = _slot(block[i, 0], block[i, 1], table)
        if table[slot, COUNTS] == 0:
            table[slot, WINDOW], table[slot, CHECK_AND_FIRST], table[slot, LAST] = block[i, 0], block[i, 1], NOTHING
            new += 1
        if table[slot, COUNTS] >> np.uint64(32) < MOST:
            table[slot, COUNTS] += ONE_OCCURRENCE
    return new


@compiled
def _grown(old: U64, new: U64) -> U64:
    for i in range(old.shape[0]):
        if old[i, COUNTS]:
            new[_slot(old[i, WINDOW], old[i, CHECK_AND_FIRST], new)] = old[i]
    return new


@compiled
def _count_documents(block: U64, rows: U64, table: U64) -> None:
    for i in range(block.shape[0]):
        slot = _slot(block[i, 0], block[i, 1], table)
        if table[slot, LAST] != rows[i] and table[slot, COUNTS] & MOST < MOST:
            table[slot, LAST] = rows[i]
            table[slot, COUNTS] += ONE


@compiled
def _chosen(block: U64, table: U64, occurrences: int, documents: int) -> U64:
    """The windows of a block that occur often enough: place, first place, counts."""
    out, count = np.empty((block.shape[0], 3), np.uint64), 0
    for i in range(block.shape[0]):
        slot = _slot(block[i, 0], block[i, 1], table)
        counts = table[slot, COUNTS]
        if counts >> np.uint64(32) >= np.uint64(occurrences) and counts & MOST >= np.uint64(documents):
            out[count, 0], out[count, 1] = block[i, 1] & ~CHECK, table[slot, CHECK_AND_FIRST] & ~CHECK
            out[count, 2] = counts
            count += 1
    return out[:count]
