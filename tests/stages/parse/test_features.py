"""What the free pass notices of a page."""

import random
from pathlib import Path

import pikepdf
import pytest

from stages.parse import pdf
from stages.parse.features import Features
from stages.parse.train import typeset, wear
from tests.stages.parse.conftest import WORDS, rewritten, scan, shifted
from tests.stages.parse.conftest import typeset as set_page


def noticed(tmp_path: Path, data: bytes) -> Features:
    """Features of the first page."""
    path = tmp_path / "a.pdf"
    path.write_bytes(data)
    document = pdf.open_pdf(str(path))
    return Features(*pdf.read_page(document, 0).features)


def test_a_typeset_page(tmp_path: Path) -> None:
    """A page of words has its characters, lines, fonts and size, nothing hidden, no image, and letters as English has."""
    markup = f"#text(8pt)[{WORDS}]\n\n*{WORDS}*\n\n_{WORDS}_"
    found = noticed(tmp_path, set_page(markup))
    assert found.num_chars == pytest.approx(3 * len(WORDS.replace(" ", "")), abs=25)  # hyphens come and go
    assert found.num_fonts == 3
    assert found.hidden_share == found.image_share == found.bad_share == found.map_errors == 0
    assert 2 < found.bits < 3.2
    assert found.line_size == pytest.approx(10, abs=0.1)
    assert found.area == pytest.approx(419.5 * 595.3 / 500_000, rel=0.01)
    assert found.word_length == pytest.approx(5.3, abs=0.5)


def test_a_scan(tmp_path: Path) -> None:
    """A scan is one image over the whole page at its resolution, and no text."""
    found = noticed(tmp_path, scan(set_page(WORDS), dpi=150))
    assert found.num_chars == found.num_lines == 0
    assert (found.num_images, found.image_share) == (1, 1)
    assert found.image_dpi == pytest.approx(150, rel=0.02)
    assert found.bits_a_pixel > 0
    assert found.bits == -1


def test_a_hidden_layer(tmp_path: Path) -> None:
    """Text behind a scan is hidden, and its errors show as surprising letters and broken words."""
    data, _ = typeset.page("preprint", "hidden")
    right = noticed(tmp_path, wear._pictured(data, random.Random(1), wear._lines(data)))
    lines = [n._replace(text=wear.misread(n.text, 0.25, random.Random(2))) for n in wear._lines(data)]
    wrong = noticed(tmp_path, wear._pictured(data, random.Random(1), lines))
    assert right.hidden_share == wrong.hidden_share == 1
    assert wrong.bits > right.bits + 0.5
    assert wrong.broken_words > right.broken_words + 0.05


def test_maps_that_lie(tmp_path: Path) -> None:
    """Letters moved on surprise; a page without maps says that it has none."""
    good = set_page(WORDS * 3)
    assert noticed(tmp_path, shifted(good)).bits > 6.6
    lost = noticed(tmp_path, wear._with_maps(good, None, only_one=False))
    assert lost.map_errors > 0.5
    private = noticed(tmp_path, wear._with_maps(good, wear._private, only_one=False))
    assert private.bad_share > 0.9


def test_a_document_says_what_made_it(tmp_path: Path) -> None:
    """A scanner's name in the metadata and a turned page are noticed."""

    def change(opened: pikepdf.Pdf) -> None:
        opened.docinfo["/Producer"] = "ABBYY FineReader 14"
        opened.pages[0].rotate(90, relative=False)

    found = noticed(tmp_path, rewritten(set_page(WORDS), change))
    assert (found.scanner, found.turned) == (1, 1)
    assert noticed(tmp_path, set_page(WORDS)).scanner == 0


def test_two_columns(tmp_path: Path) -> None:
    """Lines of two columns are narrow, and jump back up once a page."""
    one, two = (noticed(tmp_path, set_page(WORDS * 4, columns=n)) for n in (1, 2))
    assert two.two_columns > 0.4 > one.two_columns
    assert 0 < two.backward < 0.1


def test_an_empty_page(tmp_path: Path) -> None:
    """A page with nothing on it has no features but its size."""
    found = noticed(tmp_path, set_page("#pagebreak()"))
    assert {k for k, v in found._asdict().items() if v not in (0, -1)} == {"area"}
