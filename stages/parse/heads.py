"""Running heads and feet: lines at a page's edge, apart from the rest, that repeat from page to page or number it.

What is given up: a head that is on one page only stays in the text.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.compiled import compiled
from stages.parse.lines import Lines, Page

Array = NDArray[Any]

EDGE = 0.1  # of a page's height, at its top and bottom, is where heads and feet are
MIN_REPEATS = 2
REPEAT_SHARE = 0.3  # of the pages: heads of left and right pages are on half of them each
APART = 0.6  # of a font's size: more than the space between lines of text
MIN_KEPT = 0.3  # of a document's characters
HEADING = 1.3  # times the usual size: a title, wherever it stands
FIRST_LINES, MIN_TITLE = 12, 12  # lines of the first page, characters: where the title is that heads repeat
DIGITS = re.compile(r"\d+")
PAGE_NUMBER = re.compile(r"(page|seite|p) #( (of|von) #| #)?|# (of|von) #")
WORDS = re.compile(r"[\w#]+")


def without_heads(pages: Sequence[Page], parts: Sequence[Lines]) -> Array:
    """Which of the lines of a document's pages are no running heads and feet (lines).

    Those are at a page's edge and set apart from the rest; they repeat on other pages (numbers aside), or repeat the
    title, or number the page. A document that is made of such lines for the most part loses page numbers only.
    """
    if not parts:
        return np.zeros(0, np.bool_)
    places, heights = np.concatenate([p.places for p in parts]), np.array([page.height for page in pages])
    starts = np.cumsum([0, *map(len, parts)])
    at_edge, on_page, usual = _at_edge(places, heights, starts)
    edges = list(zip(on_page.tolist(), (at_edge - starts[on_page]).tolist(), strict=True))
    keys = [key(parts[page].text_of(line)) for page, line in edges]
    repeated = np.fromiter(_repeated(parts, keys, [page for page, _ in edges]), np.bool_)
    is_head = np.zeros(len(places), np.bool_)
    is_head[at_edge] = (places[at_edge, 4] <= HEADING * usual) & repeated
    kept = ~_set_apart(places, is_head, heights, starts)
    lengths = np.concatenate([p.lengths for p in parts])
    if lengths[kept].sum() >= MIN_KEPT * lengths.sum():
        return kept
    kept[:] = True
    kept[at_edge[[k.strip("# ") == "" for k in keys]]] = False
    return kept


def key(text: str) -> str:
    """What stays the same of a head from page to page."""
    return " ".join(WORDS.findall(DIGITS.sub("#", text.lower())))


def _repeated(parts: Sequence[Lines], keys: Sequence[str], on_page: Sequence[int]) -> Iterator[bool]:
    """Whether lines at pages' edges are on other pages too, or repeat the title, or are a page's number."""
    counts = Counter(k for _, k in set(zip(on_page, keys, strict=True)))
    least = max(MIN_REPEATS, REPEAT_SHARE * len(parts))
    first = [key(parts[0].text_of(i)) for i in range(min(FIRST_LINES, len(parts[0])))]
    top = [k for k in first if len(k) >= MIN_TITLE]
    for page, k in zip(on_page, keys, strict=True):
        repeats_title = page > 0 and len(k) >= MIN_TITLE and any(k in other or other in k for other in top)
        yield counts[k] >= least or repeats_title or PAGE_NUMBER.fullmatch(k) is not None


@compiled
def _at_edge(places: Array, heights: Array, starts: Array) -> tuple[Array, Array, float]:
    """The lines where heads and feet are, the page of each, and the usual size of all lines."""
    found, pages, count = np.empty(len(places), np.int64), np.empty(len(places), np.int64), 0
    for page in range(starts.size - 1):
        low, high = heights[page] * EDGE, heights[page] * (1 - EDGE)
        for i in range(starts[page], starts[page + 1]):
            if not low < (places[i, 1] + places[i, 3]) / 2 < high:
                found[count], pages[count] = i, page
                count += 1
    return found[:count], pages[:count], float(np.median(places[:, 4])) if len(places) else 0.0


@compiled
def _set_apart(places: Array, is_head: Array, heights: Array, starts: Array) -> Array:
    """The heads that no line of the body comes close to on the side of the page's middle."""
    apart = np.zeros(is_head.size, np.bool_)
    for page in range(starts.size - 1):
        for i in range(starts[page], starts[page + 1]):
            if is_head[i]:
                left, bottom, right, top, size = places[i]
                apart[i], above_middle = True, bottom + top > heights[page]
                for k in range(starts[page], starts[page + 1]):
                    gap = bottom - places[k, 3] if above_middle else places[k, 1] - top
                    beside = places[k, 2] >= left and places[k, 0] <= right
                    apart[i] &= not (-size < gap < APART * size and beside and not is_head[k])
    return apart


without_heads([Page(1)], [Lines.of(())])  # compiled or loaded now, in no page's time
