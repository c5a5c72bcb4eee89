"""From lines on pages to a document's text: no running heads, paragraphs joined, cut words whole, a span for every page.

Paragraphs are told by where lines stand (`flow`), so that no list of words is needed.
"""

import re
from collections.abc import Iterator, Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from schemas.corpus import PageSpan
from stages.parse.characters import clean
from stages.parse.flow import BETWEEN, CLEAN, CUT, NOTHING, ONE_SPACE, between, seen
from stages.parse.heads import without_heads
from stages.parse.hyphens import HYPHENS, Joiner
from stages.parse.lines import KINDS, TEXT, VERBATIM, Line, Lines, Page
from stages.parse.rows import rows

PREFIXES = {"title": "# ", "section": "## ", "subsection": "### "}
LENGTHS = np.array([len(sign) for sign in BETWEEN])
MARKDOWN_TITLE = re.compile(r"\A\s*# (.{10,300})$", re.MULTILINE)

Whole = NDArray[np.int64]


def document_text(pages: Sequence[Page]) -> tuple[str, list[PageSpan]]:
    """A document's text, and for every page, in order, the characters that came from it; spans leave no gap."""
    parts = [Lines.of(page.lines) for page in pages]
    text, begins = _joined(*rows(parts, without_heads(pages, parts)))
    spans = [
        PageSpan(page=p.number, start=s, end=e, parser=p.parser, origin=p.origin)
        for p, s, e in zip(pages, begins, [*begins[1:], len(text)], strict=True)
    ]
    return text, spans


def _joined(lines: Lines, firsts: Whole) -> tuple[str, list[int]]:
    """The text of rows, and the character at which every page begins; an empty page begins where the next one does."""
    joiner, signs, texts, lengths = Joiner(lines.text), seen(lines), lines.texts(), lines.lengths
    ends_cut = signs & CUT != 0
    for i in np.flatnonzero(signs & CLEAN == 0).tolist():
        texts[i] = clean(texts[i] if lines.kinds[i] == VERBATIM else joiner.inside(texts[i]))
        lengths[i], ends_cut[i] = len(texts[i]), texts[i][-1:] in HYPHENS
    shown = lengths > 0
    what, at = between(lines, signs, shown, firsts), np.flatnonzero(shown)
    above, below = at[:-1], at[1:]
    for k in np.flatnonzero(ends_cut[above] & (what[below] == ONE_SPACE)).tolist():
        if (whole := joiner.across(texts[above[k]], texts[below[k]])) is not None:
            texts[above[k]], lengths[above[k]], what[below[k]] = whole, len(whole), NOTHING
    for i in np.flatnonzero((lines.kinds != TEXT) & shown).tolist():
        texts[i] = PREFIXES.get(KINDS[lines.kinds[i]], "") + texts[i]
        lengths[i] = len(texts[i])
    text = "".join([BETWEEN[sign] + text for sign, text in zip(what.tolist(), texts, strict=True)])
    begins = (
        np.cumsum(LENGTHS[what] + lengths) - lengths
    )  # of rows; a page's is that of the first one shown from there on
    following = np.append(begins[at], len(text))[np.searchsorted(at, firsts[:-1])]
    return text, [0, *following[1:].tolist()]


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
