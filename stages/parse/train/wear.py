"""What happens to generated pages: scans good and bad, text layers behind them, and fonts whose maps lie.

A picture has a layer behind it that is made from the page's lines (`LAYERS`); what else happens is done to the PDF
(`KINDS`). The strength of every wear is drawn
from a range that goes from unseen to hopeless, so that the router learns where the gain lies and not what the kinds are.
"""

import io
import random
import re
from collections.abc import Callable

import numpy as np
import pikepdf
import pypdfium2 as pdfium
from PIL import Image, ImageFilter

from stages.parse import pdf as reader
from stages.parse.lines import LINE_HYPHEN, Line

MAPPING = re.compile(rb"<([0-9A-Fa-f]{2,4})> <([0-9A-Fa-f]{4,})>")
CONFUSED = {
    "l": "1I|", "1": "lI", "I": "l1", "o": "0c", "0": "Oo", "O": "0Q", "e": "co", "c": "eo", "t": "fl", "f": "t", "i": "lj",
    "n": "ri", "h": "b", "b": "h6", "s": "5", "5": "S", "g": "q9", "u": "ii", "v": "y", "y": "v", "a": "o", "r": "t", ".": ",",
    ",": ".", "3": "8", "8": "3B", "6": "b", "9": "g", "2": "Z", "−": "-~", "(": "C", "α": "a", "β": "B", "γ": "y", "μ": "u",
    "ρ": "p", "ν": "v", "τ": "t", "η": "n", "κ": "k", "χ": "x", "ω": "w", "σ": "o", "°": "o*", "±": "+t", "×": "x",
}  # fmt: skip
NOISE = "~^*'`_|\\;:"


def wear(data: bytes, kind: str, rng: random.Random, *, pixels: bool = True) -> bytes:
    """The page after what `kind` says; without `pixels` a scan is grey paper, which is all that the free pass sees."""
    if kind not in LAYERS:
        return KINDS[kind](data, rng)
    lines = LAYERS[kind](_lines(data), rng)
    if pixels:
        return _pictured(data, rng, lines)
    with pdfium.PdfDocument(data) as document:
        return _as_pdf(Image.new("L", (150, 200), 230), document[0].get_size(), 50, lines)


def layered(lines: list[Line], rng: random.Random) -> list[Line]:
    """Errors in from none to 30 in 100 characters."""
    rate = 10 ** rng.uniform(-3, -0.5)
    return [n._replace(text=misread(n.text, rate, rng)) for n in lines]


def jumbled(lines: list[Line], rng: random.Random) -> list[Line]:
    """Lines out of order: across columns, or at random."""
    if rng.random() < 0.5:
        lines = sorted(lines, key=lambda n: (-round(n.bottom / 4), n.left))
    else:
        rng.shuffle(lines)
    return [n._replace(text=misread(n.text, 0.003, rng)) for n in lines]


def glued(lines: list[Line], rng: random.Random) -> list[Line]:
    """No spaces, or one between all letters."""
    apart = rng.random() < 0.5
    return [n._replace(text=" ".join(n.text) if apart else n.text.replace(" ", "")) for n in lines]


def photo(data: bytes, rng: random.Random) -> bytes:  # noqa: ARG001 - all wears are called alike
    """A page that is a picture without words."""
    noise = np.random.default_rng(rng.randrange(1 << 30)).normal(128, 60, (rng.randrange(8, 40), rng.randrange(8, 40)))
    small = Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))
    return _as_pdf(small.resize((900, 1200), Image.Resampling.BICUBIC), (rng.uniform(400, 600), 800.0), 60, [])


def lied(data: bytes, rng: random.Random) -> bytes:
    """The ToUnicode maps of all fonts, or of one, are wrong; the page looks the same."""
    change = rng.choice((_shifted(rng), _shuffled(rng), _private, None))
    return _with_maps(data, change, only_one=rng.random() < 0.35)


def unligatured(data: bytes, rng: random.Random) -> bytes:
    """Ligatures came out as a sign, a letter or nothing."""
    wrong = rng.choice((b"FFFD", b"0020", b"0066", b"001B", b"00A0"))
    return _with_maps(data, lambda code: wrong if len(code) > 4 else code, only_one=False)


def ungreeked(data: bytes, rng: random.Random) -> bytes:
    """Greek letters and signs beyond Latin came out as Latin letters."""
    move = rng.randrange(26)

    def change(code: bytes) -> bytes:
        value = int(code[:4], 16)
        return b"%04X" % (0x61 + (value + move) % 26) if 0x2C0 < value < 0xE000 else code

    return _with_maps(data, change, only_one=False)


LAYERS: dict[str, Callable[[list[Line], random.Random], list[Line]]] = {
    "scan": lambda _lines, _rng: [],
    "layered": layered,
    "jumbled": jumbled,
    "glued": glued,
}
KINDS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "clean": lambda data, _: data,
    "photo": photo,
    "lied": lied,
    "unligatured": unligatured,
    "ungreeked": ungreeked,
}
SHARES = {
    "clean": 40, "scan": 20, "layered": 18, "jumbled": 3, "glued": 3, "photo": 3, "lied": 8, "unligatured": 3, "ungreeked": 2,
}  # fmt: skip


def draw(rng: random.Random) -> str:
    """A kind, as often as `SHARES` says."""
    return rng.choices(list(SHARES), weights=list(SHARES.values()))[0]


def misread(text: str, rate: float, rng: random.Random) -> str:
    """Text as a reader gives it that errs in `rate` of its characters."""
    found = []
    for c in text:
        if rng.random() > rate:
            found.append(c)
            continue
        what = rng.random()
        if what < 0.65:
            found.append(rng.choice(CONFUSED.get(c, NOISE)))
        elif what < 0.8:
            found.append(c + rng.choice((" ", *NOISE)))
    return "".join(found)


# ---- pictures


def _lines(data: bytes) -> list[Line]:
    document = pdfium.PdfDocument(data)
    lines = reader.read_page(document, 0).lines
    document.close()
    return [n._replace(text=n.text.replace(LINE_HYPHEN, "- ")) for n in lines]


def _pictured(data: bytes, rng: random.Random, lines: list[Line]) -> bytes:
    """The page as a scanner gives it back, with `lines` hidden behind the picture."""
    dpi = 2 ** rng.uniform(6.2, 8.25)  # 73 to 300
    with pdfium.PdfDocument(data) as document:
        size = document[0].get_size()
        image = document[0].render(scale=dpi / 72, grayscale=True).to_pil()
    return _as_pdf(_worn(image, rng, dpi), size, rng.randrange(20, 90), lines)


def _worn(image: Image.Image, rng: random.Random, dpi: float) -> Image.Image:
    """Turned by up to 1.5 degrees, blurred by up to 1/60 inch, unevenly lit, noisy; one in five black and white."""
    turned = image.rotate(rng.gauss(0, 0.5), Image.Resampling.BICUBIC, fillcolor=255)
    blurred = turned.filter(ImageFilter.GaussianBlur(dpi / 72 * abs(rng.gauss(0, 0.25))))
    grey = np.asarray(blurred, dtype=np.float32)
    noise = np.random.default_rng(rng.randrange(1 << 30)).standard_normal(grey.shape, dtype=np.float32)
    ink, paper = rng.uniform(0, 70), rng.uniform(200, 255)
    shade = np.linspace(0, rng.uniform(-25, 25), grey.shape[1], dtype=np.float32)
    worn = ink + grey * ((paper - ink) / 255) + shade + noise * abs(rng.gauss(0, 9))
    if rng.random() < 0.2:
        worn = np.where(worn > (ink + paper) / 2, 255, 0)
    return Image.fromarray(np.clip(worn, 0, 255).astype(np.uint8))


def _as_pdf(image: Image.Image, size: tuple[float, float], quality: int, lines: list[Line]) -> bytes:
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=quality)
    out = pikepdf.new()
    picture = pikepdf.Stream(
        out, jpeg.getvalue(), Type=pikepdf.Name.XObject, Subtype=pikepdf.Name.Image, Width=image.width,
        Height=image.height, ColorSpace=pikepdf.Name.DeviceGray, BitsPerComponent=8, Filter=pikepdf.Name.DCTDecode,
    )  # fmt: skip
    font = pikepdf.Dictionary(
        Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type1, BaseFont=pikepdf.Name.Helvetica,
        Encoding=pikepdf.Name.WinAnsiEncoding,
    )  # fmt: skip
    page = out.add_blank_page(page_size=size)
    page.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(Scan=picture), Font=pikepdf.Dictionary(F=font))
    show = f"q {size[0]:.2f} 0 0 {size[1]:.2f} 0 0 cm /Scan Do Q\n".encode()
    page.Contents = pikepdf.Stream(out, show + b"".join(map(_hidden, lines)))
    return _saved(out)


def _hidden(line: Line) -> bytes:
    """A line of invisible text in Helvetica, stretched to its width; what WinAnsi lacks becomes a question mark."""
    text = line.text.replace("−", "-").encode("cp1252", "replace")
    shown = text.replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")
    stretch = 100 * (line.right - line.left) / max(0.5 * line.size * len(text), 1)
    return b"BT 3 Tr /F %.2f Tf %.1f Tz 1 0 0 1 %.2f %.2f Tm (%s) Tj ET\n" % (
        line.size, stretch, line.left, line.bottom + 0.2 * line.size, shown,
    )  # fmt: skip


# ---- maps


def _with_maps(data: bytes, change: Callable[[bytes], bytes] | None, *, only_one: bool) -> bytes:
    """The PDF with each code of its fonts' ToUnicode maps changed, or (None) without the maps."""
    document = pikepdf.open(io.BytesIO(data))
    fonts = [f for f in document.objects if isinstance(f, pikepdf.Dictionary) and "/ToUnicode" in f]
    fonts.sort(key=lambda f: -len(f.ToUnicode.read_bytes()))
    for font in fonts[:1] if only_one else fonts:
        if change is None:
            del font.ToUnicode
            continue
        cmap = font.ToUnicode.read_bytes()
        start = max(cmap.find(b"beginbfchar"), 0)  # ranges of codes before it stay
        font.ToUnicode.write(cmap[:start] + MAPPING.sub(lambda m: b"<%s> <%s>" % (m[1], change(m[2])), cmap[start:]))
    return _saved(document)


def _shifted(rng: random.Random) -> Callable[[bytes], bytes]:
    by = rng.choice((1, 3, 29, 31))
    return lambda code: b"%04X" % max(int(code[:4], 16) - by, 33)


def _shuffled(rng: random.Random) -> Callable[[bytes], bytes]:
    letters = [*range(0x61, 0x7B)]
    table = dict(zip(letters, rng.sample(letters, len(letters)), strict=True))
    return lambda code: b"%04X" % table.get(int(code[:4], 16), int(code[:4], 16))


def _private(code: bytes) -> bytes:
    return b"%04X" % (0xE000 + int(code[:4], 16) % 0x1900)


def _saved(document: pikepdf.Pdf) -> bytes:
    out = io.BytesIO()
    document.save(out, deterministic_id=True)
    return out.getvalue()
