"""What happens to papers on their way to a disk: scans, text layers that lie, and files that are broken.

A scan is the page as a grey JPEG, slightly turned, blurred and noisy, without any text. A broken text layer is made by
rewriting the fonts' ToUnicode maps, as careless PDF writers do: the page looks right, its text is something else.
All of it is deterministic for the same seed and the same versions of the libraries.
"""

import io
import random
import re
from typing import Literal

import numpy as np
import pikepdf
import pypdfium2
from PIL import Image, ImageFilter

Lie = Literal["shifted", "shuffled", "private", "missing"]
LIES: tuple[Lie, ...] = ("shifted", "shuffled", "private", "missing")
MAPPING = re.compile(rb"<([0-9A-Fa-f]{4})> <([0-9A-Fa-f]{4,})>")
SHIFT = 29  # glyph 3 is the space (32) in many TrueType fonts: writers that forget this shift all letters by 29
PRIVATE = 0xE000  # start of Unicode's private-use area
PASSWORD = "invented"  # noqa: S105 - of a demonstration file that is to stay closed


def save(pdf: pikepdf.Pdf) -> bytes:
    """The PDF's bytes, with an identifier that depends on the content alone."""
    out = io.BytesIO()
    pdf.save(out, deterministic_id=True)
    return out.getvalue()


def scanned(pdf: bytes, seed: int, dpi: int = 200) -> bytes:
    """The PDF as a scanner would give it back: one grey picture a page, no text."""
    rng = np.random.default_rng(seed)
    out = pikepdf.new()
    with pypdfium2.PdfDocument(pdf) as document:
        for page in document:
            image = page.render(scale=dpi / 72, grayscale=True).to_pil()
            _add_picture(out, _worn(image, rng), page.get_size())
    return save(out)


def _worn(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Turned by up to 0.6 degrees, blurred by half a pixel, on greyish paper with noise of 6 grey levels."""
    turned = image.rotate(rng.uniform(-0.6, 0.6), Image.Resampling.BICUBIC, fillcolor=255)
    grey = np.asarray(turned.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 0.7))), dtype=np.float32)
    paper = rng.uniform(236, 248)
    shade = np.linspace(0, rng.uniform(-10, 10), grey.shape[1], dtype=np.float32)  # light falls off to one side
    noise = rng.standard_normal(grey.shape, dtype=np.float32) * 6
    worn = 25 + grey * ((paper - 25) / 255) + shade + noise
    return Image.fromarray(np.clip(worn, 0, 255).astype(np.uint8))


def _add_picture(out: pikepdf.Pdf, image: Image.Image, size: tuple[float, float]) -> None:
    """Append a page of `size` points that is covered by the picture."""
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=55)
    picture = pikepdf.Stream(
        out, jpeg.getvalue(), Type=pikepdf.Name.XObject, Subtype=pikepdf.Name.Image, Width=image.width,
        Height=image.height, ColorSpace=pikepdf.Name.DeviceGray, BitsPerComponent=8, Filter=pikepdf.Name.DCTDecode,
    )  # fmt: skip
    width, height = size
    out.add_blank_page(page_size=size)
    page = out.pages[-1]
    page.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(Scan=picture))
    page.Contents = pikepdf.Stream(out, f"q {width:.2f} 0 0 {height:.2f} 0 0 cm /Scan Do Q".encode())


def broken_layer(pdf: bytes, lie: Lie, seed: int) -> bytes:
    """The PDF with ToUnicode maps that lie in one of four ways; it looks the same."""
    letters = _shuffled_letters(seed)
    document = pikepdf.open(io.BytesIO(pdf))
    for font in document.objects:
        if not (isinstance(font, pikepdf.Dictionary) and "/ToUnicode" in font):
            continue
        if lie == "missing":
            del font.ToUnicode
        else:
            font.ToUnicode.write(_lying(font.ToUnicode.read_bytes(), lie, letters))
    return save(document)


def _shuffled_letters(seed: int) -> dict[int, int]:
    """A permutation of letters (each case by itself) and digits."""
    rng = random.Random(f"{seed}/letters")
    table: dict[int, int] = {}
    for group in ("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"):
        table.update(zip(map(ord, group), map(ord, rng.sample(group, len(group))), strict=True))
    return table


def _lying(cmap: bytes, lie: Lie, letters: dict[int, int]) -> bytes:
    def wrong(entry: re.Match[bytes]) -> bytes:
        glyph, code = entry[1], int(entry[2][:4], 16)
        if lie == "shuffled":
            code = letters.get(code, code)
        else:
            code = code - SHIFT if lie == "shifted" and code > SHIFT else PRIVATE + code % 0x1900
        return b"<%s> <%04X>" % (glyph, code)

    start = cmap.index(b"beginbfchar")  # ranges of codes before it stay
    return cmap[:start] + MAPPING.sub(wrong, cmap[start:])


def bad_files(pdf: bytes) -> dict[str, bytes]:
    """The files that a real folder has, made from one good PDF; the names say what is wrong."""
    return {
        "truncated.pdf": pdf[: len(pdf) // 3],
        "empty.pdf": b"",
        "locked.pdf": _locked(pdf),
        "no-pages.pdf": save(pikepdf.new()),
        "not-a-pdf.pdf": b"Gone home early. The samples are in the second drawer, and the key is where it always is.\n",
    }


def _locked(pdf: bytes) -> bytes:
    """Encrypted so that it cannot be read without a password; RC4, because AES draws random numbers."""
    out = io.BytesIO()
    lock = pikepdf.Encryption(owner=PASSWORD, user=PASSWORD, R=3, aes=False, metadata=False)
    pikepdf.open(io.BytesIO(pdf)).save(out, static_id=True, encryption=lock)
    return out.getvalue()
