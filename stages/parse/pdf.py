"""Text of a PDF's pages by PDFium (BSD), a line at a time, with boxes; repair by qpdf where PDFium gives up.

Lines come in the order of the content stream, which is the reading order of nearly all articles, two-column ones
included; a page turned by its `/Rotate` entry is read unturned if that is how its text runs. Boxes cost nine calls a
line: 8 ms a page in all. What is given up: text on a curve, and sidebars that were drawn in the middle of a column.
"""

import io
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pikepdf
import pypdfium2 as pdfium
from pypdfium2 import raw

from stages.parse.features import drawn, features, is_scanner
from stages.parse.garble import judge
from stages.parse.lines import LINE_HYPHEN, Line, Page, lost

MAX_PIXELS = 25_000_000  # A3 at 400 dpi
ANGLE_SAMPLES = 40
HYPHEN_CODE = 2  # what PDFium says of a single character where it says U+FFFE in a text
UNSEEN = "\u200b"


class PdfError(Exception):
    """A PDF that cannot be opened; the reason is one of a few words."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


def open_pdf(path: str) -> Any:
    """Open a PDF, after a repair if it needs one; `PdfError` if it is encrypted or damaged or has no pages."""
    try:
        document = pdfium.PdfDocument(path)
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
    """Lines of page `index` (from 0), with a verdict on them; a page that PDFium cannot load is lost."""
    try:
        page = document[index]
    except pdfium.PdfiumError:
        return lost(index + 1, "damaged page")
    try:
        text_page = page.get_textpage()
        turned = page.get_rotation() != 0
        if turned and _runs_upright(text_page):
            page.set_rotation(0)
            text_page.close()
            text_page = page.get_textpage()
        turn = Turn(page.get_rotation(), *page.get_size())
        lines = tuple(_lines(text_page, turn))
        width, height = page.get_size()
        errors = _map_errors(text_page) if lines else 0.0
        on_page = drawn(page)
        read = Page(index + 1, width, height, lines)
        verdict = judge(read, on_page.image_share, errors, has_objects=_has_objects(page))
        noticed = features(text_page, lines, on_page, (width, height), errors)
        noticed = noticed._replace(turned=float(turned), scanner=float(is_scanner(document)))
        return Page(index + 1, width, height, lines, verdict=verdict, features=tuple(noticed))
    finally:
        page.close()


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


class Turn(NamedTuple):
    """A page's rotation (clockwise, degrees) and its size as shown; boxes come as if it were not turned."""

    degrees: int
    width: float
    height: float

    def box(self, text_page: Any, index: int) -> tuple[float, float, float, float]:
        """Left, bottom, right and top of a character as the page shows it, as high as its font."""
        left, bottom, right, top = text_page.get_charbox(index, loose=True)
        match self.degrees:
            case 90:
                return bottom, self.height - right, top, self.height - left
            case 180:
                return self.width - right, self.height - top, self.width - left, self.height - bottom
            case 270:
                return self.width - top, left, self.width - bottom, right
        return left, bottom, right, top


def _runs_upright(text_page: Any) -> bool:
    """Whether a page's text runs upright before the page is turned."""
    count = text_page.count_chars()
    angles = [raw.FPDFText_GetCharAngle(text_page, i) for i in range(0, count, max(count // ANGLE_SAMPLES, 1))]
    upright: int = sum(abs(a) < 0.1 for a in angles)
    return upright * 2 > len(angles)


def _lines(text_page: Any, turn: Turn) -> Iterator[Line]:
    text, at = _text(text_page), 0
    for part in text.split("\n"):
        start = at + len(part) - len(part.lstrip())
        end = at + len(part.rstrip())
        if start < end:
            sample = (start, (start + end - 1) // 2, end - 1)
            size = sorted(_font_size(text_page, i) for i in sample)[1]  # a superscript among them does not count
            yield _line(text[start:end], [turn.box(text_page, i) for i in sample], size)
        at += len(part) + 1


def _line(text: str, boxes: Sequence[tuple[float, float, float, float]], size: float) -> Line:
    """A line from the boxes of its first, middle and last character."""
    (left, low, _, high), middle, (_, end_low, right, _) = boxes
    if LINE_HYPHEN in text:  # two rows or more: from the top of the first to the bottom of the last
        return Line(text, left, end_low, right, high, size)
    return Line(text, left, min(low, middle[1]), right, max(high, middle[3]), size)


def _font_size(text_page: Any, index: int) -> float:
    """The height of a character's em on the page: its font's size, scaled as its text is."""
    matrix = raw.FS_MATRIX()
    raw.FPDFText_GetMatrix(text_page, index, matrix)
    return float(raw.FPDFText_GetFontSize(text_page, index)) * math.hypot(matrix.c, matrix.d)


def _text(text_page: Any) -> str:
    """A page's characters, one for each of PDFium's indices, a line's end being one newline."""
    count = text_page.count_chars()
    text: str = text_page.get_text_range() if count else ""
    if len(text) != count:  # characters without Unicode are left out above, those beyond U+FFFF are two: go one by one
        text = "".join(_characters([raw.FPDFText_GetUnicode(text_page, i) for i in range(count)]))
    return text.replace("\r", " ").replace("\x0b", "\n").replace("\u2028", "\n")


def _characters(codes: Sequence[int]) -> Iterator[str]:
    """A character for every code; after a surrogate pair's character comes one that is not seen."""
    high = 0
    for code in codes:
        if high and 0xDC00 <= code < 0xE000:
            yield chr(0x10000 + ((high - 0xD800) << 10) + code - 0xDC00)
            yield UNSEEN
            high = 0
            continue
        if high:
            yield "\ufffd"
        high = code if 0xD800 <= code < 0xDC00 else 0
        if not high:
            yield _character(code)
    if high:
        yield "\ufffd"


def _character(code: int) -> str:
    if code == HYPHEN_CODE:
        return LINE_HYPHEN
    return chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"


def _map_errors(text_page: Any) -> float:
    """The share of characters whose font has no way to say what they are."""
    count = text_page.count_chars()
    sample = range(0, count, max(count // 500, 1))
    errors: int = sum(raw.FPDFText_HasUnicodeMapError(text_page, i) == 1 for i in sample)
    return errors / max(len(sample), 1)


def _has_objects(page: Any) -> bool:
    return bool(raw.FPDFPage_CountObjects(page) > 0)
