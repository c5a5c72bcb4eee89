"""A page's text layer as Markdown, by where its characters stand: reading order, headings, tables. No model, no picture.

Cells are runs of characters with more than a space's room between them; rows of cells that stand below each other are a
table, its columns the stretches that cells cover in the fullest rows. Headings are larger than the page's text, or bold
and alone on their line. Lines keep the order of the content stream unless that goes up again and again, as in layers
that were written row by row across columns. What is given up: cells over several rows are set in their first one, and
a table without rooms between its columns is text.
"""

import ctypes
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from statistics import median
from typing import Any, NamedTuple

from pypdfium2 import raw

from stages.parse import pdf
from stages.parse.lines import LINE_HYPHEN, Kind, Line, Page
from stages.parse.reading_order import backward_share, in_order

CELL_ROOM = 0.9  # of a font's size between two cells, at least
MIN_ROWS = 2  # with more than one cell
FULL = 0.6  # of the fullest row's cells, for a row to say where columns are
MAX_CELL = 60  # characters of a table's cell in the middle; longer ones are columns of text
MAX_BACKWARD = 0.2  # of a page's steps from line to line
LONG_CELL, MAX_ACROSS = 20, 0.3  # characters; of the lines: more of such cells side by side are columns of text
TITLE, SECTION = 1.45, 1.12  # times the usual size
MAX_HEADING = 160  # characters
BOLD = 600  # as fonts have it, of 1000
BOLD_NAMES = (b"bold", b"black", b"heavy", b"semibold", b"-bd", b"cmbx")


Turn = tuple[int, float, float]  # a page's rotation (clockwise, degrees), and its size as shown


class Cell(NamedTuple):
    """A run of characters of a line without much room in it."""

    text: str
    left: float
    right: float


class Row(NamedTuple):
    """A line of the page as it looks: all that stands side by side and follows in the content stream."""

    lines: tuple[Line, ...]
    cells: tuple[Cell, ...]


class Piece(NamedTuple):
    """What a line is made of."""

    cells: tuple[Cell, ...]
    bold: bool


class Structured:
    """Layers as Markdown."""

    def read(self, path: str, index: int) -> Page:
        """A page with headings and tables told from text; see `parsers.Parser`."""
        document = pdf.open_pdf(path)
        try:
            return structured(document, pdf.read_page(document, index))
        finally:
            document.close()


def structured(document: Any, page: Page) -> Page:
    """A page from the free pass with its lines in reading order, headings marked, rows of tables as Markdown."""
    lines = tuple(_lines(document, page)) if page.lines else ()
    return replace(page, lines=lines, parser="layout")


def _lines(document: Any, page: Page) -> list[Line]:
    pieces = _pieces(document, page)
    usual = _usual_size(page.lines)
    if _is_jumbled(page.lines, pieces):
        pieces = {part: Piece((cell,), n.bold) for line, n in pieces.items() for cell, part in _parts_of(line, n)}
        lines = in_order(list(pieces))
    else:
        lines = list(page.lines)
    found: list[Line] = []
    rows = list(_rows(lines, pieces))
    for part in _parts(rows):
        found += table(part) if len(part) > 1 else _headed(part[0], pieces, usual)
    return _whole_headings(found)


def _is_jumbled(lines: Sequence[Line], pieces: dict[Line, Piece]) -> bool:
    """Whether lines go up again and again, or go across columns of text."""
    across = sum(len(p.cells) > 1 and median(len(c.text) for c in p.cells) >= LONG_CELL for p in pieces.values())
    return backward_share(lines) > MAX_BACKWARD or across > MAX_ACROSS * len(lines)


def _parts_of(line: Line, piece: Piece) -> Iterator[tuple[Cell, Line]]:
    """A line's cells as lines."""
    for cell in piece.cells:
        yield cell, line._replace(text=cell.text, left=cell.left, right=cell.right)


def _pieces(document: Any, page: Page) -> dict[Line, Piece]:
    """Every line's cells, and whether it is bold."""
    lines, drawn = page.lines, document[page.number - 1]
    if drawn.get_size() != (page.width, page.height):  # it is shown turned, and was read unturned
        drawn.set_rotation(0)
    text_page = drawn.get_textpage()
    turn = drawn.get_rotation(), *drawn.get_size()
    places = [i for i in range(text_page.count_chars()) if not chr(raw.FPDFText_GetUnicode(text_page, i)).isspace()]
    counts = [_num_visible(line.text) for line in lines]
    found = {line: Piece((Cell(line.text, line.left, line.right),), bold=False) for line in lines}
    if len(places) == sum(counts):  # else some characters are not where the text says: lines stay whole
        at = 0
        for line, count in zip(lines, counts, strict=True):
            mine = places[at : at + count]
            at += count
            found[line] = Piece(tuple(_cells(text_page, turn, line, mine)), _is_bold(text_page, mine))
    drawn.close()
    return found


def _num_visible(text: str) -> int:
    return sum(not c.isspace() for c in text)


def _extent(text_page: Any, place: int, turn: Turn) -> tuple[float, float]:
    """The left and right edge of a character as the page shows it; PDFium's boxes are as if it were not turned."""
    box = raw.FS_RECTF()
    raw.FPDFText_GetLooseCharBox(text_page, place, box)
    degrees, width, _ = turn
    match degrees:
        case 90:
            return box.bottom, box.top
        case 180:
            return width - box.right, width - box.left
        case 270:
            return width - box.top, width - box.bottom
    return box.left, box.right


def _cells(text_page: Any, turn: Turn, line: Line, places: Sequence[int]) -> Iterator[Cell]:
    """A line cut where more room is than between words; a line of several rows of the page stays whole."""
    if LINE_HYPHEN in line.text or " " not in line.text:
        yield Cell(line.text, line.left, line.right)
        return
    at = iter(places)
    extents = [None if c.isspace() else _extent(text_page, next(at), turn) for c in line.text]
    start, end, left, right = 0, 0, line.left, line.left
    for i, extent in enumerate(extents):
        if extent is None:
            continue
        if end and extent[0] - right > CELL_ROOM * line.size and extents[i - 1] is None:
            yield Cell(line.text[start:end].strip(), left, right)
            start, left = i, extent[0]
        end, right = i + 1, max(extent[1], left)
    yield Cell(line.text[start:].strip(), left, right)


def _is_bold(text_page: Any, places: Sequence[int]) -> bool:
    """Whether a line's first, middle and last characters are of a bold font."""
    sample = {places[0], places[len(places) // 2], places[-1]}
    name = ctypes.create_string_buffer(96)
    for place in sample:
        raw.FPDFText_GetFontInfo(text_page, place, name, len(name), None)
        named = any(word in name.value.lower() for word in BOLD_NAMES)
        if not named and raw.FPDFText_GetFontWeight(text_page, place) < BOLD:
            return False
    return True


def _usual_size(lines: Sequence[Line]) -> float:
    """The size that most characters have."""
    counts: Counter[float] = Counter()
    for line in lines:
        counts[round(line.size, 1)] += len(line.text)
    return counts.most_common(1)[0][0]


def _rows(lines: Sequence[Line], pieces: dict[Line, Piece]) -> Iterator[Row]:
    """Lines that stand side by side, together."""
    row: list[Line] = []
    for line in lines:
        if row and not _beside(row[-1], line):
            yield Row(tuple(row), tuple(c for n in row for c in pieces[n].cells))
            row = []
        row.append(line)
    if row:
        yield Row(tuple(row), tuple(c for n in row for c in pieces[n].cells))


def _beside(first: Line, second: Line) -> bool:
    overlap = min(first.top, second.top) - max(first.bottom, second.bottom)
    lower = min(first.top - first.bottom, second.top - second.bottom)
    return overlap > 0.5 * lower and second.left > first.right - 0.5 * min(first.size, second.size)


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Runs of rows that are tables, and all other rows one by one."""
    at = 0
    while at < len(rows):
        end = at
        while end < len(rows) and _goes_on(rows, at, end):
            end += 1
        while end > at and len(rows[end - 1].cells) < 2:
            end -= 1
        if end - at >= MIN_ROWS and _is_table(rows[at:end]):
            yield rows[at:end]
            at = end
        else:
            yield rows[at : at + 1]
            at += 1


def _goes_on(rows: Sequence[Row], start: int, end: int) -> bool:
    """Whether a row belongs to the table that begins at `start`: cells of its own, or a few words right below some."""
    row, above = rows[end], rows[end - 1] if end > start else None
    if above is None:
        return len(row.cells) > 1
    near = -row.lines[0].size < above.lines[0].bottom - row.lines[0].top < 2.5 * row.lines[0].size
    inside = row.lines[0].right <= max(n.right for r in rows[start:end] for n in r.lines) + 1
    one = len(row.cells) == 1 and len(above.cells) > 1 and len(row.cells[0].text) < MAX_CELL / 2
    return near and (len(row.cells) > 1 or (inside and one))


def _is_table(rows: Sequence[Row]) -> bool:
    """Whether rows share columns and hold cells rather than sentences."""
    full = [row for row in rows if len(row.cells) > 1]
    lengths = sorted(len(c.text) for row in full for c in row.cells)
    return len(full) >= MIN_ROWS and lengths[len(lengths) // 2] <= MAX_CELL and len(columns(rows)) > 1


def columns(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Where a table's columns are: what the cells of its fuller rows cover."""
    most = max(len(row.cells) for row in rows)
    spans = sorted((c.left, c.right) for row in rows if len(row.cells) >= FULL * most for c in row.cells)
    found: list[tuple[float, float]] = []
    for left, right in spans:
        if found and left < found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], right)
        else:
            found.append((left, right))
    return found


def table(rows: Sequence[Row]) -> list[Line]:
    """A table's rows as lines of Markdown, the first one the head."""
    places = columns(rows)
    found = []
    for number, row in enumerate(rows):
        cells = [""] * len(places)
        for cell in row.cells:
            at = max(range(len(places)), key=lambda i, c=cell: min(places[i][1], c.right) - max(places[i][0], c.left))  # type: ignore[misc]
            cells[at] = f"{cells[at]} {cell.text}".strip()
        text = "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"
        found.append(_over(row.lines, text + ("\n" + "|---" * len(places) + "|" if number == 0 else ""), "row"))
    return found


def _headed(row: Row, pieces: dict[Line, Piece], usual: float) -> list[Line]:
    """A row's lines, or one heading."""
    text = " ".join(n.text for n in row.lines)
    letters = sum(c.isalpha() for c in text)
    if letters < 3 or len(text) > MAX_HEADING or letters < 0.5 * _num_visible(text):
        return list(row.lines)
    size = max(n.size for n in row.lines)
    bold = all(pieces[n].bold for n in row.lines)
    if size >= TITLE * usual:
        return [_over(row.lines, text, "title")]
    if size >= SECTION * usual:
        return [_over(row.lines, text, "section")]
    is_subsection = bold and size > 0.95 * usual and not text.rstrip().endswith((".", ",", ";"))
    return [_over(row.lines, text, "subsection")] if is_subsection else list(row.lines)


def _over(lines: Sequence[Line], text: str, kind: Kind) -> Line:
    """One line in place of several that stand side by side or below each other."""
    left, right = min(n.left for n in lines), max(n.right for n in lines)
    bottom, top = min(n.bottom for n in lines), max(n.top for n in lines)
    return Line(text, left, bottom, right, top, max(n.size for n in lines), kind)


def _whole_headings(lines: Sequence[Line]) -> list[Line]:
    """Headings of several lines as one; a page of nothing else is text."""
    found: list[Line] = []
    for kind, group in groupby(lines, key=lambda n: n.kind):
        part = list(group)
        if kind in {"text", "row"}:
            found += part
            continue
        for line in part:
            near = found and found[-1].kind == kind and -line.size < found[-1].bottom - line.top < 0.9 * line.size
            if near and abs(found[-1].size - line.size) < 0.1 * line.size:
                found[-1] = _over((found[-1], line), f"{found[-1].text} {line.text}", kind)
            else:
                found.append(line)
    return found
