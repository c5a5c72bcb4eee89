"""Text of a PDF's pages by PDFium (BSD), a line at a time, with boxes; repair by qpdf where PDFium gives up.

Lines come in the order of the content stream, which is the reading order of nearly all articles, two-column ones
included; a page turned by its `/Rotate` entry is read unturned if that is how its text runs. What is given up: text on a
curve, and sidebars that were drawn in the middle of a column.
"""

import io
from pathlib import Path
from typing import Any

import pikepdf
import pypdfium2 as pdfium
from pypdfium2 import raw

from stages.parse.features import drawn, features, is_scanner
from stages.parse.garble import judge
from stages.parse.glyphs import Turn, drawing, read_layer, runs_upright
from stages.parse.lines import Page, lost
from stages.parse.members import IN_MEMORY

MAX_PIXELS = 25_000_000  # A3 at 400 dpi


class PdfError(Exception):
    """A PDF that cannot be opened; the reason is one of a few words."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


def open_pdf(path: str) -> Any:
    """Open a PDF, after a repair if it needs one; `PdfError` if it is encrypted or damaged or has no pages."""
    try:
        # The binding looks where links lead, and those to files in memory lead nowhere.
        document = pdfium.PdfDocument(Path(path).read_bytes() if path.startswith(IN_MEMORY) else path)
    except pdfium.PdfiumError as error:  # its code may be that of an earlier file, so qpdf says what is wrong
        document = _repaired(path, str(error))
    if len(document) == 0:
        document.close()
        raise PdfError("no pages")
    return document


def _repaired(path: str, first_error: str) -> Any:
    try:
        with pikepdf.open(path) as pdf:
            if len(pdf.pages) == 0:
                raise PdfError("no pages")
            whole = io.BytesIO()
            pdf.save(whole)
        return pdfium.PdfDocument(whole.getvalue())
    except pikepdf.PasswordError as error:
        raise PdfError("encrypted", "opens only with a password") from error
    except (pikepdf.PdfError, pdfium.PdfiumError, ValueError, RuntimeError) as error:
        raise PdfError("damaged PDF", f"{first_error} Repair: {str(error).removeprefix(path + ': ')}") from error


def read_page(document: Any, index: int) -> Page:
    """Lines of page `index` (from 0), with a verdict on them; a page that PDFium cannot load is lost.

    The binding's own objects for a page and its text take a fiftieth of the time of all else, so PDFium is called itself.
    """
    page = raw.FPDF_LoadPage(document.raw, index)
    if not page:
        return lost(index + 1, "damaged page")
    text_page = raw.FPDFText_LoadPage(page)
    try:
        if not text_page:
            return lost(index + 1, "damaged page")
        turned = (quarters := raw.FPDFPage_GetRotation(page)) != 0
        if turned and runs_upright(text_page):
            raw.FPDFPage_SetRotation(page, quarters := 0)
            raw.FPDFText_ClosePage(text_page)
            text_page = raw.FPDFText_LoadPage(page)
        width, height = raw.FPDF_GetPageWidthF(page), raw.FPDF_GetPageHeightF(page)
        layer = read_layer(text_page, Turn(90 * quarters, width, height))
        on_page = drawn(page, width * height)
        noticed = features(layer, drawing(text_page), on_page, (width, height))
        noticed = noticed._replace(turned=float(turned), scanner=float(is_scanner(document)))
        verdict = judge(noticed, has_objects=on_page.num_objects > 0)
        return Page(index + 1, width, height, layer, verdict=verdict, features=tuple(noticed))
    finally:
        raw.FPDFText_ClosePage(text_page)
        raw.FPDF_ClosePage(page)


def render(document: Any, index: int, dpi: int) -> tuple[Any, float, tuple[float, float]]:
    """Page `index` as grey pixels (rows, columns), the pixels a point, and the page's size in points."""
    page = document[index]
    try:
        width, height = page.get_size()
        scale = min(dpi / 72, (MAX_PIXELS / max(width * height, 1.0)) ** 0.5)
        pixels = page.render(scale=scale, grayscale=True).to_numpy()
        return pixels.reshape(pixels.shape[:2]).copy(), scale, (width, height)
    finally:
        page.close()


def metadata_title(document: Any) -> str | None:
    """The title in a PDF's metadata, unless it is a file name or nothing like a title."""
    try:
        title = " ".join(str(document.get_metadata_value("Title")).split())
    except (pdfium.PdfiumError, UnicodeDecodeError):
        return None
    usable = len(title) >= 10 and " " in title and title.lower() != "untitled document"
    named = title.lower().startswith(("microsoft word", "doi:")) or title.lower().endswith(
        (".doc", ".docx", ".tex", ".pdf")
    )
    return title if usable and not named else None
