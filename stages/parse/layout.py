"""From lines on pages to a document's text: no running heads, paragraphs joined, cut words whole, a span for every page.

Paragraphs are told by geometry (gaps, indents, short lines, font sizes, jumps to the next column), with the habits of
the lines around each line as the measure, so that no list of words is needed. What is given up: tables are rows of
words, and a formula's parts come in the order that the page drew them.
"""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from statistics import median

import numpy as np

from schemas.corpus import PageSpan
from stages.parse.characters import clean
from stages.parse.hyphens import HYPHENS, Joiner
from stages.parse.kernel import column_edges
from stages.parse.lines import LINE_HYPHEN, Line, Page

EDGE = 0.1  # of a page's height, at its top and bottom, is where heads and feet are
MIN_REPEATS = 2
REPEAT_SHARE = 0.3  # of the pages: heads of left and right pages are on half of them each
APART = 0.6  # of a font's size: more than the space between lines of text
MIN_KEPT = 0.3  # of a document's characters
HEADING = 1.3  # times the usual size: a title, wherever it stands
FIRST_LINES, MIN_TITLE = 12, 12  # lines of the first page, characters: where the title is that heads repeat
NEIGHBOURS = 8  # lines before and after, which tell a column's right edge
SAME_MARGIN = 3.0  # points
MIN_MARGIN_LINES = 3
JUSTIFIED_SHARE = 0.4  # of a page's lines
SPREAD = 0.62  # of a font's size a character; justified text takes 0.4 to 0.55
SHORT, SLIGHTLY_SHORT = 0.2, 0.05  # of a column's width
DIGITS = re.compile(r"\d+")
PAGE_NUMBER = re.compile(r"(page|seite|p) #( (of|von) #| #)?|# (of|von) #")
NO_WORD = re.compile(r"[^\w#]+")
PREFIXES = {"title": "# ", "section": "## ", "subsection": "### "}
MARKUP = "#|$-*<"  # what Markdown's blocks begin with
MARKDOWN_TITLE = re.compile(r"\A\s*# (.{10,300})$", re.MULTILINE)
ENDS_SENTENCE = re.compile(r"""[.!?:;]["'”’)\]]*$""")


def document_text(pages: Sequence[Page]) -> tuple[str, list[PageSpan]]:
    """A document's text, and for every page, in order, the characters that came from it; spans leave no gap."""
    bodies = [rows(lines) for lines in without_heads(pages)]
    joined = Joined(Joiner("\n".join(line.text for body in bodies for line in body)))
    for body in bodies:
        joined.add_page(body)
    starts, total = joined.starts(), joined.length
    ends = [*starts[1:], total]
    spans = [
        PageSpan(page=p.number, start=s, end=e, parser=p.parser, origin=p.origin)
        for p, s, e in zip(pages, starts, ends, strict=True)
    ]
    return "".join(joined.pieces), spans


class Joined:
    """Text under construction: pieces, where the last one stood on its page, and where pages begin."""

    def __init__(self, joiner: Joiner) -> None:
        self.pieces: list[str] = []
        self.length = 0
        self._joiner = joiner
        self._last: tuple[Line, float, bool] | None = None
        self._starts: list[int | None] = []

    def add_page(self, body: Sequence[Line]) -> None:
        """Append a page's lines."""
        self._starts.append(None)
        gap, margins = usual_gap(body), right_margins(body)
        edges = right_edges(body) if body else []
        for i, line in enumerate(body):
            text = clean(line.text if line.kind == "verbatim" else self._joiner.inside(line.text))
            if text:
                self._separate(text, line, gap, new_page=self._starts[-1] is None)
                self._append(PREFIXES.get(line.kind, "") + text)
                row = is_row(line, margins) or self._goes_on_a_table(line)
                self._last = line, edges[i], row

    def _goes_on_a_table(self, line: Line) -> bool:
        """Whether the line above was a row, and this one begins and ends where that did and is rather spread out."""
        if self._last is None or not self._last[2] or spread(line) < 0.85 * SPREAD:
            return False
        above = self._last[0]
        return abs(above.left - line.left) < SAME_MARGIN and abs(above.right - line.right) < SAME_MARGIN

    def starts(self) -> list[int]:
        """Where every page begins; an empty page where the next one does."""
        found, after = [], self.length
        for start in reversed(self._starts):
            after = after if start is None else start
            found.append(after)
        return [0, *found[::-1][1:]]

    def _separate(self, text: str, line: Line, gap: float, *, new_page: bool) -> None:
        if self._last is not None:
            above, edge, short = self._last
            if (apart := between(above, line, new_page=new_page)) is not None:
                self._append(apart)
            elif in_table(above, line):
                self._append("\n")
            elif above.kind == line.kind == "text" and breaks(above, line, gap, edge, new_page=new_page):
                self._append("\n\n")
            elif short:
                self._append("\n")
            elif (whole := self._joiner.across(self.pieces[-1], text)) is not None:
                self.length += len(whole) - len(self.pieces[-1])
                self.pieces[-1] = whole
            else:
                self._append(" ")
        if new_page:
            self._starts[-1] = self.length

    def _append(self, text: str) -> None:
        self.pieces.append(text)
        self.length += len(text)


def between(above: Line, line: Line, *, new_page: bool) -> str | None:
    """What stands between two lines one of which is Markdown; None where their places and words have to tell."""
    if above.kind == line.kind == "text":
        return None
    if above.kind == line.kind == "row" and not new_page:
        return "\n"
    if "verbatim" not in {above.kind, line.kind} or ends_paragraph(above, line) or line.text[0] in MARKUP:
        return "\n\n"
    return None


def without_heads(pages: Sequence[Page]) -> list[list[Line]]:
    """Every page's lines without running heads and feet.

    Those are at a page's edge and set apart from the rest; they repeat on other pages (numbers aside), or repeat the
    title, or number the page. A document that is made of such lines for the most part loses page numbers only.
    """
    repeated = _repeated(pages)
    bodies = []
    for page in pages:
        heads = {line for line in page.lines if _at_edge(page, line) and repeated(page, line)}
        bodies.append([line for line in page.lines if line not in heads or not _set_apart(page, line, heads)])
    kept, found = (sum(len(line.text) for body in side for line in body) for side in (bodies, [p.lines for p in pages]))
    if kept >= MIN_KEPT * found:
        return bodies
    return [[n for n in page.lines if not (_at_edge(page, n) and _key(n).strip("# ") == "")] for page in pages]


def _repeated(pages: Sequence[Page]) -> Callable[[Page, Line], bool]:
    """Says of a line at a page's edge whether it is on other pages too, or repeats the title, or is a page's number."""
    counts: Counter[str] = Counter()
    for page in pages:
        counts.update({_key(line) for line in page.lines if _at_edge(page, line)})
    least = max(MIN_REPEATS, REPEAT_SHARE * len(pages))
    sizes = [line.size for page in pages for line in page.lines]
    largest = HEADING * median(sizes) if sizes else 0.0
    top = [key for line in (pages[0].lines if pages else ())[:FIRST_LINES] if len(key := _key(line)) >= MIN_TITLE]

    def repeated(page: Page, line: Line) -> bool:
        if line.size > largest:
            return False
        key = _key(line)
        repeats_title = page is not pages[0] and len(key) >= MIN_TITLE and any(key in k or k in key for k in top)
        return counts[key] >= least or repeats_title or PAGE_NUMBER.fullmatch(key) is not None

    return repeated


def _set_apart(page: Page, line: Line, heads: Collection[Line]) -> bool:
    """Whether no line of the body comes close to a head on the side of the page's middle."""
    for other in page.lines:
        if other in heads or other.right < line.left or other.left > line.right:
            continue
        above_middle = line.bottom + line.top > page.height
        gap = line.bottom - other.top if above_middle else other.bottom - line.top
        if -line.size < gap < APART * line.size:
            return False
    return True


def _key(line: Line) -> str:
    """What stays the same of a head from page to page."""
    return NO_WORD.sub(" ", DIGITS.sub("#", line.text.lower())).strip()


def _at_edge(page: Page, line: Line) -> bool:
    middle = (line.bottom + line.top) / 2
    return not page.height * EDGE < middle < page.height * (1 - EDGE)


def rows(lines: Sequence[Line]) -> list[Line]:
    """Lines with those put together that follow each other on one row: superscripts, cells, parts of a formula."""
    found: list[Line] = []
    for line in lines:
        if found and found[-1].kind == line.kind == "text" and _same_row(found[-1], line):
            found[-1] = _put_together(found[-1], line)
        else:
            found.append(line)
    return found


def _same_row(first: Line, second: Line) -> bool:
    if second.left <= first.right - 0.5 * min(first.size, second.size):
        return False
    overlap = min(first.top, second.top) - max(first.bottom, second.bottom)
    return overlap > 0.5 * min(first.top - first.bottom, second.top - second.bottom)


def _put_together(first: Line, second: Line) -> Line:
    near = second.left - first.right < 0.15 * first.size
    return Line(
        first.text + ("" if near else " ") + second.text,
        first.left,
        min(first.bottom, second.bottom),
        second.right,
        max(first.top, second.top),
        max(first.size, second.size),
    )


def usual_gap(body: Sequence[Line]) -> float:
    """The usual space between a line and the next one below it."""
    gaps = [a.bottom - b.top for a, b in itertools.pairwise(body) if b.top < a.top and b.left < a.right]
    return median(gaps) if gaps else 0.0


def right_margins(body: Sequence[Line]) -> list[float]:
    """Where justified columns end: right edges that many lines share; none on a page that is not justified."""
    found: list[list[float]] = []
    for right in sorted(line.right for line in body):
        if found and right - found[-1][-1] < SAME_MARGIN:
            found[-1].append(right)
        else:
            found.append([right])
    margins = [group for group in found if len(group) >= MIN_MARGIN_LINES]
    justified = sum(map(len, margins)) >= JUSTIFIED_SHARE * len(body)
    return [max(group) for group in margins] if justified else []


def is_row(line: Line, margins: Sequence[float]) -> bool:
    """Whether a line ends by itself: spread out as cells are, or over long before its column is (items, formulas)."""
    if spread(line) > SPREAD:
        return True
    for edge in margins:
        if edge >= line.right - SAME_MARGIN:
            return edge - line.right > 1.5 * line.size
    return False


def spread(line: Line) -> float:
    """A line's width a character, in font sizes; 0 for one that goes on over more rows than one."""
    return (
        0.0
        if line.kind != "text" or LINE_HYPHEN in line.text
        else (line.right - line.left) / (len(line.text) * max(line.size, 1e-6))
    )


def in_table(above: Line, line: Line) -> bool:
    """Whether two lines are rows of one table: both spread out, of one size, the second right below the first."""
    near = -0.5 * line.size < above.bottom - line.top < 1.5 * line.size
    return near and min(spread(above), spread(line)) > SPREAD and abs(above.size - line.size) < 0.1 * line.size


def right_edges(body: Sequence[Line]) -> list[float]:
    """Where the column of each line ends: the third quartile of the lines before or after it, the nearer edge."""
    edges: list[float] = column_edges(
        np.array([(n.left, n.right, n.size) for n in body], dtype=float), NEIGHBOURS
    ).tolist()
    return edges


def breaks(above: Line, line: Line, gap: float, edge: float, *, new_page: bool = False) -> bool:
    """Whether a paragraph ends between two lines; `edge` is the right edge of the column of `above`."""
    size = max(above.size, line.size)
    ended = ENDS_SENTENCE.search(above.text) is not None
    if abs(above.size - line.size) > 0.2 * size:
        return True
    if new_page or line.top > above.top + 0.5 * size:  # the next column, or page
        return ends_paragraph(above, line)
    if above.bottom - line.top > gap + 0.35 * size:
        return True
    missing = (edge - above.right) / max(edge - above.left, 1.0)
    indented = 0.7 * size < line.left - above.left < 5 * size
    return missing > SHORT or (ended and (indented or (missing > SLIGHTLY_SHORT and not line.text[0].islower())))


def ends_paragraph(above: Line, line: Line) -> bool:
    """Whether a paragraph ends between two lines, by their words alone."""
    return ENDS_SENTENCE.search(above.text) is not None or not (line.text[0].islower() or above.text[-1] in HYPHENS)


def heading(pages: Sequence[Page]) -> str | None:
    """The largest text of the first page, if it is larger than the rest and long enough for a title."""
    lines = pages[0].lines if pages else ()
    if lines and lines[0].kind == "verbatim":
        found = MARKDOWN_TITLE.search(lines[0].text)
        return found[1].strip() if found else None
    words = [line for line in lines if sum(c.isalpha() for c in line.text) >= 3]
    if len(words) < 3:
        return None
    largest = max(line.size for line in words)
    if largest < 1.15 * median(line.size for line in words):
        return None
    title = clean(Joiner("").inside(" ".join(line.text for line in _first_run(words, largest))))
    return title if 10 <= len(title) <= 300 else None


def _first_run(lines: Sequence[Line], largest: float) -> Iterator[Line]:
    """The first lines in a row that have the largest size, give or take an eighth."""
    started = False
    for line in lines:
        if line.size > largest * 7 / 8:
            started = True
            yield line
        elif started:
            return
