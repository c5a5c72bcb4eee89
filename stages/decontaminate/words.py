"""The words of a text as hashes, with where they stand, in one compiled pass over its bytes.

A word hyphenated at the end of a line is joined. A run of digits, with points and commas between them, is one number, and
all numbers have one hash: an item whose numbers were changed is still that item. Words are folded as `letters` says.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stages.compiled import compiled
from stages.decontaminate.letters import COUNT, DROPPED, LETTER, SEPARATOR, Letters, letters

Bytes = npt.NDArray[np.uint8]
Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int32]

SEED, PRIME, NUMBER = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3), np.uint64(0x9E3779B97F4A7C15)
HYPHEN, POINT, COMMA, BLANK, TAB, LINE_FEED, RETURN = 45, 46, 44, 32, 9, 10, 13
M, N, R, V, W = 109, 110, 114, 118, 119


class Words(NamedTuple):
    """N words: their hashes (N u64), and the bytes of the text where each begins and ends (N int32 each)."""

    hashes: Hashes
    starts: Places
    ends: Places


def words(text: str) -> Words:
    """The words of a text, for items and tests; documents go through `read_words` in compiled code."""
    data = np.frombuffer(text.encode(), np.uint8)
    buffers = room(len(data))
    count = read_words(data, 0, len(data), letters(), buffers)
    return Words(buffers.hashes[:count], buffers.starts[:count], buffers.ends[:count])


@compiled
def room(num_bytes: int) -> Words:
    """Buffers for the words of a text of so many bytes."""
    count = num_bytes + 1
    return Words(np.empty(count, np.uint64), np.empty(count, np.int32), np.empty(count, np.int32))


@compiled
def read_words(data: Bytes, start: int, stop: int, tables: Letters, out: Words) -> int:
    """Write the words of `data[start:stop]` (valid UTF-8) to `out`; returns how many. Places count from `start`."""
    count, i = 0, start
    while i < stop:
        code, width = decode(data, i)
        kind = tables.kinds[code] if code < COUNT else LETTER
        if kind in (SEPARATOR, DROPPED):
            i += width
            continue
        out.starts[count] = i - start
        i, end, out.hashes[count] = _read_word(data, i, stop, tables)
        out.ends[count] = end - start
        count += 1
    return count


@compiled
def _read_word(data: Bytes, i: int, stop: int, tables: Letters) -> tuple[int, int, np.uint64]:
    """Hash the word at byte `i`; returns where to go on, where the word ends, and the hash."""
    hashed, held = SEED, np.int32(0)  # `held`: a letter that may be the first half of one that looks like two
    num_letters, end = 0, i
    while i < stop:
        code, width = decode(data, i)
        kind = tables.kinds[code] if code < COUNT else LETTER
        if kind == SEPARATOR:
            after = _joined(data, i, stop, tables, num_letters == 0)
            if after == 0:
                break
            i = after
            continue
        i += width
        if kind == DROPPED:
            continue
        end = i
        num_letters += kind == LETTER
        first, last = (tables.at[code], tables.at[code + 1]) if code < COUNT else (0, 1)
        for place in range(first, last):
            unit = np.int32(tables.units[place] if code < COUNT else code)
            hashed, held = _add(hashed, held, unit)
    if num_letters == 0:
        return i, end, NUMBER
    return i, end, _mixed((hashed ^ np.uint64(held)) * PRIME)


@compiled
def _add(hashed: np.uint64, held: np.int32, unit: np.int32) -> tuple[np.uint64, np.int32]:
    if held == R and unit == N:
        return hashed, np.int32(M)
    if held == V and unit == V:
        return hashed, np.int32(W)
    if held:
        hashed = (hashed ^ np.uint64(held)) * PRIME
    return hashed, np.int32(unit)


@compiled
def _joined(data: Bytes, i: int, stop: int, tables: Letters, number: bool) -> int:  # noqa: FBT001
    """Where a word goes on after the separator at `i`: a hyphen at a line's end, a point within a number; 0 if not."""
    if number and (data[i] == POINT or data[i] == COMMA):
        return i + 1 if i + 1 < stop and 48 <= data[i + 1] <= 57 else 0
    if number or data[i] != HYPHEN:
        return 0
    i += 1
    lines = 0
    while i < stop and (data[i] == BLANK or data[i] == TAB or data[i] == RETURN or data[i] == LINE_FEED):
        lines += data[i] == LINE_FEED
        i += 1
    if lines != 1 or i == stop:
        return 0
    code, _ = decode(data, i)
    return i if code < COUNT and tables.kinds[code] == LETTER else 0


@compiled
def decode(data: Bytes, i: int) -> tuple[int, int]:
    """The code point at byte `i` of valid UTF-8, and how many bytes it takes."""
    lead = int(data[i])
    if lead < 0x80:
        return lead, 1
    if lead < 0xE0:
        return (lead & 0x1F) << 6 | (data[i + 1] & 0x3F), 2
    if lead < 0xF0:
        return (lead & 0x0F) << 12 | (data[i + 1] & 0x3F) << 6 | (data[i + 2] & 0x3F), 3
    return (lead & 7) << 18 | (data[i + 1] & 0x3F) << 12 | (data[i + 2] & 0x3F) << 6 | (data[i + 3] & 0x3F), 4


@compiled
def _mixed(x: np.uint64) -> np.uint64:
    """Spread every bit over all (the finish of SplitMix64, Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
