"""Characters, cut words, paragraphs and spans."""

import re
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.parse.characters import LIGATURES, MATHS, clean
from stages.parse.hyphens import Joiner
from stages.parse.layout import document_text, heading, rows, without_heads
from stages.parse.lines import LINE_HYPHEN, Line, Page, lost


def lines(*texts: str, top: float = 700.0, left: float = 50.0, right: float = 68.0) -> list[Line]:
    """Full lines of 10 points, 12 points apart, in a column so narrow that no line looks like spread-out cells."""
    return [Line(t, left, top - 12 * i - 10, right, top - 12 * i, 10) for i, t in enumerate(texts)]


def page(number: int, *items: Line) -> Page:
    """A page of 800 points with lines."""
    return Page(number, 600, 800, tuple(items))


def text_of(*items: Line) -> str:
    """The text of one page."""
    return document_text([page(1, *items)])[0]


def test_ligatures_and_formula_letters_are_what_unicode_says() -> None:
    """The characters that are opened are those that Unicode's compatibility form opens, to the same letters."""
    for code, letters in {**LIGATURES, **MATHS}.items():
        folded = unicodedata.normalize("NFKC", chr(code))
        assert letters == folded.replace("ſt", "st")
    assert clean("ﬁne e\ufb03cient 𝑛𝜆 x² ½") == "fine efficient nλ x² ½"


def test_control_and_private_characters_go() -> None:
    """Control, zero-width, private and unassigned characters go, spaces become plain, the Symbol font's Greek is read."""
    assert clean("a\x00b\x1f\u200bc\ufeff\ue123d\u00a0\u2009e\ufffd\ufffe") == "abcd e"
    assert clean("5 \uf06dm \uf0b1 1") == "5 μm ± 1"


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "é", "-", " ", "1", "_", "²"]), max_size=40).map("".join))
def test_words_are_counted_whole(text: str) -> None:
    """A word is counted as often as a list of all words has it, words with hyphens in between being one."""
    words = re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", text)
    for word in ("a", "ab", "a-b", "aa", "b-é-a"):
        assert Joiner(text).count(word) == words.count(word)


@pytest.mark.parametrize(
    ("document", "head", "tail", "expected"),
    [
        ("", "conduc", "tivity", "conductivity"),
        ("well-known and well-known", "well", "known", "well-known"),
        ("wellknown wellknown well-known", "well", "known", "wellknown"),
        ("", "Kelvin", "Planck", "Kelvin-Planck"),
        ("", "CO2", "rich", "CO2-rich"),
    ],
)
def test_cut_words_follow_the_document(document: str, head: str, tail: str, expected: str) -> None:
    """A word cut at a line's end is joined as the document writes it elsewhere; names and formulas keep the hyphen."""
    assert Joiner(document).word(head, tail) == expected
    assert Joiner(document).inside(f"a {head}{LINE_HYPHEN}{tail} b") == f"a {expected} b"
    above = lines(document, top=780) if document else []
    assert text_of(*above, *lines(f"a {head}-", f"{tail} b", top=600)).split("\n\n")[-1] == f"a {expected} b"


def test_lines_become_paragraphs() -> None:
    """Lines of a paragraph are joined; an indent after a full stop, a gap, a short line and a larger font end it."""
    first = lines("one two three four", "five six seven.")
    indented = [line._replace(left=62.0) for line in lines("Eight nine ten", top=676)]
    assert text_of(*first, *indented, *lines("eleven.", top=664)) == (
        "one two three four five six seven.\n\nEight nine ten eleven."
    )
    assert text_of(*lines("one", "two", "three"), *lines("four", "five", top=640)) == "one two three\n\nfour five"
    short = lines("one two", "three.", "Four five", "six")
    short[1] = short[1]._replace(right=57.0)
    assert text_of(*short) == "one two three.\n\nFour five six"
    title = Line("Title", 50, 700, 68, 716, 16)
    assert text_of(title, *lines("one", "two", top=696)) == "Title\n\none two"


def test_columns_and_pages_go_on_in_the_middle_of_a_sentence() -> None:
    """A sentence goes on over the end of a column or a page; a finished one does not pull the next into its paragraph."""
    left, right = lines("one two", "three four", top=300), lines("five six.", left=320, right=338)
    assert text_of(*left, *right) == "one two three four five six."
    ended = [*left[:1], left[1]._replace(text="three.")]
    assert text_of(*ended, *right) == "one two three.\n\nfive six."
    text, spans = document_text([page(1, *lines("a long sen-")), page(2, *lines("tence ends."))])
    assert text == "a long sentence ends."
    assert [(text[s.start : s.end]) for s in spans] == ["a long sen", "tence ends."]


def test_rows_of_a_table_stay_apart() -> None:
    """Lines whose words are spread out as cells keep a line each, and so do the parts of a row that are separate lines."""
    body = lines(
        "full line of the text here to fill the width of it", "and another one to fill the width of the column it has."
    )
    cells = [Line("Ag", 50, 660, 62, 670, 10), Line("429", 280, 660, 300, 670, 10)]
    more = [Line("Cu 401", 50, 648, 300, 658, 10)]
    assert text_of(*body, *cells, *more).split("\n")[-2:] == ["Ag 429", "Cu 401"]
    assert [line.text for line in rows(cells)] == ["Ag 429"]
    superscript = [Line("10", 50, 700, 60, 710, 10), Line("-4", 60.5, 704, 68, 711, 7), Line("m", 69, 700, 80, 710, 10)]
    assert [line.text for line in rows(superscript)] == ["10-4m"]


def head_and_foot(number: int) -> list[Line]:
    """What every page of a journal has at its edges."""
    return [
        Line(f"Journal of Heat 12 (2024) {number}", 50, 770, 300, 780, 10),
        Line(str(number), 290, 20, 300, 30, 10),
    ]


def test_running_heads_go() -> None:
    """Lines at the edges that repeat, numbers aside, go on every page; what repeats in the middle stays."""
    pages = [page(n, *head_and_foot(n), *lines("Results", f"of part {n}.")) for n in (1, 2, 3)]
    kept = without_heads(pages)
    assert [[line.text for line in body] for body in kept] == [["Results", f"of part {n}."] for n in (1, 2, 3)]


def test_what_repeats_beside_the_body_stays() -> None:
    """A line at the edge that the body's lines follow closely is body, even if other pages begin with the same."""
    pages = [page(n, *lines("Table, continued:", f"row {n}", f"more of row {n}", top=780)) for n in (1, 2, 3)]
    assert without_heads(pages) == [list(p.lines) for p in pages]


def test_a_title_at_the_top_stays_and_its_repetition_goes() -> None:
    """The title stays on the first page, even at the edge; a head of the next page that repeats it goes."""
    title = Line("On the heat of metals", 50, 760, 300, 776, 16)
    second = Line("12   On the heat of metals", 50, 770, 300, 780, 10)
    kept = without_heads([page(1, title, *lines("one", "two")), page(2, second, *lines("three"))])
    assert [line.text for line in kept[0]] == ["On the heat of metals", "one", "two"]
    assert [line.text for line in kept[1]] == ["three"]


def test_the_heading_is_a_title() -> None:
    """The largest lines of the first page are a title, if they are larger than the rest."""
    title = [Line("On the heat", 50, 700, 300, 716, 16), Line("of metals", 50, 680, 300, 696, 16)]
    assert heading([page(1, *title, *lines("one two", "three four", "five six", top=650))]) == "On the heat of metals"
    assert heading([page(1, *lines("one two", "three four", "five six"))]) is None
    assert heading([]) is None


texts = st.text(st.sampled_from("abcdef ABC.-1" + LINE_HYPHEN), min_size=1, max_size=12).filter(str.strip)
boxes = st.tuples(st.integers(40, 320), st.integers(20, 780), st.integers(10, 260), st.sampled_from([8, 10, 14]))


@st.composite
def some_pages(draw: st.DrawFn) -> list[Page]:
    """Pages with lines anywhere, and some without any."""
    pages = []
    for number in range(1, draw(st.integers(1, 5)) + 1):
        items = draw(st.lists(st.tuples(texts, boxes), max_size=6))
        made = [Line(t.strip(), x, y, x + w, y + s, s) for t, (x, y, w, s) in items]
        pages.append(page(number, *made) if draw(st.booleans()) else lost(number, "time limit"))
    return pages


@settings(deadline=None)
@given(some_pages())
def test_spans_cover_the_text(pages: list[Page]) -> None:
    """Whatever is on the pages, there is a span for each, in order, without gaps or overlaps, from the first to the last."""
    text, spans = document_text(pages)
    assert [s.page for s in spans] == [p.number for p in pages]
    assert spans[0].start == 0
    assert spans[-1].end == len(text)
    assert all(a.end == b.start and a.start <= a.end for a, b in pairwise(spans))
    assert not any(c in text for c in "\ufffe\r\x00")


@settings(deadline=None)
@given(some_pages())
def test_no_letter_is_lost_or_made(pages: list[Page]) -> None:
    """The letters and digits of the text are those of the lines that are no heads, in order."""
    text, _ = document_text(pages)
    kept = "".join(line.text for body in without_heads(pages) for line in body)
    assert [c for c in text if c.isalnum()] == [c for c in kept if c.isalnum()]
