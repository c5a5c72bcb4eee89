"""`normalize`, compiled: the same text, byte for byte, for a whole Arrow array of documents in one pass over their bytes.

A character alone becomes what a table says. A character that attaches to the one before it (a combining accent, a Hangul
vowel) takes back what was written for that one, and the piece is decomposed, ordered and composed as Unicode Standard
Annex 15 says. A piece of more than 64 characters, which no language has, sends its document to the plain function.
"""

import itertools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stages.compiled import compiled, inlined
from stages.sketch.characters import ATTACHING, DROPPED, LETTER, SPACE, UNREADABLE, Characters, characters
from stages.sketch.normalize import normalize

Bytes = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.int32]
Offsets = npt.NDArray[np.int64]

MAX_PIECE = 64  # a character and those that attach to it
SLACK = 1 << 14  # bytes: more than a piece can become (64 characters, 33 code points at most, of 4 bytes)
NO_ROOM, TOO_LONG = -1, -2
HYPHEN, TAB, LINE_FEED, RETURN, BLANK = 45, 9, 10, 13, 32
SOFT_HYPHEN, UNICODE_HYPHEN = 0xAD, 0x2010


class Folded(NamedTuple):
    """Normalized texts one after the other in `data`; text `i` is `data[offsets[i]:offsets[i + 1]]`.

    `unreadable` counts the characters of each text, as it was, that stand for nothing.
    """

    data: Bytes
    offsets: Offsets
    unreadable: Offsets


class Work(NamedTuple):
    """Where a text is written, the piece under way, and its code points in normal form."""

    out: Bytes
    piece: Codes
    parts: Codes


def fold(texts: pa.Array) -> Folded:
    """Normalize an Arrow array of valid strings, without nulls."""
    texts = texts.cast(pa.large_string())
    _, offsets, data = texts.buffers()
    starts = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    raw = np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)
    out, ends, unreadable = _fold(raw, starts, characters())
    folded = Folded(out[: ends[-1]], ends, unreadable)
    return _patched(folded, texts, np.flatnonzero(unreadable < 0)) if (unreadable < 0).any() else folded


def _patched(folded: Folded, texts: pa.Array, rows: npt.NDArray[np.intp]) -> Folded:
    """Put the plain function's answer in the place of what the compiled one gave up."""
    pieces = [folded.data[a:b] for a, b in itertools.pairwise(folded.offsets)]
    for row in rows:
        text = texts[int(row)].as_py()
        pieces[row] = np.frombuffer(normalize(text).encode(), np.uint8)
        codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
        folded.unreadable[row] = np.count_nonzero(characters().kinds[codes] & UNREADABLE)
    ends = np.cumsum([0, *map(len, pieces)], dtype=np.int64)
    return Folded(np.concatenate(pieces), ends, folded.unreadable)


@compiled
def _fold(data: Bytes, starts: Offsets, tables: Characters) -> tuple[Bytes, Offsets, Offsets]:
    """All texts; those that are given up are empty and have -1 unreadable characters."""
    count = starts.size - 1
    out = np.empty(starts[count] - starts[0] + SLACK, np.uint8)
    ends, unreadable = np.zeros(count + 1, np.int64), np.zeros(count, np.int64)
    piece, parts = np.empty(MAX_PIECE, np.int32), np.empty(SLACK, np.int32)
    for row in range(count):
        span = (starts[row], starts[row + 1])
        end, bad = _fold_one(data, span, Work(out, piece, parts), ends[row], tables)
        while end == NO_ROOM:
            grown = np.empty(2 * out.size + span[1] - span[0], np.uint8)
            grown[: ends[row]] = out[: ends[row]]
            out = grown
            end, bad = _fold_one(data, span, Work(out, piece, parts), ends[row], tables)
        unreadable[row] = -1 if end == TOO_LONG else bad
        ends[row + 1] = max(end, ends[row])
    return out, ends, unreadable


@compiled
def _fold_one(  # noqa: C901, PLR0912 - the automaton is one loop
    data: Bytes, span: tuple[int, int], work: Work, first: int, tables: Characters
) -> tuple[int, int]:
    """Write one text from `first` on; returns its end (or NO_ROOM, TOO_LONG) and its unreadable characters.

    `before` is the last character, written from `mark` on; `num` the characters of a piece that is not written yet.
    """
    i, stop = span
    out, piece, plain, kinds = work.out, work.piece, tables.plain, tables.kinds
    pos = mark = first
    before, num, bad, letter = np.int64(-1), 0, 0, False
    while i < stop:
        if out.size - pos < stop - i + SLACK:
            return NO_ROOM, 0
        if plain[data[i]]:
            if num:
                pos, num = _write_piece(work, num, pos, first, tables), 0
            i, pos = _copy_plain(data, (i, stop), out, (pos, first), plain)
            before, mark = np.int64(data[i - 1]), max(first, pos - 1)
            letter = (kinds[before] & LETTER) != 0
            continue
        code, width = decode(data, i)
        kind = kinds[code]
        if letter and code in (HYPHEN, SOFT_HYPHEN, UNICODE_HYPHEN):
            after = _line_break(data, i + width, stop, kinds)
            if after:
                i = after
                continue
        i += width
        letter = (kind & LETTER) != 0
        bad += (kind & UNREADABLE) != 0
        if kind & DROPPED:
            continue
        if kind & ATTACHING and before >= 0:
            if num == 0:
                piece[0], num, pos = before, 1, mark
            if num == MAX_PIECE:
                return TOO_LONG, 0
            piece[num] = code
            num += 1
            continue
        if num:
            pos, num = _write_piece(work, num, pos, first, tables), 0
        before, mark = code, pos
        pos = _write(out, (pos, first), code, tables.folded_at[code], tables.strings)
    if num:
        pos = _write_piece(work, num, pos, first, tables)
    if pos > first and out[pos - 1] == BLANK:
        pos -= 1
    return pos, bad


@inlined
def _copy_plain(
    data: Bytes, span: tuple[int, int], out: Bytes, cursor: tuple[int, int], plain: Bytes
) -> tuple[int, int]:
    """Copy ASCII up to the next byte that asks for a closer look; a blank is not written after a blank."""
    i, stop = span
    pos, first = cursor
    last = BLANK if pos == first else np.int64(out[pos - 1])
    while i < stop:
        byte = np.int64(plain[data[i]])
        if byte == 0:
            break
        out[pos] = byte
        pos += (byte != BLANK) | (last != BLANK)
        last = byte
        i += 1
    return i, pos


@inlined
def decode(data: Bytes, i: int) -> tuple[Any, int]:
    """The code point at byte `i` of valid UTF-8, and its bytes."""
    lead = np.int32(data[i])
    if lead < 0x80:
        return lead, 1
    if lead < 0xE0:
        return (lead & 0x1F) << 6 | (data[i + 1] & 0x3F), 2
    if lead < 0xF0:
        return (lead & 0x0F) << 12 | (data[i + 1] & 0x3F) << 6 | (data[i + 2] & 0x3F), 3
    return (lead & 7) << 18 | (data[i + 1] & 0x3F) << 12 | (data[i + 2] & 0x3F) << 6 | (data[i + 3] & 0x3F), 4


@compiled
def _line_break(data: Bytes, i: int, stop: int, kinds: Bytes) -> int:
    """Where the letter stands that goes on after a hyphen's line break; 0 if this is no such hyphen."""
    while i < stop and data[i] in (BLANK, TAB):
        i += 1
    if i < stop and data[i] == RETURN:
        i += 1
    if i == stop or data[i] != LINE_FEED:
        return 0
    while i < stop:
        code, width = decode(data, i)
        if not kinds[code] & SPACE:
            return i if kinds[code] & LETTER else 0
        i += width
    return 0


@compiled
def _write(out: Bytes, cursor: tuple[int, int], code: int, at: int, strings: Codes) -> int:
    """Write the string at `at`, or `code` as it is where `at` is 0; returns the new end."""
    pos, first = cursor
    if at == 0:
        return _write_code(out, pos, code)
    for k in range(at + 1, at + 1 + strings[at]):
        if strings[k] != BLANK or (pos > first and out[pos - 1] != BLANK):
            out[pos] = strings[k]
            pos += 1
    return pos


@compiled
def _write_code(out: Bytes, pos: int, code: int) -> int:
    """Write a code point as UTF-8; returns the new end."""
    if code < 0x80:
        out[pos] = code
        return pos + 1
    width = 2 if code < 0x800 else 3 if code < 0x10000 else 4
    for k in range(width - 1, 0, -1):
        out[pos + k] = 0x80 | (code & 0x3F)
        code >>= 6
    out[pos] = (0xF00 >> width) & 0xFF | code
    return pos + width


@compiled
def _write_piece(work: Work, num: int, pos: int, first: int, tables: Characters) -> int:
    """Write the piece in normal form KC, case folded; returns the new end."""
    parts, count = work.parts, 0
    for k in range(num):
        count = _decompose(work.piece[k], parts, count, tables)
    for k in range(_joined(parts, count, tables)):
        pos = _write(work.out, (pos, first), parts[k], tables.cased_at[parts[k]], tables.strings)
    return pos


@compiled
def _decompose(code: int, parts: Codes, count: int, tables: Characters) -> int:
    """Put a character's decomposition at the end of `parts[:count]`, in canonical order; returns the new length."""
    at = tables.decomposed_at[code]
    for k in range(tables.strings[at] if at else 1):
        part = tables.strings[at + 1 + k] if at else code
        j = count
        while tables.classes[part] and j > 0 and tables.classes[parts[j - 1]] > tables.classes[part]:
            parts[j] = parts[j - 1]
            j -= 1
        parts[j] = part
        count += 1
    return count


@compiled
def _joined(parts: Codes, count: int, tables: Characters) -> int:
    """Compose in place what is decomposed and in order; a character is blocked by one of its class or higher."""
    starter, last, kept = -1, np.int64(-1), 0
    for code in parts[:count]:
        combining = np.int64(tables.classes[code])
        if starter >= 0 and last < combining:
            pair = np.int64(parts[starter]) << 32 | code
            found = np.searchsorted(tables.pairs, pair)
            if found < tables.pairs.size and tables.pairs[found] == pair:
                parts[starter] = tables.composites[found]
                continue
        parts[kept] = code
        if combining == 0:
            starter, last = kept, np.int64(-1)
        else:
            last = combining
        kept += 1
    return kept
