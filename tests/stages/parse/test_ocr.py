"""OCR by real engines, and reading order."""

import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.parse import pdf
from stages.parse.lines import Line
from stages.parse.ocr import Tesseract, _tesseract_lines, even, find_gutter, in_reading_order
from stages.parse.parsers import Options, parser
from tests.stages.parse.conftest import WORDS, scan, typeset

Name = Literal["rapidocr", "tesseract"]


def box(text: str, left: float, top: float, width: float = 200.0) -> Line:
    """A line of 10 points."""
    return Line(text, left, top - 10, left + width, top, 10)


def column(prefix: str, left: float, top: float = 600.0, count: int = 8) -> list[Line]:
    """Lines below each other."""
    return [box(f"{prefix}{i}", left, top - 12 * i) for i in range(count)]


def order(lines: list[Line]) -> list[str]:
    """Texts in reading order."""
    return [line.text for line in in_reading_order(lines)]


def test_two_columns_below_a_title() -> None:
    """A title across comes first, then the left column, the right one, and what is across below them."""
    title, foot = box("title", 50, 700, 430), box("foot", 50, 300, 430)
    left, right = column("l", 50), column("r", 280)
    shuffled = [foot, *right[::-1], title, *left[::2], *left[1::2]]
    assert order(shuffled) == ["title", *(n.text for n in left), *(n.text for n in right), "foot"]


def test_one_column_is_read_by_rows() -> None:
    """Without a gutter, boxes side by side are one row, from left to right, however uneven their tops."""
    lines = [box(f"w{i}", 50, 700 - 12 * i, 400) for i in range(12)]
    lines[3:4] = [box("b", 160, 665.5, 100), box("a", 50, 663, 100)]
    assert find_gutter(lines) is None
    assert order(lines[::-1]) == [*(f"w{i}" for i in range(3)), "a", "b", *(f"w{i}" for i in range(4, 12))]


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(0, 700), st.floats(1, 500)), max_size=40))
def test_order_loses_nothing(places: list[tuple[float, float, float]]) -> None:
    """Whatever the boxes are, every one is there once."""
    lines = [box(str(i), left, top, width) for i, (left, top, width) in enumerate(places)]
    assert Counter(order(lines)) == Counter(n.text for n in lines)


def test_sizes_are_evened_out() -> None:
    """Boxes that differ only by which letters reach up or down get one size; headings keep theirs."""
    sizes = [8.0, 10.0, 11.0, 12.0, 9.0, 10.0, 18.0]
    assert [n.size for n in even([Line("x", 0, 0, 1, s, s) for s in sizes])] == [10.0] * 6 + [18.0]
    assert even([]) == []


def read(tmp_path: Path, data: bytes, name: Name) -> str:
    """The first page, read from its picture."""
    path = tmp_path / "a.pdf"
    path.write_bytes(data)
    page = parser(name, Options()).read(str(path), 0)
    assert (page.number, page.parser, page.origin) == (1, name, "ocr")
    return " ".join(line.text for line in page.lines)


@pytest.mark.parametrize("name", ["rapidocr", "tesseract"])
def test_an_engine_reads_two_columns(tmp_path: Path, name: Name) -> None:
    """A scanned page in two columns is read in order, 95 of 100 words right."""
    if name == "tesseract" and shutil.which("tesseract") is None:
        pytest.skip("tesseract is not on the PATH")
    page = scan(typeset(f"#set text(hyphenate: false)\n#box(height: 40mm, columns(2)[{WORDS}])"))
    words, expected = read(tmp_path, page, name).split(), WORDS.split()
    assert sum((Counter(words) & Counter(expected)).values()) > 0.95 * len(expected)
    pairs = Counter(pairwise(words)) & Counter(pairwise(expected))
    assert sum(pairs.values()) > 0.85 * len(expected)


@pytest.mark.parametrize("name", ["rapidocr", "tesseract"])
def test_an_empty_page_gives_nothing(tmp_path: Path, name: Name) -> None:
    """A white page has no lines, and is no error."""
    if name == "tesseract" and shutil.which("tesseract") is None:
        pytest.skip("tesseract is not on the PATH")
    assert read(tmp_path, scan(typeset("#v(1em)")), name) == ""


def test_a_huge_page_is_rendered_small(tmp_path: Path) -> None:
    """A page as large as a poster is rendered with no more pixels than memory has room for."""
    path = tmp_path / "a.pdf"
    path.write_bytes(typeset("#set page(width: 5000mm, height: 5000mm)\nA poster."))
    pixels, scale, size = pdf.render(pdf.open_pdf(str(path)), 0, 200)
    assert pixels.size <= 1.01 * pdf.MAX_PIXELS
    assert scale == pytest.approx(pixels.shape[0] / size[1], rel=1e-3)


RECORDED = """\
level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext
1\t1\t0\t0\t0\t0\t0\t0\t1165\t1653\t-1\t
2\t1\t1\t0\t0\t0\t118\t118\t927\t82\t-1\t
4\t1\t1\t1\t1\t0\t118\t118\t927\t26\t-1\t
5\t1\t1\t1\t1\t1\t118\t119\t46\t20\t96.5\tThe
5\t1\t1\t1\t1\t2\t176\t118\t93\t21\t96.4\t"heat"
4\t1\t1\t1\t2\t0\t118\t156\t200\t20\t-1\t
5\t1\t1\t1\t2\t1\t118\t156\t80\t20\t95.0\tof
5\t1\t1\t1\t2\t2\t210\t158\t100\t22\t95.0\tmetals.
5\t1\t2\t1\t1\t1\t118\t300\t80\t20\t95.0\t
"""


def test_tesseracts_table_is_read() -> None:
    """Words of Tesseract's table are put together to lines, with their boxes in points from the lower left corner."""
    lines = _tesseract_lines(RECORDED, 2.0, 800.0)
    assert [line.text for line in lines] == ['The "heat"', "of metals."]
    assert lines[0][1:6] == (59.0, 800 - 139 / 2, 269 / 2, 800 - 59.0, 21 / 2)
    assert lines[1].right == (210 + 100) / 2
    assert lines[1].bottom == 800 - 180 / 2


def test_a_failing_tesseract_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Tesseract that fails is an error with its own words, not an empty page."""
    program = tmp_path / "tesseract"
    program.write_text("#!/bin/sh\ncat > /dev/null\necho no such language >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    path = tmp_path / "a.pdf"
    path.write_bytes(typeset("Words."))
    pixels, scale, (_, height) = pdf.render(pdf.open_pdf(str(path)), 0, 72)
    with pytest.raises(RuntimeError, match="no such language"):
        Tesseract("xyz").read(pixels, scale, height)
