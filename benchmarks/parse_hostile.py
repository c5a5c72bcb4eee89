"""A hundred PDFs that nobody wants: cut, locked, empty, endless, looping, huge, with wrong bytes and with wrong objects.

All are made from three typeset pages by seeded chance, so that the same files are made each time, but for the keys of
locked ones.
"""

import io
import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pikepdf

from stages.parse.train import typeset

FAMILIES = ("report", "letters", "booklet")
NUM_CUT, NUM_FLIPPED, NUM_FUZZED = 20, 21, 40
NUM_PAGES = 500
WRONG_BYTES = 0.002  # of a file's
WRONG_OBJECTS = 12  # of a file, at most
HUGE = 60_000  # pixels a side of a picture that is a few kilobytes as stored


def files(seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Names and bytes, a hundred of them."""
    rng = random.Random(seed)
    pages = [typeset.page(family, "hostile")[0] for family in FAMILIES]
    for n in range(NUM_CUT):
        data = pages[n % len(pages)]
        yield f"cut-{n:02d}", data[: len(data) * (n + 1) // (NUM_CUT + 1)]
    yield from _locked(pages)
    yield "empty", b""
    yield "no-pages", _changed(pages[0], _without_pages)
    yield "500-pages", _changed(pages[0], _many_pages)
    for name, change in LOOPS.items():
        yield f"loop-{name}", _changed(pages[0], change)
    yield (
        "loop-xref",
        pages[0] + b"\nxref\n0 0\ntrailer\n<</Prev %d>>\nstartxref\n%d\n%%%%EOF\n" % ((len(pages[0]) + 1,) * 2),
    )
    for name, change in HUGE_ONES.items():
        yield f"huge-{name}", _changed(pages[0], change)
    for n in range(NUM_FLIPPED):
        yield f"flipped-{n:02d}", _flipped(pages[n % len(pages)], rng)
    for n in range(NUM_FUZZED):
        page = pages[n % len(pages)]
        fuzzed, same = _changed(page, lambda pdf: _fuzz(pdf, rng)), _changed(page, lambda _: None)
        # What was changed may be an object that is written anew in any case.
        yield f"fuzzed-{n:02d}", fuzzed if fuzzed != same else _changed(page, _without_contents)


def _changed(data: bytes, change: Callable[[pikepdf.Pdf], object], **options: Any) -> bytes:
    out = io.BytesIO()
    with pikepdf.open(io.BytesIO(data)) as pdf:
        change(pdf)
        pdf.save(out, static_id=True, **options)
    return out.getvalue()


def _locked(pages: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    """With a password to open (nobody has it) or to change (anybody may read), by three ciphers."""
    for revision in (3, 4, 6):
        for name, user in (("open", "secret"), ("change", "")):
            lock = pikepdf.Encryption(owner="owner", user=user, R=revision, aes=revision > 3, metadata=revision > 3)  # type: ignore[arg-type]
            yield f"locked-{revision}-{name}", _changed(pages[0], lambda _: None, encryption=lock)


def _without_pages(pdf: pikepdf.Pdf) -> None:
    del pdf.pages[:]


def _without_contents(pdf: pikepdf.Pdf) -> None:
    del pdf.pages[0].obj.Contents


def _many_pages(pdf: pikepdf.Pdf) -> None:
    for _ in range(NUM_PAGES - 1):
        pdf.pages.append(pdf.pages[0])


def _kids_of_itself(pdf: pikepdf.Pdf) -> None:
    pdf.Root.Pages.Kids.append(pdf.Root.Pages)


def _parent_of_itself(pdf: pikepdf.Pdf) -> None:
    pdf.Root.Pages.Parent = pdf.Root.Pages
    del pdf.pages[0].obj["/MediaBox"]


def _draws_itself(pdf: pikepdf.Pdf) -> None:
    form = pdf.make_stream(b"/Me Do", Type=pikepdf.Name.XObject, Subtype=pikepdf.Name.Form, BBox=[0, 0, 99, 99])
    form.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(Me=form))
    page = pdf.pages[0]
    page.obj.Resources.XObject = pikepdf.Dictionary(Me=form)
    page.contents_add(b"/Me Do")


def _contents_of_itself(pdf: pikepdf.Pdf) -> None:
    contents = pdf.make_indirect(pikepdf.Array([pdf.pages[0].obj.Contents]))
    contents.append(contents)
    pdf.pages[0].obj.Contents = contents


def _font_of_itself(pdf: pikepdf.Pdf) -> None:
    for font in pdf.pages[0].obj.Resources.Font.values():
        if "/DescendantFonts" in font:
            font.DescendantFonts = pikepdf.Array([font])


def _huge_picture(pdf: pikepdf.Pdf) -> None:
    rows = zlib.compress(bytes(HUGE // 8) * 1000)
    picture = pdf.make_stream(
        rows, Type=pikepdf.Name.XObject, Subtype=pikepdf.Name.Image, Width=HUGE, Height=HUGE, BitsPerComponent=1,
        ColorSpace=pikepdf.Name.DeviceGray, Filter=pikepdf.Name.FlateDecode,
    )  # fmt: skip
    page = pdf.pages[0]
    page.obj.Resources.XObject = pikepdf.Dictionary(Big=picture)
    page.obj.Contents = pdf.make_stream(b"q 600 0 0 800 0 0 cm /Big Do Q")


def _huge_page(pdf: pikepdf.Pdf) -> None:
    pdf.pages[0].obj.MediaBox = [0, 0, 1e9, 1e9]


def _thin_page(pdf: pikepdf.Pdf) -> None:
    pdf.pages[0].obj.MediaBox = [0, 0, 1e-9, 1e6]


def _deep(pdf: pikepdf.Pdf) -> None:
    pdf.pages[0].contents_add(b"q " * 200_000 + b"[" * 50_000, prepend=True)


LOOPS: dict[str, Callable[[pikepdf.Pdf], None]] = {
    "kids": _kids_of_itself,
    "parent": _parent_of_itself,
    "form": _draws_itself,
    "contents": _contents_of_itself,
    "font": _font_of_itself,
}
HUGE_ONES: dict[str, Callable[[pikepdf.Pdf], None]] = {
    "picture": _huge_picture,
    "page": _huge_page,
    "thin": _thin_page,
    "deep": _deep,
}


def _flipped(data: bytes, rng: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(max(1, round(WRONG_BYTES * len(data) * rng.random()))):
        found[rng.randrange(len(found))] = rng.randrange(256)
    return bytes(found)


def _fuzz(pdf: pikepdf.Pdf, rng: random.Random) -> None:
    """Give some entries of some dictionaries a value of another kind, or of another entry, or none."""
    holders = [o for o in pdf.objects if isinstance(o, pikepdf.Dictionary | pikepdf.Stream) and len(o.keys())]
    for _ in range(rng.randint(1, WRONG_OBJECTS)):
        holder = rng.choice(holders)
        keys = sorted(holder.keys())
        key = rng.choice(keys) if keys else "/Length"
        if key in {"/Length", "/Root"}:
            continue
        values = (
            -1,
            2**31 - 1,
            0.5,
            b"\xff" * 9,
            pikepdf.Name.Wrong,
            pikepdf.Array([]),
            pikepdf.Dictionary(),
            rng.choice(holders),
        )
        if rng.random() < 0.2:
            del holder[key]
        else:
            holder[key] = rng.choice(values)
