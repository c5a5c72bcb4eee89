"""Markdown from places: reading order, headings, tables, on typeset pages whose structure is known."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.base import PACKAGE_ROOT
from stages.parse import pdf
from stages.parse.layout import document_text
from stages.parse.lines import Line
from stages.parse.parsers import Options, cost, parser
from stages.parse.reading_order import backward_share, in_order
from stages.parse.score.markup import plain
from stages.parse.score.tables import tables, teds_of_texts
from stages.parse.score.words import nid
from stages.parse.structure import Cell, Row, columns, table
from stages.parse.train import wear
from tests.stages.parse.conftest import WORDS, rewritten, run_parse, source, typeset

GOLD = PACKAGE_ROOT.parent / "shared" / "data" / "pdf-gold"
TABLE = [
    ["Metal", "k (W/m K)", "Note"],
    ["copper", "401", "annealed"],
    ["iron", "80.4", ""],
    ["lead", "35.3", "soft, pure"],
]


def markdown(tmp_path: Path, data: bytes, index: int = 0) -> str:
    """A page as Markdown."""
    (tmp_path / "a.pdf").write_bytes(data)
    page = parser("layout", Options()).read(str(tmp_path / "a.pdf"), index)
    assert (page.parser, page.number) == ("layout", index + 1)
    return document_text([page])[0]


def as_typst(rows: list[list[str]], stroke: str = "none") -> str:
    """A table's markup."""
    cells = ", ".join(f"[{cell}]" for row in rows for cell in row)
    return f"#table(columns: {len(rows[0])}, stroke: {stroke}, {cells})\n"


@pytest.mark.parametrize("stroke", ["none", "0.4pt"])
def test_a_table_is_a_table(tmp_path: Path, stroke: str) -> None:
    """A table between paragraphs comes out cell for cell, empty cells too, and the paragraphs are no part of it."""
    text = markdown(tmp_path, typeset(f"{WORDS}\n\nTable 1. Metals.\n\n{as_typst(TABLE, stroke)}\n{WORDS}"))
    assert tables(text) == [TABLE]
    assert text.count(WORDS.strip()[:60]) == 2


def test_headings_have_levels(tmp_path: Path) -> None:
    """A title, a section and a bold line of its own are headings of three levels; bold words in a paragraph are none."""
    markup = f'#text(18pt)[A study of heat in metals]\n\n#text(12.5pt)[2 Methods]\n\nWe *carefully* read. {WORDS}\n\n#text(weight: "bold")[Samples]\n\n{WORDS}'
    text = markdown(tmp_path, typeset(markup))
    assert [n for n in text.split("\n\n") if n.startswith("#")] == [
        "# A study of heat in metals", "## 2 Methods", "### Samples",
    ]  # fmt: skip


def test_a_heading_of_two_lines_is_one(tmp_path: Path) -> None:
    """A long title that goes over two lines is one heading."""
    title = "On the conduction of heat by the free electrons of annealed copper"
    assert markdown(tmp_path, typeset(f"#text(20pt)[{title}]\n\n{WORDS}")).startswith(f"# {title}\n\n")


@pytest.mark.parametrize("num_columns", [1, 2, 3])
def test_jumbled_lines_are_read_in_order(tmp_path: Path, num_columns: int) -> None:
    """A layer that was written row by row across the columns is put in the order in which the page is read."""
    words = " ".join(f"{number} {WORDS[:90]}" for number in range(12))
    body = f"#set text(7pt, hyphenate: false)\n#box(height: {13 + 36 / num_columns}mm, columns({num_columns}, gutter: 6mm)[{words}])"
    page = typeset(f"#text(14pt)[Jumbled]\n\n{body}")
    lines = wear._lines(page)
    by_row = sorted(lines, key=lambda n: (-round(n.bottom / 4), n.left))
    jumbled = wear._pictured(page, random.Random(0), by_row)
    assert nid(f"Jumbled {words}", plain(markdown(tmp_path, jumbled))) > 0.97


places = st.tuples(st.floats(0, 500), st.floats(0, 700), st.floats(1, 500), st.floats(4, 20))


@given(st.lists(places, max_size=40))
def test_order_loses_nothing(boxes: list[tuple[float, float, float, float]]) -> None:
    """Whatever the boxes are, every one is there once, and an order that was found is found again."""
    lines = [Line(str(i), x, y, x + w, y + h, h) for i, (x, y, w, h) in enumerate(boxes)]
    ordered = in_order(lines)
    assert sorted(ordered) == sorted(lines)
    assert 0 <= backward_share(ordered) <= 1


def test_columns_come_from_the_fuller_rows() -> None:
    """A head over two columns makes no one column of them; a cell goes to the column that it covers most of."""
    cells = [
        [("over both", 100, 170)],
        [("a", 0, 20), ("b", 100, 120), ("c", 160, 185)],
        [("d", 0, 9), ("e|f", 101, 110)],
    ]
    rows = [Row((Line("x", 0, 0, 1, 1, 1),), tuple(Cell(t, x, y) for t, x, y in row)) for row in cells]
    assert columns(rows) == [(0, 20), (100, 120), (160, 185)]
    assert [n.text for n in table(rows)] == ["|  | over both |  |\n|---|---|---|", "| a | b | c |", "| d | e\\|f |  |"]


def test_pages_without_structure(tmp_path: Path) -> None:
    """An empty page gives nothing, plain text comes out as the free pass has it, and what it costs is next to nothing."""
    assert markdown(tmp_path, typeset("#v(1em)")) == ""
    text = markdown(tmp_path, typeset(WORDS * 3))
    document = pdf.open_pdf(str(tmp_path / "a.pdf"))
    assert text == document_text([pdf.read_page(document, 0)])[0]
    assert cost("layout") == "text"


def test_a_run_that_writes_markdown(tmp_path: Path) -> None:
    """With `markdown`, text layers have headings and tables, spans say so, and running heads still go."""
    body = f"#set page(header: [Journal of Tests])\n#text(18pt)[Heat in metals]\n\n{WORDS}\n{as_typst(TABLE)}"
    (tmp_path / "a.pdf").write_bytes(typeset(f"{body}\n#pagebreak()\n{WORDS}\n#pagebreak()\n{WORDS}"))
    found = run_parse(tmp_path, [source(tmp_path / "a.pdf")], markdown=True).by_name["a.pdf"]
    assert found["text"].startswith("# Heat in metals\n\n")
    assert tables(found["text"]) == [TABLE]
    assert {s["parser"] for s in found["pages"]} == {"layout"}
    assert "Journal" not in found["text"]
    assert found["title"] == "Heat in metals"


def test_a_turned_page(tmp_path: Path) -> None:
    """A table on a page that is shown turned is the same table."""
    turned = rewritten(typeset(as_typst(TABLE) + WORDS), lambda opened: opened.pages[0].rotate(90, relative=True))
    assert tables(markdown(tmp_path, turned)) == [TABLE]


@pytest.mark.skipif(not GOLD.is_dir(), reason="the labelled PDFs are not beside the checkout")
def test_a_table_of_a_real_paper() -> None:
    """A table of a real paper in two columns comes out as in the publisher's XML, four fifths of its tree."""
    page = parser("layout", Options()).read(str(GOLD / "pmc" / "pmc4945999.pdf"), 2)
    truth = (GOLD / "pmc" / "pmc4945999.gold.md").read_text()
    first = truth[truth.index("| Concentration") :].split("\n\n")[0]
    found = document_text([page])[0]
    at = found.index("| Concentration")
    score = teds_of_texts(first, found[at:].split("\n\n")[0])
    assert score is not None
    assert score > 0.8
