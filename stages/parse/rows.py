"""Lines that stand on one row and follow each other, put together: superscripts, cells of a table, parts of a formula."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.compiled import compiled, inlined
from stages.parse.lines import TEXT, Lines

Array = NDArray[Any]
Columns = tuple[Array, Array, Array, Array]  # of `Lines`

NEAR = 0.15  # of a font's size: no space stands between
NEWLINE, SPACE = ord("\n"), ord(" ")


def rows(parts: Sequence[Lines], kept: Array) -> tuple[Lines, Array]:
    """The rows of those lines of pages that are `kept` (lines), a newline between any two, and where pages' rows begin."""
    num_lines = len(kept)
    codes = np.empty(sum([int(part.lengths.sum()) for part in parts]) + num_lines, np.uint32)
    written = codes, np.empty((num_lines, 2), np.int64), np.empty((num_lines, 5)), np.empty(num_lines, np.uint8)
    firsts, line, at = [0], 0, 0
    for part in parts:
        count, at = _write((part.codes, part.spans, part.places, part.kinds), kept[line:], written, firsts[-1], at)
        firsts.append(count)
        line += len(part)
    count = firsts[-1]
    _, spans, places, kinds = written
    return Lines(codes[:at], spans[:count], places[:count], kinds[:count]), np.array(firsts)


@compiled
def _write(page: Columns, kept: Array, rows: Columns, first: int, at: int) -> tuple[int, int]:
    """Write a page's rows behind the `first` ones and their characters from `at`; how many there are then, and where to go on."""
    (codes, spans, places, kinds), (written, found, boxes, are), count = page, rows, first
    for i in range(len(spans)):
        if not kept[i]:
            continue
        row = count - 1
        if count > first and are[row] == TEXT and kinds[i] == TEXT and _same_row(boxes[row], places[i]):
            if places[i, 0] - boxes[row, 2] >= NEAR * boxes[row, 4]:
                written[at] = SPACE
                at += 1
            boxes[row, 1], boxes[row, 2] = min(boxes[row, 1], places[i, 1]), places[i, 2]
            boxes[row, 3], boxes[row, 4] = max(boxes[row, 3], places[i, 3]), max(boxes[row, 4], places[i, 4])
        else:
            if count:
                written[at] = NEWLINE
                at += 1
            row, count = count, count + 1
            found[row, 0], boxes[row], are[row] = at, places[i], kinds[i]
        for k in range(spans[i, 0], spans[i, 1]):
            written[at] = codes[k]
            at += 1
        found[row, 1] = at
    return count, at


@inlined
def _same_row(first: Array, second: Array) -> bool:
    """Whether the second box stands to the right of the first one, and half as high as the lower one beside it."""
    if second[0] <= first[2] - 0.5 * min(first[4], second[4]):
        return False
    overlap = min(first[3], second[3]) - max(first[1], second[1])
    return bool(overlap > 0.5 * min(first[3] - first[1], second[3] - second[1]))


rows([Lines.of(())], np.zeros(0, np.bool_))  # compiled or loaded now, in no page's time
