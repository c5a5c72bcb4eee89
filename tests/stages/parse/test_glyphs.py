"""Lines and their places, against what pypdfium2 says of one character after the other."""

import math
from pathlib import Path
from statistics import median

import numpy as np
import pypdfium2 as pdfium
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdfium2 import raw

from stages.parse.flow import column_edges
from stages.parse.glyphs import Turn, drawing, read_layer
from stages.parse.kernel import _characters, _turn
from stages.parse.lines import LINE_HYPHEN
from tests.stages.parse.conftest import WORDS, typeset

MARKUP = f"#text(8pt)[{WORDS}]\n\nA#super[2] x#sub[i] $integral$ *{WORDS}*\n\n= _{WORDS}_"


@pytest.fixture(scope="module")
def text_page(tmp_path_factory: pytest.TempPathFactory) -> pdfium.PdfTextPage:
    """A page with sizes, weights and raised letters."""
    path: Path = tmp_path_factory.mktemp("glyphs") / "a.pdf"
    path.write_bytes(typeset(MARKUP, columns=2))
    return pdfium.PdfDocument(path)[0].get_textpage()


def size(text_page: pdfium.PdfTextPage, index: int) -> float:
    """The height of a character's em on the page."""
    matrix = raw.FS_MATRIX()
    raw.FPDFText_GetMatrix(text_page, index, matrix)
    return float(raw.FPDFText_GetFontSize(text_page, index)) * math.hypot(matrix.c, matrix.d)


def test_lines_lie_where_their_characters_do(text_page: pdfium.PdfTextPage) -> None:
    """A line's edges are those of its first, middle and last characters' boxes, its size the median of theirs."""
    lines = read_layer(text_page.raw, Turn(0, 400, 600))
    text = lines.codes.tobytes().decode("utf-32-le")
    assert text.split() == text_page.get_text_range().split()
    at = 0
    for line, place in zip(lines, lines.places.tolist(), strict=True):
        start = text.index(line.text, at)
        at = start + len(line.text)
        sample = (start, (start + at - 1) // 2, at - 1)
        first, middle, last = (text_page.get_charbox(i, loose=True) for i in sample)
        rows = (last[1], first[3]) if LINE_HYPHEN in line.text else (min(first[1], middle[1]), max(first[3], middle[3]))
        assert place == pytest.approx([first[0], rows[0], last[2], rows[1], median(size(text_page, i) for i in sample)])
        assert list(line[1:6]) == place
    assert "".join(text[at:].split()) == ""


@pytest.mark.parametrize(
    ("degrees", "box"),
    [(0, (10, 20, 40, 50)), (90, (20, 260, 50, 290)), (180, (160, 250, 190, 280)), (270, (150, 10, 180, 40))],
)
def test_boxes_turn_with_their_page(degrees: int, box: tuple[float, ...]) -> None:
    """A box is where a page of 200 by 300 points shows it once it is turned clockwise."""
    shown = np.zeros(4)
    _turn(np.array([10, 50, 40, 20], np.float32), (float(degrees), 200.0, 300.0), shown)
    assert tuple(shown.tolist()) == box


def test_a_sample_of_characters(text_page: pdfium.PdfTextPage) -> None:
    """The fonts are those that any character has, or fewer; nothing is hidden, and every character has its map."""
    found = drawing(text_page.raw)
    assert 2 <= found.num_fonts <= 6
    assert (found.hidden_share, found.map_errors) == (0, 0)


def test_codes_become_characters() -> None:
    """Pairs are put together, an unseen character keeping the place; halves, nothing and what is no character are marked."""

    def characters(codes: list[int]) -> str:
        read: bytes = _characters(np.array(codes, np.uint32)).tobytes()
        return read.decode("utf-32-le")

    high, low = 0xD835, 0xDEFC
    assert characters([0x61, high, low, 0x62]) == "a\U0001d6fc\u200bb"
    assert characters([high, high, low, low]) == "\ufffd\U0001d6fc\u200b\ufffd"
    assert characters([0, 2, 0x110000, 0x10FFFF, low]) == f"\ufffd{LINE_HYPHEN}\ufffd\U0010ffff\ufffd"
    assert characters([]) == ""
    assert characters([0x61, 0x0D, 0x0A, 0x0B, 0x2028]) == "a \n\n\n"


def test_an_empty_page(tmp_path: Path) -> None:
    """A page without text has no lines, no fonts and no errors."""
    path = tmp_path / "a.pdf"
    path.write_bytes(typeset("#pagebreak()"))
    empty = pdfium.PdfDocument(path)[0].get_textpage()
    lines = read_layer(empty.raw, Turn(0, 400, 600))
    assert lines == ()
    assert lines.places.shape == (0, 5)
    assert drawing(empty.raw) == (0, 0, 0)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 90), st.sampled_from([8, 10])), min_size=1, max_size=30))
@settings(deadline=None)
def test_where_columns_end(lines: list[tuple[int, int, int]]) -> None:
    """A line's column ends at the third quartile of its eight neighbours that begin near, on the side where it is nearer."""
    for i, edge in enumerate(column_edges(np.array(lines, dtype=float), 8).tolist()):
        left, right, size = lines[i]
        sides = [lines[max(i - 8, 0) : i], lines[i + 1 : i + 9]]
        near = [sorted(r for start, r, _ in side if abs(start - left) < 3 * size) for side in sides]
        assert edge == max(min([n[len(n) * 3 // 4] for n in near if n], default=right), right)
