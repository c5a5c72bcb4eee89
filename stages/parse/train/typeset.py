"""Generated pages as PDF by typst, in families of layouts, one page each, so that a page's truth is known exactly.

A family fixes what a journal fixes (paper, columns, font, heads); a page draws size, leading and margins around it. Held
out families stand for journals that were never seen. Text goes in as string literals: nothing in it is read as markup.
"""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pypdfium2 as pdfium
import typst

from stages.parse.train.papers import FACE, Block, Writer

TIMESTAMP = 1_767_225_600  # 2026-01-01
RAISED = re.compile(f"([⁻{FACE['sup']}]+)|((?<=[A-Za-z)])[0-9]+(?=[A-Z(]|$|[^\\w]))")
ASCII = str.maketrans("⁻" + FACE["sup"], "−0123456789")


@dataclass(frozen=True)
class Family:
    """A journal's layout; sizes in points, margins in millimetres."""

    paper: str
    font: str
    size: float
    columns: int
    margin: float
    justify: bool
    heads: bool
    fill: int


FAMILIES = {
    "preprint": Family("us-letter", "New Computer Modern", 10, 1, 28, justify=True, heads=False, fill=9),
    "proceedings": Family("us-letter", "New Computer Modern", 9, 2, 19, justify=True, heads=False, fill=13),
    "letters": Family("a4", "Libertinus Serif", 9.5, 2, 17, justify=True, heads=True, fill=13),
    "report": Family("a4", "Libertinus Serif", 11, 1, 25, justify=False, heads=True, fill=9),
    "review": Family("a4", "Libertinus Serif", 8.5, 3, 15, justify=True, heads=True, fill=13),
    "booklet": Family("a5", "New Computer Modern", 9, 1, 14, justify=True, heads=True, fill=7),
    "manuscript": Family("us-letter", "DejaVu Sans Mono", 9, 1, 25, justify=False, heads=False, fill=7),
    "bulletin": Family("a4", "DejaVu Sans Mono", 7, 2, 18, justify=False, heads=True, fill=9),
}
HEAD = """#set page(paper: "{paper}", margin: {margin:.1f}mm, columns: {columns}, header: {header}, footer: {footer})
#set text(font: "{font}", size: {size:.2f}pt, lang: "en", hyphenate: true)
#set par(justify: {justify}, leading: {leading:.2f}em, spacing: {spacing:.2f}em)
#set table(stroke: {stroke}, inset: 0.3em)
"""
FORMS = {
    "title": '#text(1.7em, weight: "bold", {})',
    "heading": '#text(1.15em, weight: "bold", {})',
    "equation": '#align(center, text(style: "italic", {}))',
    "caption": "#text(0.85em, {})",
    "text": "#par({})",
    "list": "#par({})",
}
PLOT = """#block(width: 100%, height: {height}mm, stroke: 0.5pt, {{
  for (x, y) in ({points},) {{ place(dx: x * 1%, dy: y * 1%, circle(radius: 1.2pt, fill: {colour})) }} }})"""


def page(family: str, seed: str) -> tuple[bytes, str]:
    """A page of a family as PDF, and its text in reading order; heads and page numbers are no part of it."""
    style, rng, writer = FAMILIES[family], random.Random(f"{family}/{seed}"), Writer(f"{family}/{seed}/text")
    head = _head(style, rng)
    blocks = writer.blocks(max(2, round(style.fill * rng.uniform(0.3, 1.0))))
    while True:
        data: bytes = typst.compile(
            "\n\n".join([head, *(_markup(b, rng) for b in blocks)]).encode(), timestamp=TIMESTAMP
        )
        if _num_pages(data) == 1:
            return data, "\n\n".join(b.text for b in blocks if b.text)
        blocks = blocks[: len(blocks) * 4 // 5]


def _num_pages(data: bytes) -> int:
    with pdfium.PdfDocument(data) as document:
        return len(document)


def _head(style: Family, rng: random.Random) -> str:
    number = str(rng.randrange(1, 999))
    header = f"text(0.8em, {_quoted('Journal of Invented Science ' + number)})" if style.heads else "none"
    return HEAD.format(
        paper=style.paper, margin=style.margin * rng.uniform(0.85, 1.15), columns=style.columns, header=header,
        footer=f"align(center, {_quoted(number)})", font=style.font, size=style.size * rng.uniform(0.9, 1.12),
        justify=str(style.justify).lower(), leading=rng.uniform(0.5, 0.9), spacing=rng.uniform(0.9, 1.4),
        stroke=rng.choice(("none", "0.4pt")),
    )  # fmt: skip


def _markup(block: Block, rng: random.Random) -> str:
    if block.kind in FORMS:
        return FORMS[block.kind].format(_runs(block.text))
    if block.kind == "table":
        cells = ", ".join(_runs(cell) for row in block.rows for cell in row)
        return f"#align(center, text(0.85em, table(columns: {len(block.rows[0])}, {cells})))"
    return _plot(rng) if block.kind == "figure" else _photo(rng)


def _runs(text: str) -> str:
    """Text as typst content: powers and the counts of atoms raised and lowered, as papers have them."""
    parts, at = [], 0
    for m in RAISED.finditer(text):
        parts += [_quoted(text[at : m.start()])] if m.start() > at else []
        kind, shown = ("super", m[1].translate(ASCII)) if m[1] else ("sub", m[2])
        parts.append(f"{kind}(typographic: false, {_quoted(shown)})")
        at = m.end()
    parts += [_quoted(text[at:])] if at < len(text) else []
    return "[#(" + " + ".join(parts) + ")]"


def _plot(rng: random.Random) -> str:
    points = ", ".join(f"({rng.uniform(2, 95):.0f}, {rng.uniform(2, 90):.0f})" for _ in range(rng.randrange(10, 60)))
    return PLOT.format(height=rng.randrange(25, 60), points=points, colour=rng.choice(("black", "blue", "red")))


def _photo(rng: random.Random) -> str:
    """A picture of grey blobs, as SVG is no picture: a PGM is not read by typst, a tiny PNG is."""
    width, height = rng.randrange(30, 70), rng.randrange(20, 60)
    pixels = bytes(rng.randrange(256) for _ in range(width * height))
    raw = f"bytes(({','.join(map(str, pixels))},))"
    form = f'(encoding: "luma8", width: {width}, height: {height})'
    return f"#image({raw}, format: {form}, width: 100%)"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def held_out(families: Sequence[str], seed: int, count: int = 2) -> list[str]:
    """The families that a seed leaves out of training."""
    return random.Random(f"held out {seed}").sample(sorted(families), count)
