"""From repeated windows to stretches of words, and to the passages that these belong to.

A stretch is a union of windows that overlap or touch in one document. It belongs to the window in it that occurs most
often, of those the one whose first occurrence is earliest: so a licence with another tail in every paper is one passage.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from stages.compiled import compiled
from stages.dedup.spill import U64, Places

PLACE, NUM_WORDS, FIRST, COUNTS, AT = range(5)  # columns of a span: AT is the place of the window it belongs to
NOTHING = -1


class Rows:
    """Rows of numbers in a file, in ascending order of their first column."""

    def __init__(self, file: Path, columns: int) -> None:
        size = file.stat().st_size // (8 * columns)
        empty = np.zeros((0, columns), np.int64)
        self._rows: Places = np.memmap(file, np.int64, "r", shape=(size, columns)) if size else empty

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, value: int) -> int:
        """The number of the first row with this value or more in its first column."""
        return bisect_left(range(len(self)), value, key=lambda i: int(self._rows[i, 0]))

    def between(self, low: int, high: int) -> Places:
        """The rows with `low <= first column < high`."""
        return np.array(self._rows[self.find(low) : self.find(high)])


def column(file: Path) -> Places:
    """A file of numbers."""
    return np.memmap(file, np.int64, "r") if file.stat().st_size else np.zeros(0, np.int64)


def spans(repeated: Iterable[U64], ends: Places, num_words: int, *, again: bool) -> Iterator[Places]:
    """Blocks of spans in order, from blocks of repeated windows (`repeats`) in order of place.

    `again`: only of windows that occurred before. A span is the place of its first word, its number of words, then of the
    window it belongs to: its first place, its counts, its place here.
    """
    open_span = np.full(6, NOTHING, np.int64)  # and its document
    for block in repeated:
        rows = np.searchsorted(ends, block[:, PLACE], side="right")
        yield _spans(block.view(np.int64), rows, (num_words, again), open_span)
    if open_span[0] != NOTHING:
        yield open_span[None, :5].copy()


def tally(records: Places) -> Places:
    """Passages (first place, counts, spans, most words) joined where their first place is the same, in its order."""
    records = records[np.argsort(records[:, 0], kind="stable")]
    heads = np.flatnonzero(np.diff(records[:, 0], prepend=NOTHING))
    if not len(heads):
        return records
    sums, most = np.add.reduceat(records[:, 2], heads), np.maximum.reduceat(records[:, 3], heads)
    return np.column_stack([records[heads, 0], records[heads, 1], sums, most])


def passages(found: Places) -> Places:
    """The passages of a block of spans."""
    return tally(
        np.column_stack([found[:, FIRST], found[:, COUNTS], np.ones(len(found), np.int64), found[:, NUM_WORDS]])
    )


@compiled
def _spans(windows: Places, rows: Places, rule: tuple[int, bool], span: Places) -> Places:
    """The spans that end within a block; `span` is the one that is open before it, and after it."""
    size, again = rule
    out, count = np.empty((windows.shape[0] + 1, 5), np.int64), 0
    for i in range(windows.shape[0]):
        place, first, counts = windows[i]
        if again and place == first:
            continue
        if span[PLACE] == NOTHING or rows[i] != span[5] or place > span[PLACE] + span[NUM_WORDS]:
            if span[PLACE] != NOTHING:
                out[count] = span[:5]
                count += 1
            span[PLACE], span[NUM_WORDS], span[FIRST], span[COUNTS], span[AT] = place, size, first, counts, place
            span[5] = rows[i]
            continue
        span[NUM_WORDS] = place + size - span[PLACE]
        often, before = counts >> 32, span[COUNTS] >> 32
        if often > before or (often == before and first < span[FIRST]):
            span[FIRST], span[COUNTS], span[AT] = first, counts, place
    return out[:count]
