"""Characters, cut words, paragraphs and spans."""

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.parse.characters import LIGATURES, MATHS, PRIVATE, TABLE, clean
from stages.parse.heads import without_heads
from stages.parse.hyphens import Joiner
from stages.parse.layout import document_text, heading
from stages.parse.lines import LINE_HYPHEN, Line, Lines, Page, lost
from stages.parse.rows import rows


def lines(*texts: str, top: float = 700.0, left: float = 50.0, right: float = 68.0) -> list[Line]:
    """Full lines of 10 points, 12 points apart, in a column so narrow that no line looks like spread-out cells."""
    return [Line(t, left, top - 12 * i - 10, right, top - 12 * i, 10) for i, t in enumerate(texts)]


def page(number: int, *items: Line) -> Page:
    """A page of 800 points with lines."""
    return Page(number, 600, 800, tuple(items))


def parts_of(pages: Sequence[Page]) -> list[Lines]:
    """The lines of every page by columns."""
    return [Lines.of(page.lines) for page in pages]


def rowed(items: Sequence[Line]) -> list[str]:
    """Lines put together by rows."""
    return rows([Lines.of(items)], np.ones(len(items), np.bool_))[0].texts()


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


ODD = [
    "a",
    " ",
    "  ",
    "\n",
    "é",
    "ﬁ",
    "\xa0",
    "\u200b",
    "\u2009",
    "𝛼",
    "\ue123",
    "\uf06d",
    "\ufffd",
    "\ufffe",
    "\ud800",
    "\x00",
]


@settings(deadline=None)
@given(st.one_of(st.text(max_size=20), st.lists(st.sampled_from(ODD), max_size=20).map("".join)))
def test_text_is_cleaned_as_by_a_table(text: str) -> None:
    """What is replaced, taken out and made one space is what one pass with a table and two patterns would do."""
    assert clean(text) == re.sub(" {2,}", " ", PRIVATE.sub("", text.translate(TABLE))).strip()


CUT_WORDS = ["a", "b-", "é", "\ufffe", "\xad", " ", "1", "_", "ab", "-", "B", "ﬁ"]


@settings(deadline=None)
@given(st.lists(st.sampled_from(CUT_WORDS), max_size=12).map("".join), st.sampled_from(["", "a-ab b-ab aab", "a-é"]))
def test_cut_words_are_found_as_by_one_pattern(text: str, elsewhere: str) -> None:
    """Heads and tails of cut words are what one pattern for a whole cut word finds, from left to right."""
    joiner = Joiner(f"{text}\n{elsewhere}")
    cut = re.compile("([^\\W_]*)[\ufffe\xad]\\s*([^\\W_]*)")
    assert joiner.inside(text) == cut.sub(lambda m: joiner.word(m[1], m[2]), text)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "é", "-", " ", "A", "ab", "\u0130"]), max_size=30).map("".join))
def test_a_compound_is_one_where_it_is_counted(text: str) -> None:
    """A hyphen stays where the document has the compound oftener than the joined word, however few letters stand at it."""
    for head, tail in (("a", "b"), ("ab", "ab"), ("é", "ab"), ("Aab", "a")):
        compound, joined = (Joiner(text).count(f"{head}{sign}{tail}".lower()) for sign in ("-", ""))
        assert ("-" in Joiner(text).word(head, tail)) == (compound > joined)


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
    assert rowed(cells) == ["Ag 429"]
    superscript = [Line("10", 50, 700, 60, 710, 10), Line("-4", 60.5, 704, 68, 711, 7), Line("m", 69, 700, 80, 710, 10)]
    assert rowed(superscript) == ["10-4m"]


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
    all_lines = [line for page in pages for line in page.lines]
    kept = "".join(
        n.text for n, is_kept in zip(all_lines, without_heads(pages, parts_of(pages)), strict=True) if is_kept
    )
    assert [c for c in text if c.isalnum()] == [c for c in kept if c.isalnum()]
