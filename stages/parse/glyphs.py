"""A page's text layer by PDFium: its lines with their boxes, and a sample of how its characters are drawn.

A call of PDFium costs half a microsecond and more, so the text comes in one call, a line costs five (the boxes of its
first, middle and last character, the middle one's size), and fonts, hidden text and missing maps are told from a sample.
Calls are mapped over whole columns into arrays, which numpy then computes with.
"""

import ctypes
import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pypdfium2 import raw

from stages.parse.lines import LINE_HYPHEN, Line

Floats = NDArray[np.float64]

LINE = re.compile(r"\S(?:.*\S)?")
ANGLE_SAMPLES = 40
FONT_SAMPLES = 32  # characters whose font and render mode are asked for
MAP_SAMPLES = 100  # characters of which it is asked whether their font says what they are
HYPHEN_CODE = 2  # what PDFium says of a single character where it says U+FFFE in a text
UNSEEN = 0x200B
UNEVEN = 0.02  # of a line's height: from there on its characters are of several sizes


def by_address(function: Any, result: Any, *arguments: Any) -> Any:
    """A function of PDFium with objects as plain addresses: those are compared, and cost no Python object each."""
    return ctypes.CFUNCTYPE(result, *arguments)(ctypes.cast(function, ctypes.c_void_p).value or 0)


_text_object = by_address(raw.FPDFText_GetTextObject, ctypes.c_void_p, raw.FPDF_TEXTPAGE, ctypes.c_int)
_font = by_address(raw.FPDFTextObj_GetFont, ctypes.c_void_p, ctypes.c_void_p)
_render_mode = by_address(raw.FPDFTextObj_GetTextRenderMode, ctypes.c_int, ctypes.c_void_p)


class Turn(NamedTuple):
    """A page's rotation (clockwise, degrees) and its size as shown; boxes come as if it were not turned."""

    degrees: int
    width: float
    height: float

    def shown(self, left: Floats, bottom: Floats, right: Floats, top: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Boxes as the page shows them."""
        match self.degrees:
            case 90:
                return bottom, self.height - right, top, self.height - left
            case 180:
                return self.width - right, self.height - top, self.width - left, self.height - bottom
            case 270:
                return self.width - top, left, self.width - bottom, right
        return left, bottom, right, top


class Drawing(NamedTuple):
    """How characters are drawn: fonts of a sample, and the shares that are hidden, and whose font has no map for them."""

    num_fonts: int = 0
    hidden_share: float = 0.0
    map_errors: float = 0.0


def read_lines(text_page: Any, turn: Turn) -> tuple[tuple[Line, ...], Floats]:
    """A page's lines, and their places: left, bottom, right, top and size of each (lines, 5)."""
    text = read_text(text_page)
    found = list(LINE.finditer(text))
    if not found:
        return (), np.zeros((0, 5))
    texts = [m[0] for m in found]
    ends = np.array([m.span() for m in found])
    at = np.stack([ends[:, 0], (ends[:, 0] + ends[:, 1] - 1) // 2, ends[:, 1] - 1], axis=1)
    places = _places(text_page.raw, at, turn, np.array([LINE_HYPHEN in t for t in texts]))
    return tuple([Line(t, *place) for t, place in zip(texts, places.tolist(), strict=True)]), places


def _places(handle: Any, at: NDArray[np.int64], turn: Turn, several_rows: NDArray[np.bool_]) -> Floats:
    """Where lines are, from the boxes of the first, middle and last character of each (`at`: lines, 3)."""
    boxes = (raw.FS_RECTF * at.size)()
    _call(raw.FPDFText_GetLooseCharBox, repeat(handle), at.ravel().tolist(), boxes)
    table = np.frombuffer(boxes, np.float32).reshape(-1, 3, 4).astype(float)
    left, low, right, high = turn.shown(table[..., 0], table[..., 3], table[..., 2], table[..., 1])
    heights = table[..., 1] - table[..., 3]
    bottom = np.where(several_rows, low[:, 2], np.minimum(low[:, 0], low[:, 1]))
    top = np.where(several_rows, high[:, 0], np.maximum(high[:, 0], high[:, 1]))
    return np.stack([left[:, 0], bottom, right[:, 2], top, _sizes(handle, at, heights)], axis=1)


def _sizes(handle: Any, at: NDArray[np.int64], heights: Floats) -> Floats:
    """The middle character's size, or the median of three where their boxes differ, as a superscript's does."""
    sizes = _font_sizes(handle, at[:, 1])
    uneven = heights.max(axis=1) - heights.min(axis=1) > UNEVEN * np.abs(heights).max(axis=1)
    if uneven.any():
        sizes[uneven] = np.median(_font_sizes(handle, at[uneven].ravel()).reshape(-1, 3), axis=1)
    return sizes


def _font_sizes(handle: Any, at: NDArray[np.int64]) -> Floats:
    """The heights of characters' ems on the page: their fonts' sizes, scaled as their text is."""
    indices = at.tolist()
    matrices = (raw.FS_MATRIX * len(indices))()
    _call(raw.FPDFText_GetMatrix, repeat(handle), indices, matrices)
    table = np.frombuffer(matrices, np.float32).reshape(-1, 6).astype(float)
    sizes = np.array(list(map(raw.FPDFText_GetFontSize, repeat(handle), indices)))
    return np.asarray(sizes * np.hypot(table[:, 2], table[:, 3]))


def _call(function: Callable[..., Any], *columns: Iterable[Any]) -> None:
    """Call a function for its effects, with one argument of each column."""
    deque(map(function, *columns), maxlen=0)


def runs_upright(text_page: Any) -> bool:
    """Whether a page's text runs upright before the page is turned."""
    angles = np.array(_sampled(raw.FPDFText_GetCharAngle, text_page, ANGLE_SAMPLES))
    return bool((np.abs(angles) < 0.1).sum() * 2 > len(angles))


def drawing(text_page: Any) -> Drawing:
    """How a sample of a page's characters is drawn."""
    errors = _sampled(raw.FPDFText_HasUnicodeMapError, text_page, MAP_SAMPLES)
    items = [item for item in _sampled(_text_object, text_page, FONT_SAMPLES) if item]  # PDFium's own spaces have none
    if not items:
        return Drawing(map_errors=errors.count(1) / max(len(errors), 1))
    hidden = list(map(_render_mode, items)).count(raw.FPDF_TEXTRENDERMODE_INVISIBLE)
    return Drawing(len(set(map(_font, items))), hidden / len(items), errors.count(1) / len(errors))


def _sampled(function: Callable[..., Any], text_page: Any, size: int) -> list[Any]:
    """What a function says of `size` characters of a page, or some more, evenly spaced."""
    count = raw.FPDFText_CountChars(text_page.raw)
    return list(map(function, repeat(text_page.raw), range(0, count, max(count // size, 1))))


def read_text(text_page: Any) -> str:
    """A page's characters, one for each of PDFium's indices, a line's end being one newline."""
    count = raw.FPDFText_CountChars(text_page.raw)
    buffer = (ctypes.c_ushort * (count + 1))()
    written = raw.FPDFText_GetText(text_page.raw, 0, count, buffer) - 1 if count else 0
    text = bytes(memoryview(buffer)[: max(written, 0)]).decode("utf-16-le", "replace")
    if len(text) != count:  # characters without Unicode are left out above, those beyond U+FFFF are two: go one by one
        text = characters(list(map(raw.FPDFText_GetUnicode, repeat(text_page.raw), range(count))))
    return text.replace("\r", " ").replace("\x0b", "\n").replace("\u2028", "\n")


def characters(codes: Sequence[int]) -> str:
    """A character for every code; after a surrogate pair's character comes one that is not seen."""
    found = np.array(codes, dtype=np.uint32)
    found[found == HYPHEN_CODE] = ord(LINE_HYPHEN)
    high, low = found >> 10 == 0xD800 >> 10, found >> 10 == 0xDC00 >> 10
    first = np.flatnonzero(high[:-1] & low[1:])
    found[first] = 0x10000 + ((found[first] & 0x3FF) << 10) + (found[first + 1] & 0x3FF)
    found[first + 1] = UNSEEN
    found[(found == 0) | (found >= 0x110000) | (found >> 11 == 0xD800 >> 11)] = 0xFFFD
    return found.tobytes().decode("utf-32-le")
