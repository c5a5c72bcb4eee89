"""PDFium asked about a page's characters and objects in compiled loops, and a text's characters counted.

From Python a call of PDFium costs half a microsecond, from here a fiftieth of that. Its functions are called by their
addresses, which come in as an array (`FUNCTIONS`), so that what numba compiles is kept on disk. All of them are called
alike, with three whole numbers: a C function takes no notice of those that it has no parameters for. Importing this module
compiles or loads all of it, so that no page's time goes with that.
"""

import ctypes
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray
from pypdfium2 import raw

from stages.compiled import compiled
from stages.parse.kinds import (
    BAD,
    DIGIT,
    GLUE,
    LETTER,
    LIGATURE,
    LONE,
    MARK,
    NUM_CODES,
    NUM_SETS,
    SIGN,
    UPPER,
    VISIBLE,
    WIDE,
    folds,
    table,
)
from stages.parse.lines import LINE_HYPHEN

Array = NDArray[Any]
Turn = tuple[float, float, float]  # degrees clockwise, and the page's size as shown


def address(function: Any) -> int:
    """Where a function of PDFium lies, or an object."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


FUNCTIONS = np.array(
    [
        address(f)
        for f in (
            raw.FPDFText_GetLooseCharBox, raw.FPDFText_GetFontSize, raw.FPDFText_GetMatrix, raw.FPDFText_HasUnicodeMapError,
            raw.FPDFText_GetTextObject, raw.FPDFTextObj_GetFont, raw.FPDFTextObj_GetTextRenderMode, raw.FPDFPageObj_GetType,
            raw.FPDFText_GetUnicode,
        )
    ]
)  # fmt: skip
BOX, FONT_SIZE, MATRIX, MAP_ERROR, TEXT_OBJECT, FONT, RENDER_MODE, TYPE, UNICODE = range(9)
HIDDEN, PATH, IMAGE, FORM = (
    raw.FPDF_TEXTRENDERMODE_INVISIBLE, raw.FPDF_PAGEOBJ_PATH, raw.FPDF_PAGEOBJ_IMAGE, raw.FPDF_PAGEOBJ_FORM,
)  # fmt: skip
FONT_SAMPLES = 40  # characters whose font and render mode are asked for
MAP_SAMPLES = 500  # characters of which it is asked whether their font says what they are
UNEVEN = 0.02  # of a line's height: from there on its characters are of several sizes
HYPHEN, NEWLINE, SPACE, DOT = ord(LINE_HYPHEN), ord("\n"), ord(" "), ord(".")
HYPHEN_CODE = 2  # what PDFium says of a character where it says U+FFFE in a text
UNKNOWN, UNSEEN = 0xFFFD, 0x200B
WHOLE = ir.IntType(64)


def _calling(result: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(result, [WHOLE] * 3)
        return builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:])

    return generate


def _ask(_typing: Any, function: Any, handle: Any, index: Any, out: Any) -> Any:  # noqa: ARG001 - numba reads the names
    return types.int64(*[types.int64] * 4), _calling(WHOLE)


def _measure(_typing: Any, function: Any, handle: Any, index: Any, out: Any) -> Any:  # noqa: ARG001 - as above
    return types.float64(*[types.int64] * 4), _calling(ir.DoubleType())


ask: Any = intrinsic(_ask)  # an address, or a number in the lower half, that a function of PDFium gives
measure: Any = intrinsic(_measure)  # a fraction


@compiled
def read_codes(functions: Array, page: int, count: int) -> Array:
    """A page's characters, one for each of PDFium's indices, a line's end being one newline."""
    codes = np.empty(count, np.uint32)
    for i in range(count):
        codes[i] = ask(functions[UNICODE], page, i, 0) & 0xFFFFFFFF
    return _characters(codes)


@compiled
def _characters(codes: Array) -> Array:
    """What is no character is marked; after one beyond U+FFFF, which PDFium has in two halves, comes one that is not seen."""
    for i in range(codes.size):
        code = codes[i]
        if code == HYPHEN_CODE:
            codes[i] = HYPHEN
        elif code == 0x0D:
            codes[i] = SPACE
        elif code == 0x0B or code == 0x2028:  # noqa: PLR1714 - numba would make a set of them
            codes[i] = NEWLINE
        elif code >> 10 == 0xD800 >> 10 and i + 1 < codes.size and codes[i + 1] >> 10 == 0xDC00 >> 10:
            codes[i] = 0x10000 + ((code & 0x3FF) << 10) + (codes[i + 1] & 0x3FF)
            codes[i + 1] = UNSEEN
        elif code == 0 or code >= 0x110000 or code >> 11 == 0xD800 >> 11:
            codes[i] = UNKNOWN
    return codes


@compiled
def find_lines(codes: Array, kinds: Array) -> tuple[Array, Array]:
    """Where lines begin and end without the space around them (lines, 2), and whether they go on over several rows."""
    spans, several, count = np.empty((codes.size // 2 + 1, 2), np.int64), np.zeros(codes.size // 2 + 1, np.bool_), 0
    start = end = -1
    for i in range(codes.size + 1):
        code = codes[i] if i < codes.size else NEWLINE
        if code == NEWLINE:
            if start >= 0:
                spans[count] = start, end
                count += 1
                start = -1
        elif code == HYPHEN or kinds[min(code, NUM_CODES - 1)] != 0:
            start, end = (i if start < 0 else start), i + 1
            several[count] |= code == HYPHEN
    return spans[:count], several[:count]


@compiled
def _font_size(functions: Array, page: int, index: int, matrix: Array) -> float:
    """The height of a character's em on the page: its font's size, scaled as its text is."""
    ask(functions[MATRIX], page, index, matrix.ctypes.data)
    size: float = measure(functions[FONT_SIZE], page, index, 0) * np.hypot(np.float64(matrix[2]), np.float64(matrix[3]))
    return size


@compiled
def place_lines(functions: Array, page: int, spans: Array, several: Array, turn: Turn) -> Array:
    """Left, bottom, right, top and size of lines (lines, 5), by their first, middle and last characters.

    The size is the middle character's, or the median of three
    where their boxes differ, as a superscript's does.
    """
    places = np.empty((len(spans), 5))
    box, matrix, shown, heights = np.empty(4, np.float32), np.empty(6, np.float32), np.empty((3, 4)), np.empty(3)
    for line in range(len(spans)):
        first, last = spans[line, 0], spans[line, 1] - 1
        at = (first, (first + last) // 2, last)
        for k in range(3):
            box[:] = 0
            ask(functions[BOX], page, at[k], box.ctypes.data)
            heights[k] = abs(np.float64(box[1]) - np.float64(box[3]))
            _turn(box, turn, shown[k])
        size = _font_size(functions, page, at[1], matrix)
        if heights.max() - heights.min() > UNEVEN * heights.max():
            ends = _font_size(functions, page, first, matrix), _font_size(functions, page, last, matrix)
            size = max(min(ends[0], ends[1]), min(max(ends[0], ends[1]), size))
        bottom = shown[2, 1] if several[line] else min(shown[0, 1], shown[1, 1])
        top = shown[0, 3] if several[line] else max(shown[0, 3], shown[1, 3])
        places[line] = shown[0, 0], bottom, shown[2, 2], top, size
    return places


@compiled
def _turn(box: Array, turn: Turn, shown: Array) -> None:
    """A box (left, top, right, bottom) as the page shows it: left, bottom, right, top."""
    left, top, right, bottom = np.float64(box[0]), np.float64(box[1]), np.float64(box[2]), np.float64(box[3])
    degrees, width, height = turn
    if degrees == 90:
        shown[:] = bottom, height - right, top, height - left
    elif degrees == 180:
        shown[:] = width - right, height - top, width - left, height - bottom
    elif degrees == 270:
        shown[:] = width - top, left, width - bottom, right
    else:
        shown[:] = left, bottom, right, top


@compiled
def sample(functions: Array, page: int, count: int) -> tuple[int, float, float]:
    """Of a sample of a page's characters: fonts, the share that is hidden, the share whose font has no map for them."""
    errors = asked = hidden = known = num_fonts = 0
    fonts = np.empty(2 * FONT_SAMPLES + 2, np.int64)
    for i in range(0, count, max(count // MAP_SAMPLES, 1)):
        errors += (ask(functions[MAP_ERROR], page, i, 0) & 0xFFFFFFFF) == 1
        asked += 1
    for i in range(0, count, max(count // FONT_SAMPLES, 1)):
        item = ask(functions[TEXT_OBJECT], page, i, 0)
        if item != 0:  # a space or a line's end that PDFium put in has none
            known += 1
            hidden += (ask(functions[RENDER_MODE], item, 0, 0) & 0xFFFFFFFF) == HIDDEN
            font = ask(functions[FONT], item, 0, 0)
            if not (fonts[:num_fonts] == font).any():
                fonts[num_fonts] = font
                num_fonts += 1
    return num_fonts, hidden / max(known, 1), errors / max(asked, 1)


@compiled
def objects(functions: Array, get: int, holder: int, count: int) -> tuple[int, Array, Array]:
    """Paths among the objects of a page or a form, and the addresses of images and forms; `get` gives an object."""
    images, forms = np.empty(count, np.int64), np.empty(count, np.int64)
    paths = num_images = num_forms = 0
    for i in range(count):
        item = ask(get, holder, i, 0)
        kind = ask(functions[TYPE], item, 0, 0) & 0xFFFFFFFF
        paths += kind == PATH
        if kind == IMAGE:
            images[num_images] = item
            num_images += 1
        elif kind == FORM:
            forms[num_forms] = item
            num_forms += 1
    return paths, images[:num_images], forms[:num_forms]


@compiled
def count_kinds(codes: Array, kinds: Array) -> Array:
    """A text's `kinds.Counts`, in their order.

    A word is broken where signs or digits stand between letters; of signs on both sides of the same letters the first
    ones count.
    """
    found, alike = np.zeros(12, np.int64), np.zeros(NUM_SETS, np.int64)  # characters of the same set of kinds
    before, before_code, state = 0, NEWLINE, 0  # of the search for broken words: letters, signs, letters
    for i in range(codes.size):
        code = codes[i]
        kind = kinds[min(code, NUM_CODES - 1)]
        alike[kind] += 1
        found[7] += code > WIDE and (kind & VISIBLE) != 0
        found[8] += (kind & LETTER) != 0 and (before & LETTER) == 0
        if (kind & LONE) != 0 and (before & GLUE) == 0:
            after = codes[i + 1] if i + 1 < codes.size else NEWLINE
            found[9] += after != DOT and (kinds[min(after, NUM_CODES - 1)] & GLUE) == 0
        if (kind & LETTER) != 0:
            found[10] += state == 2
            state = state if state in (1, 3) else state + 1
        else:
            state = 2 if (kind & MARK) != 0 and state in (1, 2) else 0
        found[11] += 97 <= before_code <= 122 and 65 <= code <= 90
        before, before_code = kind, code
    for place, of_kind in enumerate((VISIBLE, BAD, DIGIT, SIGN, UPPER, LETTER, LIGATURE)):
        for kind in range(NUM_SETS):
            found[place] += alike[kind] * ((kind & of_kind) != 0)
    return found


@compiled
def trigrams(codes: Array, folds: Array, kinds: Array, bits: Array) -> tuple[int, int, int]:
    """The sum of the bits (in halves) of all trigrams whose middle is a letter, how many there are, and letters of other alphabets."""
    total = count = others = 0
    a = b = 0
    for i in range(codes.size + 1):
        code = min(codes[i], NUM_CODES - 1) if i < codes.size else NEWLINE
        signs = folds[code]
        others += signs == 0 and code > WIDE and (kinds[code] & LETTER) != 0
        while signs:
            c = signs % 28 % 27  # what ends a word is 0
            if b > 0:
                total += bits[(a * 27 + b) * 27 + c]
                count += 1
            a, b = b, c
            signs //= 28
    return total, count, others


@compiled
def line_shapes(places: Array, lengths: Array, width: float, height: float) -> tuple[float, ...]:
    """Of one line or more: mean length, share covered, median size, range of sizes, median width a character in sizes, and
    the shares of lines that end in the left half of the page, that begin above the one before, and that lie on it.
    """  # noqa: D205 - one sentence
    count, covered = len(places), 0.0
    spreads, narrow, backward, on_top = np.empty(count), 0, 0, 0
    for i in range(count):
        left, bottom, right, top, size = places[i]
        covered += (right - left) * (top - bottom)
        spreads[i] = (right - left) / (lengths[i] * max(size, 1e-6))
        narrow += right < 0.55 * width
        if i:
            before = places[i - 1]
            backward += bottom > before[3]
            above = min(before[3], top) - max(before[1], bottom)
            beside = min(before[2], right) - max(before[0], left)
            on_top += above > 0.5 * (before[3] - before[1]) and beside > 0.5 * (right - left)
    sizes = places[:, 4].copy()
    usual = np.median(sizes)
    spread = (sizes.max() - sizes.min()) / max(usual, 1e-6)
    share = min(covered / max(width * height, 1.0), 2.0)
    return (
        lengths.sum() / count,
        share,
        usual,
        spread,
        np.median(spreads),
        narrow / count,
        backward / count,
        on_top / count,
    )


def _prepare() -> None:
    """Call everything with nothing, in the types of real calls."""
    codes = read_codes(FUNCTIONS, 0, 0)
    spans, several = find_lines(codes, table())
    place_lines(FUNCTIONS, 0, spans, several, (0.0, 1.0, 1.0))
    sample(FUNCTIONS, 0, 0)
    objects(FUNCTIONS, 0, 0, 0)
    count_kinds(codes, table())
    trigrams(codes, folds(), table(), np.zeros(27**3, np.uint8))
    line_shapes(np.ones((1, 5)), np.ones(1, np.int64), 1.0, 1.0)


_prepare()
