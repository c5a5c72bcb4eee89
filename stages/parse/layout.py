"""From lines on pages to a document's text: no running heads, paragraphs joined, cut words whole, a span for every page.

Paragraphs are told by where lines stand (`flow`), so that no list of words is needed. What is given up: a head that is
on one page only stays in the text.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from statistics import median

import numpy as np

from schemas.corpus import PageSpan
from stages.parse.characters import clean
from stages.parse.flow import CLEAN, between, seen
from stages.parse.hyphens import Joiner
from stages.parse.lines import Line, Page

EDGE = 0.1  # of a page's height, at its top and bottom, is where heads and feet are
MIN_REPEATS = 2
REPEAT_SHARE = 0.3  # of the pages: heads of left and right pages are on half of them each
APART = 0.6  # of a font's size: more than the space between lines of text
MIN_KEPT = 0.3  # of a document's characters
HEADING = 1.3  # times the usual size: a title, wherever it stands
FIRST_LINES, MIN_TITLE = 12, 12  # lines of the first page, characters: where the title is that heads repeat
DIGITS = re.compile(r"\d+")
PAGE_NUMBER = re.compile(r"(page|seite|p) #( (of|von) #| #)?|# (of|von) #")
NO_WORD = re.compile(r"[^\w#]+")
PREFIXES = {"title": "# ", "section": "## ", "subsection": "### "}
MARKDOWN_TITLE = re.compile(r"\A\s*# (.{10,300})$", re.MULTILINE)


def document_text(pages: Sequence[Page]) -> tuple[str, list[PageSpan]]:
    """A document's text, and for every page, in order, the characters that came from it; spans leave no gap."""
    bodies = [rows(lines) for lines in without_heads(pages)]
    pieces, starts = _joined(bodies)
    text = "".join(pieces)
    ends = [*starts[1:], len(text)]
    spans = [
        PageSpan(page=p.number, start=s, end=e, parser=p.parser, origin=p.origin)
        for p, s, e in zip(pages, starts, ends, strict=True)
    ]
    return text, spans


def _joined(bodies: Sequence[Sequence[Line]]) -> tuple[list[str], list[int]]:
    """Pieces of text, and the character at which every page begins; an empty page begins where the next one does."""
    lines = [line for body in bodies for line in body]
    whole = "\n".join([line.text for line in lines])
    joiner, lengths = Joiner(whole), np.array([len(line.text) for line in lines], dtype=np.int64)
    signs = seen(whole, lengths)
    texts = [n.text if is_clean else _cleaned(n, joiner) for n, is_clean in zip(lines, signs & CLEAN, strict=True)]
    shown = np.array([bool(text) for text in texts], dtype=np.bool_)
    firsts = np.cumsum([0, *map(len, bodies)])
    apart = between(lines, lengths, signs, shown, firsts)
    pieces: list[str] = []
    starts: list[int | None] = []
    length = at = 0
    for last in firsts[1:].tolist():
        start = None
        for i in range(at, last):
            if not (text := texts[i]):
                continue
            before = apart[i]
            if before == " " and (cut := joiner.across(pieces[-1], text)) is not None:
                length += len(cut) - len(pieces[-1])
                pieces[-1], before = cut, ""
            start = length + len(before) if start is None else start
            text = PREFIXES.get(lines[i].kind, "") + text
            pieces += (before, text) if before else (text,)
            length += len(before) + len(text)
        starts.append(start)
        at = last
    return pieces, _filled(starts, length)


def _cleaned(line: Line, joiner: Joiner) -> str:
    return clean(line.text if line.kind == "verbatim" else joiner.inside(line.text))


def _filled(starts: Sequence[int | None], length: int) -> list[int]:
    """Where pages begin, an empty one where the next does, the first at 0."""
    found, after = [], length
    for start in reversed(starts):
        after = after if start is None else start
        found.append(after)
    return [0, *found[::-1][1:]]


def without_heads(pages: Sequence[Page]) -> list[list[Line]]:
    """Every page's lines without running heads and feet.

    Those are at a page's edge and set apart from the rest; they repeat on other pages (numbers aside), or repeat the
    title, or number the page. A document that is made of such lines for the most part loses page numbers only.
    """
    edges = [_at_edge(page) for page in pages]
    repeated = _repeated(pages, edges)
    bodies = []
    for page, at_edge in zip(pages, edges, strict=True):
        heads = {line for line, key in at_edge.items() if repeated(page, line, key)}
        apart = {line for line in heads if _set_apart(page, line, heads)}
        bodies.append([line for line in page.lines if line not in apart] if apart else list(page.lines))
    kept, found = (
        sum([len(line.text) for body in side for line in body]) for side in (bodies, [p.lines for p in pages])
    )
    if kept >= MIN_KEPT * found:
        return bodies
    numbers = [{line for line, key in at_edge.items() if key.strip("# ") == ""} for at_edge in edges]
    return [[n for n in page.lines if n not in those] for page, those in zip(pages, numbers, strict=True)]


def _at_edge(page: Page) -> dict[Line, str]:
    """The lines where heads and feet are, and what stays the same of each from page to page."""
    low, high = page.height * EDGE, page.height * (1 - EDGE)
    return {line: _key(line) for line in page.lines if not low < (line.bottom + line.top) / 2 < high}


def _repeated(pages: Sequence[Page], edges: Sequence[Mapping[Line, str]]) -> Callable[[Page, Line, str], bool]:
    """Says of a line at a page's edge whether it is on other pages too, or repeats the title, or is a page's number."""
    counts: Counter[str] = Counter()
    for at_edge in edges:
        counts.update(set(at_edge.values()))
    least = max(MIN_REPEATS, REPEAT_SHARE * len(pages))
    sizes = [line.size for page in pages for line in page.lines]
    largest = HEADING * median(sizes) if sizes else 0.0
    top = [key for line in (pages[0].lines if pages else ())[:FIRST_LINES] if len(key := _key(line)) >= MIN_TITLE]

    def repeated(page: Page, line: Line, key: str) -> bool:
        if line.size > largest:
            return False
        repeats_title = page is not pages[0] and len(key) >= MIN_TITLE and any(key in k or k in key for k in top)
        return counts[key] >= least or repeats_title or PAGE_NUMBER.fullmatch(key) is not None

    return repeated


def _set_apart(page: Page, line: Line, heads: Collection[Line]) -> bool:
    """Whether no line of the body comes close to a head on the side of the page's middle."""
    left, right, size, above_middle = line.left, line.right, line.size, line.bottom + line.top > page.height
    for other in page.lines:
        gap = line.bottom - other.top if above_middle else other.bottom - line.top
        if -size < gap < APART * size and other.right >= left and other.left <= right and other not in heads:
            return False
    return True


def _key(line: Line) -> str:
    """What stays the same of a head from page to page."""
    return NO_WORD.sub(" ", DIGITS.sub("#", line.text.lower())).strip()


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
