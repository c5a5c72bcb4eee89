"""What the free pass notices of a page beside its text: the numbers that the router decides by.

All of it comes from the same pass over PDFium's objects and lines, for a sample of the characters where a call a
character would cost more than the text. Fonts are told by name and weight; hidden characters are those of render mode 3,
as OCR layers have; a scan's resolution is its largest image's pixels over its size. What is given up: nothing is rendered,
so a blurred scan and a sharp one look alike but for their bytes a pixel.
"""

import ctypes
import re
import unicodedata
from collections.abc import Sequence
from itertools import islice, pairwise
from statistics import median
from typing import Any, NamedTuple

from pypdfium2 import raw

from stages.parse.letters import surprise
from stages.parse.lines import LINE_HYPHEN, Line

FORM_DEPTH = 3  # images of scans lie in a form object at most this deep
MAX_OBJECTS = 5000  # a map has millions of paths; the first ones tell a scan from a page
SAMPLE = 40  # characters whose font and render mode are asked for
HIDDEN = raw.FPDF_TEXTRENDERMODE_INVISIBLE
SCANNERS = re.compile(
    r"(?i)scan|ocr|abbyy|finereader|paper ?capture|canon|xerox|ricoh|kofax|epson|konica|twain|capture"
)
LIGATURES = re.compile("[\ufb00-\ufb06]")
LOST = re.compile(r"(?<![\w'’-])(?:[b-hj-zB-HJ-Z])(?![\w'’.-])")  # letters that stand alone where words lost theirs
BROKEN = re.compile(r"[^\W\d_]+[\d|!$@#&^~\\<>{}*_]+[^\W\d_]+")  # words with signs inside, as bad readers write them
CASES = re.compile(r"[a-z][A-Z]")
WORD = re.compile(r"[^\W\d_]+")


class Features(NamedTuple):
    """Shares are 0 to 1; sizes in points; `bits` is the text's surprise a trigram (see `letters`), -1 for no verdict."""

    num_chars: float = 0.0
    num_lines: float = 0.0
    chars_a_line: float = 0.0
    text_share: float = 0.0
    line_size: float = 0.0
    size_spread: float = 0.0
    num_fonts: float = 0.0
    hidden_share: float = 0.0
    map_errors: float = 0.0
    bad_share: float = 0.0
    bits: float = -1.0
    digit_share: float = 0.0
    sign_share: float = 0.0
    upper_share: float = 0.0
    wide_share: float = 0.0
    ligatures: float = 0.0
    lone_letters: float = 0.0
    broken_words: float = 0.0
    mixed_case: float = 0.0
    word_length: float = 0.0
    spread: float = 0.0
    two_columns: float = 0.0
    backward: float = 0.0
    overlap: float = 0.0
    num_images: float = 0.0
    image_share: float = 0.0
    image_dpi: float = 0.0
    bits_a_pixel: float = 0.0
    num_paths: float = 0.0
    area: float = 0.0
    turned: float = 0.0
    scanner: float = 0.0


class Drawn(NamedTuple):
    """What lies on a page beside its text."""

    num_images: int
    image_share: float
    image_dpi: float
    bits_a_pixel: float
    num_paths: int


def drawn(page: Any) -> Drawn:
    """Count images and paths; of the largest image its share of the page, resolution and bytes a pixel."""
    width, height = page.get_size()
    largest, found, num_images, num_paths = 0.0, None, 0, 0
    for item in islice(page.get_objects(max_depth=FORM_DEPTH), MAX_OBJECTS):
        if item.type == raw.FPDF_PAGEOBJ_PATH:
            num_paths += 1
        elif item.type == raw.FPDF_PAGEOBJ_IMAGE:
            num_images += 1
            left, bottom, right, top = item.get_bounds()
            area = (right - left) * (top - bottom)
            if area > largest:
                largest, found = area, item
    share = min(largest / (width * height), 1.0) if width * height else 0.0
    dpi, depth = _resolution(found, largest) if found is not None else (0.0, 0.0)
    return Drawn(num_images, share, dpi, depth, num_paths)


def _resolution(image: Any, area: float) -> tuple[float, float]:
    """Pixels an inch of an image that covers `area` square points, and its bits a pixel as stored."""
    columns, rows = ctypes.c_uint(), ctypes.c_uint()
    if not raw.FPDFImageObj_GetImagePixelSize(image, columns, rows) or area <= 0:
        return 0.0, 0.0
    pixels = columns.value * rows.value
    stored: int = raw.FPDFImageObj_GetImageDataRaw(image, None, 0)
    return 72 * (pixels / area) ** 0.5, 8 * stored / max(pixels, 1)


def features(
    text_page: Any, lines: Sequence[Line], on_page: Drawn, size: tuple[float, float], map_errors: float
) -> Features:
    """The features of a page; those of its document (`turned`, `scanner`) are set by who knows them."""
    width, height = size
    count = text_page.count_chars() if lines else 0
    fonts, hidden = _sampled(text_page, count)
    return Features(
        num_fonts=fonts, hidden_share=hidden, map_errors=map_errors, area=width * height / 500_000,
        num_images=on_page.num_images, image_share=on_page.image_share, image_dpi=on_page.image_dpi,
        bits_a_pixel=on_page.bits_a_pixel, num_paths=on_page.num_paths,
        **_of_text("\n".join(line.text for line in lines)), **_of_lines(lines, width, height),
    )  # fmt: skip


def is_scanner(document: Any) -> bool:
    """Whether a PDF says that a scanner or an OCR program made it."""
    try:
        return any(SCANNERS.search(str(document.get_metadata_value(key))) for key in ("Producer", "Creator"))
    except (UnicodeDecodeError, ValueError):
        return False


def _sampled(text_page: Any, count: int) -> tuple[int, float]:
    """How many fonts a sample of the characters has, and the share of them that is hidden."""
    fonts, hidden, asked = set(), 0, 0
    name = ctypes.create_string_buffer(80)
    for i in range(0, count, max(count // SAMPLE, 1)):
        item = raw.FPDFText_GetTextObject(text_page, i)
        if not item:  # a space or a line's end that PDFium put in
            continue
        asked += 1
        hidden += raw.FPDFTextObj_GetTextRenderMode(item) == HIDDEN
        raw.FPDFText_GetFontInfo(text_page, i, name, len(name), None)
        fonts.add(name.value)
    return len(fonts), hidden / asked if asked else 0.0


def _of_text(text: str) -> dict[str, float]:
    """Counts of what a page's text is made of, as shares of its visible characters or of its words."""
    visible = [c for c in text if not c.isspace() and c != LINE_HYPHEN]
    total, words = max(len(visible), 1), WORD.findall(text)
    kinds = [unicodedata.category(c) for c in visible]
    num_words, bits = max(len(words), 1), surprise(text)
    return {
        "num_chars": len(visible),
        "bad_share": sum(c == "\ufffd" or k in {"Cc", "Co", "Cn", "Cs"} for c, k in zip(visible, kinds, strict=True)) / total,
        "bits": -1.0 if bits is None else bits,
        "digit_share": kinds.count("Nd") / total,
        "sign_share": sum(k[0] in "PS" for k in kinds) / total,
        "upper_share": kinds.count("Lu") / total,
        "wide_share": sum(c > "\u024f" for c in visible) / total,
        "ligatures": len(LIGATURES.findall(text)) / num_words,
        "lone_letters": len(LOST.findall(text)) / num_words,
        "broken_words": len(BROKEN.findall(text)) / num_words,
        "mixed_case": len(CASES.findall(text)) / num_words,
        "word_length": sum(map(len, words)) / num_words,
    }  # fmt: skip


def _of_lines(lines: Sequence[Line], width: float, height: float) -> dict[str, float]:
    """How lines lie on the page: their sizes, what they cover, whether they jump back or lie on each other."""
    if not lines:
        return {}
    sizes = [line.size for line in lines]
    usual = median(sizes)
    covered = sum((n.right - n.left) * (n.top - n.bottom) for n in lines)
    pairs = list(pairwise(lines))
    spreads = [(n.right - n.left) / (len(n.text) * max(n.size, 1e-6)) for n in lines]
    return {
        "num_lines": len(lines),
        "chars_a_line": sum(len(n.text) for n in lines) / len(lines),
        "text_share": min(covered / max(width * height, 1.0), 2.0),
        "line_size": usual,
        "size_spread": (max(sizes) - min(sizes)) / max(usual, 1e-6),
        "spread": median(spreads),
        "two_columns": sum(n.right < 0.55 * width for n in lines) / len(lines),
        "backward": sum(b.bottom > a.top for a, b in pairs) / len(lines),
        "overlap": sum(_on_top(a, b) for a, b in pairs) / len(lines),
    }


def _on_top(first: Line, second: Line) -> bool:
    """Whether two lines that follow each other lie on the same place."""
    beside = min(first.right, second.right) - max(first.left, second.left)
    above = min(first.top, second.top) - max(first.bottom, second.bottom)
    return above > 0.5 * (first.top - first.bottom) and beside > 0.5 * (second.right - second.left)
