import re
from dataclasses import replace
from typing import get_args

import pypdfium2
import pytest

from examples.document import Article, Heading, Layout, Paragraph, Table, plain_text
from examples.facts import catalogue
from examples.prose import compose
from examples.typeset import LAYOUTS, STYLES, pdf_of, source
from tests.examples.measures import pdf_text, recall

SUBJECTS = catalogue(42, 4)


def article(index: int) -> Article:
    """A full article."""
    return compose(SUBJECTS[index], [SUBJECTS[index - 14], SUBJECTS[index - 1]], 4, "CC0-1.0")


def test_all_layouts_have_a_style() -> None:
    """Every layout must have a style, and one and two columns must both occur."""
    assert set(LAYOUTS) == set(get_args(Layout)) == set(STYLES)
    assert {style.columns for style in STYLES.values()} == {1, 2}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_text_layer_is_the_truth(layout: Layout) -> None:
    """PDFium must find 97 % of the true words in a typeset page, whatever the layout."""
    for index in range(20, 34):  # one of each kind, so every equation too
        written = article(index)
        assert recall(plain_text(written), pdf_text(pdf_of(written, layout))) >= 0.97, written.stem


@pytest.mark.parametrize("layout", LAYOUTS)
def test_same_article_same_bytes(layout: Layout) -> None:
    """Typesetting twice must give the same bytes: no clock, no random identifier."""
    assert pdf_of(article(15), layout) == pdf_of(article(15), layout)


def test_reading_order_in_two_columns() -> None:
    """The headings must come out in their order: the second column after the first."""
    written = article(16)
    text = " ".join(pdf_text(pdf_of(written, "two-column")).split())
    places = [text.index(b.text) for b in written.body if isinstance(b, Heading) and len(b.text) < 30]
    assert places == sorted(places)


def test_two_columns_are_columns() -> None:
    """In two columns text must start at two places across the page; in one column at one."""
    layouts: tuple[tuple[Layout, int], ...] = (("two-column", 2), ("one-column", 1))
    for layout, columns in layouts:
        with pypdfium2.PdfDocument(pdf_of(article(17), layout)) as document:
            page = document[0]
            lines = page.get_textpage()
            boxes = [lines.get_rect(i) for i in range(lines.count_rects())]
            right_half = [b for b in boxes if b[0] > page.get_width() * 0.5 and b[2] - b[0] > page.get_width() * 0.3]
            assert bool(right_half) == (columns == 2)


def test_pages_have_numbers_and_running_heads() -> None:
    """Each page must have its number and the count, the second also the title."""
    written = article(18)
    with pypdfium2.PdfDocument(pdf_of(written, "one-column")) as document:
        pages = [page.get_textpage().get_text_range() for page in document]
    assert len(pages) >= 2
    for number, text in enumerate(pages, 1):
        assert f"Page {number} / {len(pages)}" in text
    assert written.title in " ".join(pages[1].split())


def test_lines_are_hyphenated() -> None:
    """In narrow columns some words must be broken, as in real papers."""
    with pypdfium2.PdfDocument(pdf_of(article(19), "two-column")) as document:
        text = "".join(page.get_textpage().get_text_range() for page in document)
    assert "\ufffe" in text


def test_markup_in_a_text_is_only_text() -> None:
    """Characters that mean something to typst must come out as they are."""
    nasty = 'A #b *c* _d_ $e$ [f] "g" \\h <i> @j ~k `l` {m} / // /* n'
    written = replace(
        article(20), title=nasty, body=(Paragraph((nasty,)), Table(1, nasty, (nasty, "x"), (("1", nasty),)))
    )
    text = " ".join(pdf_text(pdf_of(written, "one-column")).split())
    assert text.count(nasty) >= 4


def test_units_stay_on_one_line() -> None:
    """No line may end inside of a unit like g/cm³, which readers of text would take for two words."""
    for index in range(20, 30):
        with pypdfium2.PdfDocument(pdf_of(article(index), "two-column")) as document:
            text = "".join(page.get_textpage().get_text_range() for page in document)
        body = re.sub(r"Page \d+ /.*", "", text)
        assert not re.search(r"(?:g|kg|mmol|µmol|kJ)/\s*[\r\n]", body)


def test_the_source_has_every_block() -> None:
    """An article's typst source must have each heading and caption as a string."""
    written = article(21)
    text = source(written, "journal")
    assert all(f'"{b.number}  {b.text}"' in text for b in written.body if isinstance(b, Heading))
    assert all(f'"{b.caption}"' in text for b in written.body if isinstance(b, Table))
