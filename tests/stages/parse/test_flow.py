"""What stands between lines, compiled, against the same rules a line at a time, with regular expressions and the standard library."""

import re
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.parse.characters import clean
from stages.parse.flow import (
    BETWEEN,
    CLEAN,
    CUT,
    ENDED,
    MARKED,
    SEVERAL,
    STARTS_LOWER,
    between,
    right_margins,
    seen,
    usual_gap,
)
from stages.parse.hyphens import HYPHENS
from stages.parse.lines import LINE_HYPHEN, Line, Lines

ENDS_SENTENCE = re.compile(r"""[.!?:;]["'”’)\]]*$""")
WORDS = (
    "Word",
    "lower.",
    "end-",
    "cut\xad",
    "3.5",
    "a\ufffeb",
    "x  y",
    "ﬁ",
    " lead",
    "“Q.”",
    ":)",
    "é",
    "|",
    "# h",
    "ª",
    "𝛼",
    "\x00",
)
TEXTS = st.one_of(
    st.text(min_size=1, max_size=9), st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
)


def signs_of(texts: Sequence[str]) -> list[int]:
    """The signs of lines."""
    return seen(Lines.of([Line(text, 0, 0, 0, 0, 0) for text in texts])).tolist()


@settings(deadline=None, max_examples=400)
@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_signs_are_what_strings_say(texts: list[str]) -> None:
    """Lower case, ends of sentences, hyphens and marks are those of Python's strings; what is clean is not changed."""
    for text, found in zip(texts, signs_of(texts), strict=True):
        assert bool(found & STARTS_LOWER) == text[0].islower()
        assert bool(found & ENDED) == (ENDS_SENTENCE.search(text) is not None)
        assert bool(found & CUT) == (text[-1] in HYPHENS)
        assert bool(found & SEVERAL) == (LINE_HYPHEN in text)
        assert bool(found & MARKED) == (text[0] in "#|$-*<")
        if found & CLEAN:
            assert clean(text) == text


def test_nearly_all_text_is_clean() -> None:
    """A line of plain words needs no cleaning, in any alphabet; one with a ligature, a soft hyphen or two spaces does."""
    assert all(s & CLEAN for s in signs_of(["The mean free path.", "Größe β = 3", "кот", "光"]))
    assert not any(
        s & CLEAN for s in signs_of(["o\ufb03ce", "cut\xad", "two  spaces", " first", "last\u00a0", "\ue001"])
    )


# ---- the rules, a pair of lines at a time


def spread(line: Line) -> float:
    """A line's width a character, in font sizes."""
    if line.kind != "text" or LINE_HYPHEN in line.text:
        return 0.0
    return (line.right - line.left) / (len(line.text) * max(line.size, 1e-6))


def ends_paragraph(above: Line, line: Line) -> bool:
    """By words alone."""
    return ENDS_SENTENCE.search(above.text) is not None or not (line.text[0].islower() or above.text[-1] in HYPHENS)


def breaks(above: Line, line: Line, gap: float, edge: float, *, is_first: bool) -> bool:
    """Whether a paragraph ends, by where lines stand."""
    size = max(above.size, line.size)
    if abs(above.size - line.size) > 0.2 * size:
        return True
    if is_first or line.top > above.top + 0.5 * size:
        return ends_paragraph(above, line)
    if above.bottom - line.top > gap + 0.35 * size:
        return True
    missing = (edge - above.right) / max(edge - above.left, 1.0)
    indented = 0.7 * size < line.left - above.left < 5 * size
    ended = ENDS_SENTENCE.search(above.text) is not None
    return missing > 0.2 or (ended and (indented or (missing > 0.05 and not line.text[0].islower())))


def apart(above: Line, line: Line, habits: tuple[float, float, bool], *, is_first: bool) -> str:
    """What stands between two lines; habits are the usual gap, the column's edge, and whether the line above ended short."""
    gap, edge, short = habits
    if above.kind != "text" or line.kind != "text":
        if above.kind == line.kind == "row" and not is_first:
            return "\n"
        if "verbatim" not in {above.kind, line.kind} or ends_paragraph(above, line) or line.text[0] in "#|$-*<":
            return "\n\n"
    near = -0.5 * line.size < above.bottom - line.top < 1.5 * line.size
    if near and min(spread(above), spread(line)) > 0.62 and abs(above.size - line.size) < 0.1 * line.size:
        return "\n"
    if above.kind == line.kind == "text" and breaks(above, line, gap, edge, is_first=is_first):
        return "\n\n"
    return "\n" if short else " "


def margins_of(body: Sequence[Line]) -> list[float]:
    """Right edges that three lines or more share, if two fifths of all lines end at one."""
    groups: list[list[float]] = []
    for right in sorted(n.right for n in body):
        if groups and right - groups[-1][-1] < 3:
            groups[-1].append(right)
        else:
            groups.append([right])
    shared = [g for g in groups if len(g) >= 3]
    return [max(g) for g in shared] if sum(map(len, shared)) >= 0.4 * len(body) else []


def gap_of(body: Sequence[Line]) -> float:
    """The median gap between a line and the one below it."""
    gaps = [a.bottom - b.top for a, b in pairwise(body) if b.top < a.top and b.left < a.right]
    return median(gaps) if gaps else 0.0


def edge_of(body: Sequence[Line], i: int) -> float:
    """Where the column of a line ends."""
    sides = (body[max(i - 8, 0) : i], body[i + 1 : i + 9])
    rights = [sorted(n.right for n in side if abs(n.left - body[i].left) < 3 * body[i].size) for side in sides]
    ends = [r[len(r) * 3 // 4] for r in rights if r]
    return max(min(ends), body[i].right) if ends else body[i].right


def is_short(line: Line, above: tuple[Line, bool] | None, margins: Sequence[float]) -> bool:
    """Whether a line ends by itself, as rows of tables do."""
    edge = next((e for e in margins if e >= line.right - 3), line.right)
    if spread(line) > 0.62 or edge - line.right > 1.5 * line.size:
        return True
    if above is None or not above[1] or spread(line) < 0.85 * 0.62:
        return False
    return abs(above[0].left - line.left) < 3 and abs(above[0].right - line.right) < 3


def plain(pages: Sequence[Sequence[Line]]) -> list[str]:
    """What stands before every line of a document."""
    found: list[str] = []
    last: tuple[Line, float, bool] | None = None
    for body in pages:
        for i, line in enumerate(body):
            what = ""
            if last is not None:
                above, edge, short = last
                what = apart(above, line, (gap_of(body), edge, short), is_first=i == 0)
            found.append(what)
            last = line, edge_of(body, i), is_short(line, (last[0], last[2]) if last else None, margins_of(body))
    return found


@st.composite
def pages(draw: st.DrawFn) -> list[list[Line]]:
    """Pages of lines that stand in columns, mostly, as text does."""
    found: list[list[Line]] = []
    for _ in range(draw(st.integers(1, 3))):
        body, y = [], 780.0
        for _ in range(draw(st.integers(0, 12))):
            size = draw(st.sampled_from((10.0, 10.0, 10.0, 8.0, 12.0)))
            y = draw(st.sampled_from((y - 12.0, y - 12.0, y - 12.0, y - 24.0, y, 780.0)))
            left = draw(st.sampled_from((50.0, 50.0, 50.0, 62.0, 300.0)))
            right = left + draw(st.sampled_from((240.0, 240.0, 238.0, 228.0, 100.0, 20.0)))
            kind = draw(st.sampled_from(("text",) * 9 + ("row", "verbatim", "title")))
            body.append(Line(draw(TEXTS), left, y - size, right, y, size, kind))
        found.append(body)
    return found


@settings(deadline=None, max_examples=300)
@given(pages())
def test_the_rules_are_the_same_compiled(found: list[list[Line]]) -> None:
    """What stands between lines is what the rules say of each pair; gaps and margins are those of the standard library."""
    lines = Lines.of([line for body in found for line in body])
    starts = np.cumsum([0, *map(len, found)])
    what = between(lines, seen(lines), np.ones(len(lines), np.bool_), starts)
    assert [BETWEEN[sign] for sign in what] == plain(found)
    for body in found:
        boxes = np.array([n[1:6] for n in body], dtype=float).reshape(len(body), 5)
        assert usual_gap(boxes) == pytest.approx(gap_of(body))
        assert right_margins(boxes).tolist() == margins_of(body)


def test_lines_that_are_not_shown_stand_between_nothing() -> None:
    """A line without text is passed over: the next one follows the one before it."""
    words = "the words of a line that is as long as others are"
    rows = [(f"A {words}", 700), ("\x00" * 40, 688), (words, 688), (words, 676)]
    lines = Lines.of([Line(text, 50, y - 10, 290, y, 10) for text, y in rows])
    shown = np.array([True, False, True, True])
    assert [BETWEEN[sign] for sign in between(lines, seen(lines), shown, np.array([0, 4]))] == ["", "", " ", " "]
