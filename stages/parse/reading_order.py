"""The order in which lines are read, from where they stand: recursive X-Y cuts (Nagy and Seth, ICPR 1984).

A set of lines is cut at the widest gutter between columns of text, if there is one; else at the widest gap between
lines, so that a title across the columns comes off first; else it is read row by row. Columns of text are told from a
table's by the length of their lines. What is given up: text that flows around a figure, and columns of two lines.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

from stages.parse.lines import Line

MIN_GUTTER = 0.6  # of a font's size
MIN_COLUMN_LINES = 3
MIN_COLUMN = 9.0  # font sizes: half of the lines of a column of text are longer, most cells of a table are not
MIN_GAP = 0.15  # of a font's size, between a block and the next one below


def in_order(lines: Sequence[Line]) -> list[Line]:
    """Lines as they are read."""
    if len(lines) < 2:
        return list(lines)
    size = median(line.size for line in lines)
    x = _gutter(lines, size)
    if x is not None:
        left, right = [n for n in lines if n.right <= x], [n for n in lines if n.right > x]
        return in_order(left) + in_order(right)
    y = _gap(lines, size)
    if y is not None:
        above, below = [n for n in lines if n.bottom >= y], [n for n in lines if n.bottom < y]
        return in_order(above) + in_order(below)
    return by_rows(lines)


def _gutter(lines: Sequence[Line], size: float) -> float | None:
    """The left edge of the widest gutter with text columns on both sides."""
    found = [(right - left, left) for left, right in _free([(n.left, n.right) for n in lines])]
    for width, x in sorted(found, reverse=True):
        sides = [n for n in lines if n.right <= x], [n for n in lines if n.right > x]
        if width >= MIN_GUTTER * size and all(_is_column(side, size) for side in sides):
            return x
    return None


def _gap(lines: Sequence[Line], size: float) -> float | None:
    """The upper edge of the widest gap between a line and what is below it."""
    gaps = [(top - bottom, top) for bottom, top in _free([(n.bottom, n.top) for n in lines])]
    widest = max(gaps, default=(0.0, 0.0))
    return widest[1] if widest[0] > MIN_GAP * size else None


def _is_column(lines: Sequence[Line], size: float) -> bool:
    return len(lines) >= MIN_COLUMN_LINES and median(n.right - n.left for n in lines) >= MIN_COLUMN * size


def _free(spans: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """The stretches between the first span's start and the last one's end that no span covers."""
    end = None
    for low, high in sorted(spans):
        if end is not None and low > end:
            yield end, low
        end = high if end is None else max(end, high)


def by_rows(lines: Sequence[Line]) -> list[Line]:
    """From top to bottom, and from left to right where boxes stand side by side."""
    found: list[list[Line]] = []
    for line in sorted(lines, key=lambda n: -(n.top + n.bottom)):
        middle = (line.top + line.bottom) / 2
        if found and found[-1][0].bottom < middle < found[-1][0].top:
            found[-1].append(line)
        else:
            found.append([line])
    return [line for row in found for line in sorted(row, key=lambda n: n.left)]


def backward_share(lines: Sequence[Line]) -> float:
    """The share of the steps from line to line that go up and do not begin a column to the right."""
    steps = list(pairwise(lines))
    back = sum(b.bottom > a.top and b.left < a.right for a, b in steps)
    return back / max(len(steps), 1)
