"""A page's text layer by PDFium: its lines with their boxes, and a sample of how its characters are drawn.

A line's box is that of its first, middle and last characters. What is asked for each line or character is asked in
compiled loops (`kernel`).
"""

from typing import Any, NamedTuple

import numpy as np
from pypdfium2 import raw

from stages.parse import kernel
from stages.parse.kinds import table
from stages.parse.lines import TEXT, Lines

ANGLE_SAMPLES = 40


class Turn(NamedTuple):
    """A page's rotation (clockwise, degrees) and its size as shown; PDFium's boxes are as if it were not turned."""

    degrees: int
    width: float
    height: float


class Drawing(NamedTuple):
    """How characters are drawn: fonts of a sample, and the shares that are hidden, and whose font has no map for them."""

    num_fonts: int
    hidden_share: float
    map_errors: float


def read_layer(text_page: Any, turn: Turn) -> Lines:
    """A page's text."""
    page = kernel.address(text_page)
    codes = kernel.read_codes(kernel.FUNCTIONS, page, raw.FPDFText_CountChars(text_page))
    spans, several = kernel.find_lines(codes, table())
    places = kernel.place_lines(kernel.FUNCTIONS, page, spans, several, (float(turn.degrees), turn.width, turn.height))
    return Lines(codes, spans, places, np.full(len(spans), TEXT, np.uint8))


def runs_upright(text_page: Any) -> bool:
    """Whether a page's text runs upright before the page is turned."""
    count: int = raw.FPDFText_CountChars(text_page)
    sample = range(0, count, max(count // ANGLE_SAMPLES, 1))
    upright: int = sum(abs(raw.FPDFText_GetCharAngle(text_page, i)) < 0.1 for i in sample)
    return upright * 2 > len(sample)


def drawing(text_page: Any) -> Drawing:
    """How a sample of a page's characters is drawn."""
    count = raw.FPDFText_CountChars(text_page)
    return Drawing(*kernel.sample(kernel.FUNCTIONS, kernel.address(text_page), count))
