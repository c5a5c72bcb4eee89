"""Running heads and feet, rows of lines, and lines by columns, against the same rules on one line after the other."""

import pickle
import re
from collections.abc import Sequence
from statistics import median

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.parse.heads import PAGE_NUMBER, key, without_heads
from stages.parse.lines import Line, Lines, Page, verbatim
from stages.parse.rows import rows


def lines(*texts: str, top: float = 700.0) -> list[Line]:
    """Lines of 10 points, 12 points apart."""
    return [Line(t, 50, top - 12 * i - 10, 68, top - 12 * i, 10) for i, t in enumerate(texts)]


def page(number: int, *items: Line) -> Page:
    """A page of 800 points with lines."""
    return Page(number, 600, 800, tuple(items))


def kept_of(pages: Sequence[Page]) -> list[list[str]]:
    """The lines of every page that are no heads."""
    kept = iter(without_heads(pages, [Lines.of(page.lines) for page in pages]).tolist())
    return [[line.text for line in page.lines if next(kept)] for page in pages]


def head_and_foot(number: int) -> list[Line]:
    """What every page of a journal has at its edges."""
    return [
        Line(f"Journal of Heat 12 (2024) {number}", 50, 770, 300, 780, 10),
        Line(str(number), 290, 20, 300, 30, 10),
    ]


def test_running_heads_go() -> None:
    """Lines at the edges that repeat, numbers aside, go on every page; what repeats in the middle stays."""
    pages = [page(n, *head_and_foot(n), *lines("Results", f"of part {n}.")) for n in (1, 2, 3)]
    assert kept_of(pages) == [["Results", f"of part {n}."] for n in (1, 2, 3)]


def test_what_repeats_beside_the_body_stays() -> None:
    """A line at the edge that the body's lines follow closely is body, even if other pages begin with the same."""
    pages = [page(n, *lines("Table, continued:", f"row {n}", f"more of row {n}", top=780)) for n in (1, 2, 3)]
    assert kept_of(pages) == [[line.text for line in p.lines] for p in pages]


def test_a_title_at_the_top_stays_and_its_repetition_goes() -> None:
    """The title stays on the first page, even at the edge; a head of the next page that repeats it goes."""
    title = Line("On the heat of metals", 50, 760, 300, 776, 16)
    second = Line("12   On the heat of metals", 50, 770, 300, 780, 10)
    kept = kept_of([page(1, title, *lines("one", "two")), page(2, second, *lines("three"))])
    assert kept == [["On the heat of metals", "one", "two"], ["three"]]


def test_nothing_has_no_heads() -> None:
    """A document without pages has no lines to keep."""
    assert without_heads([], []).tolist() == []


def plain_key(text: str) -> str:
    """What stays the same of a head."""
    return re.sub(r"[^\w#]+", " ", re.sub(r"\d+", "#", text.lower())).strip()


def plain_heads(pages: Sequence[Page]) -> list[list[str]]:
    """The lines that stay, by the rules as they are said."""
    edges = [
        {n: plain_key(n.text) for n in p.lines if not p.height * 0.1 < (n.bottom + n.top) / 2 < p.height * (1 - 0.1)}
        for p in pages
    ]
    sizes = [n.size for p in pages for n in p.lines]
    top = [k for n in pages[0].lines[:12] if len(k := plain_key(n.text)) >= 12]
    bodies = []
    for p, edge in zip(pages, edges, strict=True):
        heads = set()
        for line, k in edge.items():
            repeats = sum(k in other.values() for other in edges) >= max(2, 0.3 * len(pages))
            title = p is not pages[0] and len(k) >= 12 and any(k in t or t in k for t in top)
            if line.size <= 1.3 * median(sizes) and (repeats or title or PAGE_NUMBER.fullmatch(k)):
                heads.add(line)
        body = [n for n in p.lines if n not in heads]
        gone = {n for n in heads if not any(is_near(n, other, p.height) for other in body)}
        bodies.append([n.text for n in p.lines if n not in gone])
    if sum(len(t) for b in bodies for t in b) >= 0.3 * sum(len(n.text) for p in pages for n in p.lines):
        return bodies
    return [[n.text for n in p.lines if n not in e or e[n].strip("# ")] for p, e in zip(pages, edges, strict=True)]


def is_near(head: Line, other: Line, height: float) -> bool:
    """Whether a line of the body is close to a head, on the side of the page's middle."""
    gap = head.bottom - other.top if head.bottom + head.top > height else other.bottom - head.top
    return -head.size < gap < 0.6 * head.size and other.right >= head.left and other.left <= head.right


TEXTS = st.sampled_from(
    ["Journal of Heat 12", "Journal of Heat 13", "7", "page 3 of 9", "On the heat of metals", "a b", "x"]
)
AT = st.sampled_from([790.0, 780.0, 772.0, 765.0, 400.0, 388.0, 60.0, 40.0, 30.0, 20.0])


@st.composite
def documents(draw: st.DrawFn) -> list[Page]:
    """Pages with lines at their edges and in the middle."""
    pages = []
    for number in range(1, draw(st.integers(1, 5)) + 1):
        found = []
        for _ in range(draw(st.integers(0, 6))):
            top, left, size = draw(AT), draw(st.sampled_from([50.0, 200.0])), draw(st.sampled_from([8.0, 10.0, 14.0]))
            found.append(Line(draw(TEXTS), left, top - size, left + 100, top, size))
        pages.append(page(number, *found))
    return pages


@settings(deadline=None, max_examples=300)
@given(documents())
def test_heads_are_those_of_the_rules(pages: list[Page]) -> None:
    """What is kept by columns and compiled is what the rules keep, line by line; keys are those of two patterns."""
    assert kept_of(pages) == plain_heads(pages)
    assert all(key(n.text) == plain_key(n.text) for p in pages for n in p.lines)


@settings(deadline=None)
@given(st.text(max_size=30))
def test_keys_are_those_of_two_patterns(text: str) -> None:
    """A key is what is left when numbers are one sign and all that is in no word a space."""
    assert key(text) == plain_key(text)


def plain_rows(body: Sequence[Line]) -> list[Line]:
    """Lines with those put together that follow each other on one row."""
    found: list[Line] = []
    for line in body:
        last = found[-1] if found else None
        if last is None or last.kind != "text" or line.kind != "text" or not same_row(last, line):
            found.append(line)
            continue
        space = "" if line.left - last.right < 0.15 * last.size else " "
        low, high = min(last.bottom, line.bottom), max(last.top, line.top)
        found[-1] = Line(last.text + space + line.text, last.left, low, line.right, high, max(last.size, line.size))
    return found


def same_row(first: Line, second: Line) -> bool:
    """Whether a line stands to the right of another one, half as high as the lower of them beside it."""
    overlap = min(first.top, second.top) - max(first.bottom, second.bottom)
    beside = second.left > first.right - 0.5 * min(first.size, second.size)
    return beside and overlap > 0.5 * min(first.top - first.bottom, second.top - second.bottom)


LINES = st.builds(
    lambda text, left, bottom, width, size, kind: Line(text, left, bottom, left + width, bottom + size, size, kind),
    st.text(max_size=5), st.sampled_from([50.0, 60.0, 61.0, 75.0, 300.0]), st.sampled_from([100.0, 103.0, 112.0]),
    st.sampled_from([10.0, 12.0]), st.sampled_from([7.0, 10.0]), st.sampled_from(["text", "text", "text", "row", "title"]),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.lists(st.tuples(LINES, st.booleans()), max_size=8), min_size=1, max_size=4))
def test_rows_are_those_of_the_rules(pages: list[list[tuple[Line, bool]]]) -> None:
    """Rows of the lines that are kept are put together page by page, and pages begin where their first row does."""
    kept = np.array([is_kept for body in pages for _, is_kept in body], dtype=np.bool_)
    found, firsts = rows([Lines.of([line for line, _ in body]) for body in pages], kept)
    expected = [plain_rows([line for line, is_kept in body if is_kept]) for body in pages]
    assert found == [line for body in expected for line in body]
    assert firsts.tolist() == np.cumsum([0, *map(len, expected)]).tolist()
    assert found.text == "\n".join(line.text for line in found)


@settings(deadline=None)
@given(st.lists(LINES, max_size=8))
def test_columns_are_the_lines_they_were_made_of(body: list[Line]) -> None:
    """Lines by columns are equal to the lines, one by one, sliced, hashed and after a way to another process."""
    found = Lines.of(body)
    assert (list(found), len(found), found[1:]) == (body, len(body), tuple(body[1:]))
    assert found == tuple(body)
    assert hash(found) == hash(tuple(body))
    assert [found.text_of(i) for i in range(len(found))] == found.texts() == [line.text for line in body]
    again = pickle.loads(pickle.dumps(found))  # noqa: S301 - made here
    assert again == found
    assert again.codes.tobytes() == found.codes.tobytes()
    assert found != [*body, verbatim("x", 1, 1)]


def test_columns_of_columns_are_the_same_object() -> None:
    """Lines by columns are not made anew."""
    found = Lines.of(lines("a", "b"))
    assert Lines.of(found) is found
