import io

import numpy as np
import pikepdf
import pypdfium2
import pytest

from examples import damage
from examples.document import plain_text
from examples.facts import catalogue
from examples.prose import compose
from examples.typeset import pdf_of
from tests.examples.measures import pdf_text, recall

SUBJECTS = catalogue(20, 8)
ARTICLE = compose(SUBJECTS[2], [SUBJECTS[16]], 8, "CC-BY-4.0", short=True)
PDF = pdf_of(ARTICLE, "two-column")


def picture(pdf: bytes, scale: float = 1.0) -> np.ndarray:
    """The first page in grey, 0 to 255."""
    with pypdfium2.PdfDocument(pdf) as document:
        return np.asarray(document[0].render(scale=scale, grayscale=True).to_pil(), dtype=np.float64)


def coarse(pdf: bytes) -> np.ndarray:
    """Mean grey of the first page in squares of 12 points, the lines of text blurred away."""
    page = picture(pdf)[: 65 * 12, : 49 * 12]
    squares: np.ndarray = page.reshape(65, 12, 49, 12).mean(axis=(1, 3))
    return squares.ravel()


def test_a_scan_has_no_text() -> None:
    """A scan must have the pages of the original, each one picture, and not a character of text."""
    scan = damage.scanned(PDF, seed=1)
    assert pdf_text(scan).strip() == ""
    with pikepdf.open(io.BytesIO(scan)) as document, pikepdf.open(io.BytesIO(PDF)) as original:
        assert len(document.pages) == len(original.pages)
        for page in document.pages:
            assert "/Font" not in page.Resources
            assert len(page.get_images()) == 1


def test_a_scan_shows_the_page() -> None:
    """A scan must look like the page that it was made of: ink in the same places, on grey and noisy paper."""
    scan, original = coarse(damage.scanned(PDF, seed=1)), coarse(PDF)
    other = coarse(pdf_of(compose(SUBJECTS[3], [SUBJECTS[17]], 8, "CC-BY-4.0"), "report"))
    assert np.corrcoef(scan, original)[0, 1] > 0.9
    assert np.corrcoef(scan, other)[0, 1] < 0.7
    paper = picture(damage.scanned(PDF, seed=1), 2.0)[5:60, 5:60]
    assert 215 < paper.mean() < 253
    assert paper.std() > 1


def test_scans_keep_the_size_of_the_page() -> None:
    """A scan's page must have the original's width and height in points."""
    with pypdfium2.PdfDocument(damage.scanned(PDF, 2)) as scan, pypdfium2.PdfDocument(PDF) as original:
        assert scan[0].get_size() == pytest.approx(original[0].get_size(), abs=0.01)


def test_scans_depend_on_the_seed_alone() -> None:
    """The same seed must give the same bytes, another seed another scan."""
    assert damage.scanned(PDF, 3, dpi=72) == damage.scanned(PDF, 3, dpi=72)
    assert damage.scanned(PDF, 3, dpi=72) != damage.scanned(PDF, 4, dpi=72)


@pytest.mark.parametrize("lie", damage.LIES)
def test_a_broken_layer_is_garbage(lie: damage.Lie) -> None:
    """With each of the four lies fewer than 3 of 10 true words may be found, while nearly all are before."""
    truth = plain_text(ARTICLE)
    assert recall(truth, pdf_text(PDF)) >= 0.97
    assert recall(truth, pdf_text(damage.broken_layer(PDF, lie, seed=5))) < 0.3


@pytest.mark.parametrize("lie", damage.LIES)
def test_a_broken_layer_looks_right(lie: damage.Lie) -> None:
    """Every pixel must stay what it was: only the text behind the page is wrong."""
    assert np.array_equal(picture(damage.broken_layer(PDF, lie, seed=5)), picture(PDF))


@pytest.mark.parametrize("lie", damage.LIES)
def test_a_broken_layer_has_characters(lie: damage.Lie) -> None:
    """The layer must not be empty, or a parser would see it at once."""
    assert len(pdf_text(damage.broken_layer(PDF, lie, seed=5)).strip()) > 1000


def test_broken_layers_are_deterministic() -> None:
    """The same lie with the same seed must give the same bytes."""
    for lie in damage.LIES:
        assert damage.broken_layer(PDF, lie, 6) == damage.broken_layer(PDF, lie, 6)


def test_shuffled_letters_are_a_permutation() -> None:
    """Letters must be exchanged within their case, digits among themselves, none lost."""
    table = damage._shuffled_letters(1)
    assert sorted(table) == sorted(table.values())
    assert all(chr(a).isdigit() == chr(b).isdigit() and chr(a).isupper() == chr(b).isupper() for a, b in table.items())


def test_bad_files_are_bad() -> None:
    """Each bad file must fail in its own way when it is opened."""
    bad = damage.bad_files(PDF)
    assert bad["empty.pdf"] == b""
    assert not bad["not-a-pdf.pdf"].startswith(b"%PDF")
    for name in ("truncated.pdf", "locked.pdf", "not-a-pdf.pdf"):
        with pytest.raises(pypdfium2.PdfiumError):
            pypdfium2.PdfDocument(bad[name])
    assert PDF.startswith(bad["truncated.pdf"])


def test_the_locked_file_opens_with_its_password_only() -> None:
    """A password-protected PDF must refuse an empty password and hold the whole text behind the right one."""
    locked = damage.bad_files(PDF)["locked.pdf"]
    with pytest.raises(pikepdf.PasswordError):
        pikepdf.open(io.BytesIO(locked))
    with pypdfium2.PdfDocument(locked, password=damage.PASSWORD) as document:
        text = "".join(page.get_textpage().get_text_range() for page in document)
    assert recall(plain_text(ARTICLE), text.replace("\ufffe", "")) >= 0.97


def test_the_file_without_pages_is_a_pdf() -> None:
    """A PDF with no pages must be well-formed, so that its only fault is that it is empty."""
    with pikepdf.open(io.BytesIO(damage.bad_files(PDF)["no-pages.pdf"])) as document:
        assert len(document.pages) == 0


def test_bad_files_are_deterministic() -> None:
    """The bad files must be the same bytes each time, the encrypted one too."""
    assert damage.bad_files(PDF) == damage.bad_files(PDF)
