"""What stands between the lines of a document: a space, a line's end or a paragraph's, told by where lines stand.

The measure is the habits of the lines around each line: gaps, indents, short lines, font sizes, jumps to the next column.
All of it is compiled and works on columns of boxes and of signs, a document at a time. What is given up: tables are rows
of words, and a formula's parts come in the order that the page drew them.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.compiled import compiled, inlined
from stages.parse.characters import CHANGED
from stages.parse.hyphens import HYPHENS
from stages.parse.kinds import NUM_CODES
from stages.parse.lines import LINE_HYPHEN, ROW, TEXT, VERBATIM, Lines

Array = NDArray[Any]
Pair = tuple[Any, Any]  # of two lines that follow each other

NEIGHBOURS = 8  # lines before and after, which tell a column's right edge
SAME_MARGIN = 3.0  # points
MIN_MARGIN_LINES = 3
JUSTIFIED_SHARE = 0.4  # of a page's lines
SPREAD = 0.62  # of a font's size a character; justified text takes 0.4 to 0.55
SHORT, SLIGHTLY_SHORT = 0.2, 0.05  # of a column's width
MARKUP = "#|$-*<"  # what Markdown's blocks begin with
ENDS, CLOSES = ".!?:;", "\"'”’)]"  # a sentence, and what may follow it
FIRST_CHANGED = 0xD800  # from here on `clean` looks at all characters

LOWER, SPACE, ODD, HYPHEN, END, CLOSE, MARK = (1 << i for i in range(7))  # of characters
STARTS_LOWER, ENDED, CUT, SEVERAL, MARKED, CLEAN, SHOWN = (1 << i for i in range(7))  # of lines
BETWEEN = ("", " ", "\n", "\n\n")
NOTHING, ONE_SPACE, LINE_END, PARAGRAPH = range(len(BETWEEN))
ROW_HYPHEN, NEWLINE, BLANK = ord(LINE_HYPHEN), ord("\n"), ord(" ")


@cache
def signs() -> NDArray[np.uint8]:
    """What every character means for lines."""
    found = np.array([LOWER * chr(code).islower() for code in range(NUM_CODES)], dtype=np.uint8)
    found[FIRST_CHANGED:] |= ODD
    spaces = [code for code in range(NUM_CODES) if chr(code).isspace()]
    for sign, codes in ((ODD, map(ord, CHANGED)), (HYPHEN, map(ord, HYPHENS)), (END, map(ord, ENDS)), (SPACE, spaces)):
        found[list(codes)] |= sign
    found[[ord(c) for c in CLOSES]] |= CLOSE
    found[[ord(c) for c in MARKUP]] |= MARK
    return found


def seen(lines: Lines) -> Array:
    """What is to be known of lines: their signs."""
    return _seen(lines.codes, lines.spans, signs())


def between(lines: Lines, found: Array, shown: Array, starts: Array) -> Array:
    """What stands before each of `lines` that is `shown`, by its number in `BETWEEN`.

    `starts` are the first lines of pages, and where the last one ends.
    """
    return _between(lines.places, lines.kinds, lines.lengths, np.where(shown, found | SHOWN, found), starts)


@compiled
def _seen(codes: Array, spans: Array, table: Array) -> Array:
    found = np.zeros(len(spans), np.int64)
    for line in range(len(spans)):
        start, end = spans[line]
        clean, several, before = True, False, NEWLINE
        for i in range(start, end):
            code = codes[i]
            clean &= code < NUM_CODES and (table[code] & ODD) == 0 and not (code == BLANK and before == BLANK)
            several |= code == ROW_HYPHEN
            before = code
        if end > start:
            first, last = table[min(codes[start], NUM_CODES - 1)], table[min(codes[end - 1], NUM_CODES - 1)]
            clean &= ((first | last) & SPACE) == 0
            ended = _ended(codes, start, end, table) or (
                codes[end - 1] == NEWLINE and _ended(codes, start, end - 1, table)
            )
            found[line] |= STARTS_LOWER * ((first & LOWER) != 0) + MARKED * ((first & MARK) != 0)
            found[line] |= CUT * ((last & HYPHEN) != 0) + ENDED * ended
        found[line] |= SEVERAL * several + CLEAN * clean
    return found


@inlined
def _ended(codes: Array, start: int, end: int, table: Array) -> bool:
    """Whether a sentence ends there, behind what may close it."""
    while end > start and codes[end - 1] < NUM_CODES and (table[codes[end - 1]] & CLOSE) != 0:
        end -= 1
    return end > start and codes[end - 1] < NUM_CODES and (table[codes[end - 1]] & END) != 0


@compiled
def _between(boxes: Array, kinds: Array, lengths: Array, found: Array, starts: Array) -> Array:
    what, above, edge, short = np.zeros(len(boxes), np.uint8), -1, 0.0, False
    spreads = _spreads(boxes, lengths, kinds, found)
    for page in range(starts.size - 1):
        first, is_first = starts[page], 1  # line of its page
        body = boxes[first : starts[page + 1]]
        gap, margins = usual_gap(body), right_margins(body)
        edges = column_edges(body[:, ::2], NEIGHBOURS)
        for i in range(first, starts[page + 1]):
            if (found[i] & SHOWN) == 0:
                continue
            if above >= 0:
                both, both_are = (boxes[above], boxes[i]), (found[above], found[i])
                what[i] = _apart(both, both_are, (kinds[above], kinds[i]), (spreads[above], spreads[i]), is_first)
                if what[i] == NOTHING and kinds[above] == kinds[i] == TEXT:
                    what[i] = PARAGRAPH * _breaks(both, both_are, gap, edge, is_first)
                if what[i] == NOTHING:
                    what[i] = LINE_END if short else ONE_SPACE
            goes_on = (
                above >= 0
                and short
                and spreads[i] >= 0.85 * SPREAD
                and abs(boxes[above, 0] - boxes[i, 0]) < SAME_MARGIN
                and abs(boxes[above, 2] - boxes[i, 2]) < SAME_MARGIN
            )
            short = _is_row(boxes[i], spreads[i], margins) or goes_on
            above, edge, is_first = i, edges[i - first], 0
    return what


@inlined
def _apart(both: Pair, both_are: Pair, kinds: Pair, spreads: Pair, is_first: int) -> int:
    """What stands between two lines one of which is Markdown, or that are rows of a table; nothing where words have to tell."""
    (above, line), (above_is, line_is) = both, both_are
    if kinds[0] != TEXT or kinds[1] != TEXT:
        if kinds[0] == kinds[1] == ROW and not is_first:
            return LINE_END
        verbatim = VERBATIM in kinds
        if not verbatim or _ends_paragraph(above_is, line_is) or (line_is & MARKED) != 0:
            return PARAGRAPH
    near = -0.5 * line[4] < above[1] - line[3] < 1.5 * line[4]
    in_table = near and min(spreads[0], spreads[1]) > SPREAD and abs(above[4] - line[4]) < 0.1 * line[4]
    return LINE_END if in_table else NOTHING


@inlined
def _ends_paragraph(above_is: int, line_is: int) -> bool:
    """Whether a paragraph ends between two lines, by their words alone."""
    return (above_is & ENDED) != 0 or not ((line_is & STARTS_LOWER) != 0 or (above_is & CUT) != 0)


@inlined
def _breaks(both: Pair, both_are: Pair, gap: float, edge: float, is_first: int) -> bool:
    """Whether a paragraph ends between two lines; `edge` is the right edge of the column of the one above."""
    (above, line), (above_is, line_is) = both, both_are
    size = max(above[4], line[4])
    if abs(above[4] - line[4]) > 0.2 * size:
        return True
    if is_first or line[3] > above[3] + 0.5 * size:  # the next page, or column
        return _ends_paragraph(above_is, line_is)
    if above[1] - line[3] > gap + 0.35 * size:
        return True
    missing = (edge - above[2]) / max(edge - above[0], 1.0)
    indented = 0.7 * size < line[0] - above[0] < 5 * size
    weak = indented or (missing > SLIGHTLY_SHORT and (line_is & STARTS_LOWER) == 0)
    return bool(missing > SHORT or ((above_is & ENDED) != 0 and weak))


@compiled
def _spreads(boxes: Array, lengths: Array, kinds: Array, found: Array) -> Array:
    """Lines' width a character, in font sizes; 0 for one that goes on over more rows than one."""
    spreads = np.zeros(len(boxes))
    for i in range(len(boxes)):
        if kinds[i] == TEXT and (found[i] & SEVERAL) == 0:
            spreads[i] = (boxes[i, 2] - boxes[i, 0]) / (max(lengths[i], 1) * max(boxes[i, 4], 1e-6))
    return spreads


@inlined
def _is_row(line: Array, spread: float, margins: Array) -> bool:
    """Whether a line ends by itself: spread out as cells are, or over long before its column is (items, formulas)."""
    if spread > SPREAD:
        return True
    for edge in margins:
        if edge >= line[2] - SAME_MARGIN:
            return bool(edge - line[2] > 1.5 * line[4])
    return False


@compiled
def usual_gap(body: Array) -> float:
    """The usual space between a line and the next one below it."""
    gaps, count = np.empty(len(body)), 0
    for i in range(1, len(body)):
        if body[i, 3] < body[i - 1, 3] and body[i, 0] < body[i - 1, 2]:
            gaps[count] = body[i - 1, 1] - body[i, 3]
            count += 1
    return float(np.median(gaps[:count])) if count else 0.0


@compiled
def right_margins(body: Array) -> Array:
    """Where justified columns end: right edges that many lines share; none on a page that is not justified."""
    rights = np.sort(body[:, 2])
    margins, count, justified, alike = np.empty(rights.size), 0, 0, 0
    for i in range(rights.size):
        alike += 1
        if i + 1 == rights.size or rights[i + 1] - rights[i] >= SAME_MARGIN:
            if alike >= MIN_MARGIN_LINES:
                margins[count] = rights[i]
                count, justified = count + 1, justified + alike
            alike = 0
    return margins[: count if justified >= JUSTIFIED_SHARE * len(body) else 0]


@compiled
def column_edges(lines: Array, reach: int) -> Array:
    """Where the column of each of `lines` (left, right, size) ends.

    That is the third quartile of the right edges of `reach` lines before it, or after it, that begin near; the nearer one.
    """
    edges, near = np.empty(len(lines)), np.empty(reach)
    for i in range(len(lines)):
        nearest = np.inf
        for start, stop in ((max(i - reach, 0), i), (i + 1, min(i + 1 + reach, len(lines)))):
            count = 0
            for k in range(start, stop):
                if abs(lines[k, 0] - lines[i, 0]) < 3 * lines[i, 2]:
                    at = count
                    while at and near[at - 1] > lines[k, 1]:
                        near[at] = near[at - 1]
                        at -= 1
                    near[at] = lines[k, 1]
                    count += 1
            if count:
                nearest = min(nearest, near[count * 3 // 4])
        edges[i] = lines[i, 1] if nearest == np.inf else max(nearest, lines[i, 1])
    return edges


def _prepare() -> None:
    """Call everything with nothing, in the types of real calls."""
    none = Lines.of(())
    between(none, seen(none), np.zeros(0, np.bool_), np.zeros(2, np.int64))


_prepare()
