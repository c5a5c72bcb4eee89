"""What the free pass notices of a page beside its text: the numbers that the router decides by.

All of it comes from the same pass over PDFium's objects and lines. Fonts are told by name and weight; hidden characters
are those of render mode 3, as OCR layers have; a scan's resolution is its largest image's pixels over its size. Characters
are counted by kind from a table of the Basic Multilingual Plane, words by where letters begin. What is given up: nothing
is rendered, so a blurred scan and a sharp one look alike but for their bytes a pixel.
"""

import ctypes
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from pypdfium2 import raw

from stages.parse import kernel
from stages.parse.glyphs import Drawing
from stages.parse.kinds import Counts, table
from stages.parse.letters import surprise_of
from stages.parse.lines import Lines

FORM_DEPTH = 3  # images of scans lie in a form object at most this deep
MAX_OBJECTS = 5000  # a map has millions of paths; the first ones tell a scan from a page
SCANNERS = (
    "scan",
    "ocr",
    "abbyy",
    "finereader",
    "capture",
    "canon",
    "xerox",
    "ricoh",
    "kofax",
    "epson",
    "konica",
    "twain",
)

_made_by_scanner: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()  # of the documents that are open


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
    """What lies on a page beside its text, and how many objects it has in all."""

    num_objects: int
    num_images: int
    image_share: float
    image_dpi: float
    bits_a_pixel: float
    num_paths: int


def drawn(page: Any, area: float) -> Drawn:
    """Count images and paths; of the largest image its share of the page (`area` square points), resolution and depth."""
    count: int = raw.FPDFPage_CountObjects(page)
    images, num_paths = _images(raw.FPDFPage_GetObject, kernel.address(page), count, FORM_DEPTH)
    largest, found = max(((_area(image), image) for image in images), key=lambda pair: pair[0], default=(0.0, None))
    dpi, depth = _resolution(found, largest) if found is not None else (0.0, 0.0)
    share = min(largest / area, 1.0) if area else 0.0
    return Drawn(count, len(images), share, dpi, depth, num_paths)


def _images(get: Any, holder: int, count: int, depth: int) -> tuple[list[Any], int]:
    """Images among the objects of a page or a form and what its forms hold of them, and how many paths there are."""
    found = kernel.objects(kernel.FUNCTIONS, kernel.address(get), holder, min(count, MAX_OBJECTS))
    num_paths, images, forms = (
        found[0],
        [ctypes.cast(at, raw.FPDF_PAGEOBJECT) for at in found[1].tolist()],
        found[2].tolist(),
    )
    for form in forms if depth > 1 else ():
        inside = raw.FPDFFormObj_CountObjects(ctypes.cast(form, raw.FPDF_PAGEOBJECT))
        more, paths = _images(raw.FPDFFormObj_GetObject, form, inside, depth - 1)
        images, num_paths = images + more, num_paths + paths
    return images, num_paths


def _area(item: Any) -> float:
    """The area of an object's box, in square points."""
    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    raw.FPDFPageObj_GetBounds(item, left, bottom, right, top)
    return (right.value - left.value) * (top.value - bottom.value)


def _resolution(image: Any, area: float) -> tuple[float, float]:
    """Pixels an inch of an image that covers `area` square points, and its bits a pixel as stored."""
    columns, rows = ctypes.c_uint(), ctypes.c_uint()
    if not raw.FPDFImageObj_GetImagePixelSize(image, columns, rows) or area <= 0:
        return 0.0, 0.0
    pixels = columns.value * rows.value
    stored: int = raw.FPDFImageObj_GetImageDataRaw(image, None, 0)
    return 72 * (pixels / area) ** 0.5, 8 * stored / max(pixels, 1)


def features(layer: Lines, drawing: Drawing, on_page: Drawn, size: tuple[float, float]) -> Features:
    """The features of a page; those of its document (`turned`, `scanner`) are set by who knows them."""
    width, height = size
    return Features(
        num_fonts=drawing.num_fonts, hidden_share=drawing.hidden_share, map_errors=drawing.map_errors,
        num_images=on_page.num_images, image_share=on_page.image_share, image_dpi=on_page.image_dpi,
        bits_a_pixel=on_page.bits_a_pixel, num_paths=on_page.num_paths, area=width * height / 500_000,
        **of_text(layer.codes),
        **_of_lines(layer, width, height),
    )  # fmt: skip


def is_scanner(document: Any) -> bool:
    """Whether a PDF says that a scanner or an OCR program made it."""
    if document not in _made_by_scanner:
        try:
            names = f"{document.get_metadata_value('Producer')} {document.get_metadata_value('Creator')}".lower()
            found = any(name in names for name in SCANNERS)
        except (UnicodeDecodeError, ValueError):
            found = False
        _made_by_scanner[document] = found
    return _made_by_scanner[document]


def of_text(codes: NDArray[np.uint32]) -> dict[str, float]:
    """What a page's text is made of, as shares of its visible characters or of its words: the features that it settles."""
    counts, bits = Counts(*kernel.count_kinds(codes, table()).tolist()), surprise_of(codes)
    total, num_words = max(counts.visible, 1), max(counts.words, 1)
    return {
        "num_chars": counts.visible,
        "bad_share": counts.bad / total,
        "bits": -1.0 if bits is None else bits,
        "digit_share": counts.digits / total,
        "sign_share": counts.signs / total,
        "upper_share": counts.upper / total,
        "wide_share": counts.wide / total,
        "ligatures": counts.ligatures / num_words,
        "lone_letters": counts.lone / num_words,
        "broken_words": counts.broken / num_words,
        "mixed_case": counts.mixed_case / num_words,
        "word_length": counts.letters / num_words,
    }


def _of_lines(layer: Lines, width: float, height: float) -> dict[str, float]:
    """How lines lie on the page: their sizes, what they cover, whether they jump back or lie on each other."""
    if not len(layer):
        return {}
    names = ("chars_a_line", "text_share", "line_size", "size_spread", "spread", "two_columns", "backward", "overlap")
    shapes = kernel.line_shapes(layer.places, layer.lengths, width, height)
    return {"num_lines": len(layer), **dict(zip(names, shapes, strict=True))}
