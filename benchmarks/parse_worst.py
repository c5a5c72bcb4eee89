"""The worst pages of real papers, to look at: the picture, the true text and what a parser made of it.

    python -m benchmarks.parse_worst [--data DIR] [--out build/parse-worst.html] [--each 3]

Beside them stands the mean quality of the text layer and of every parser that is installed, by kind of page. What an OCR
engine reads is kept as for `benchmarks.parse`.
"""

import argparse
import html
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.parse import BUILD, DATA, labelled, parsers
from stages.parse import pdf
from stages.parse.router.show import DPI, STYLE, picture
from stages.parse.train.fit import Labelled, page_text
from stages.parse.train.gold import papers
from stages.parse.train.readings import Readings

MAX_CHARS = 2500
LAYER = "text layer"


def write(rows: Sequence[Labelled], names: Sequence[str], out: Path, each: int) -> None:
    """A table by kind and parser, and of each parser the `each` pages that it read worst."""
    parts = ["<h1>The worst pages</h1>", by_kind(rows, names), "<p>Beside each page: its true text, and what was read."]
    for name in (LAYER, *names):
        parts.append(f"<h2>{html.escape(name)}</h2>")
        parts += [_page(row, name) for row in worst(rows, name, each)]
    title = "<!doctype html><meta charset=utf-8><title>The worst pages</title>"
    out.write_text(f"{title}<style>{STYLE}</style>" + "\n".join(parts))


def quality(row: Labelled, name: str) -> float:
    """What a page is worth as a parser read it."""
    return row.layer if name == LAYER else row.read[name][0]


def worst(rows: Sequence[Labelled], name: str, each: int) -> list[Labelled]:
    """The pages that a parser read worst, one of each kind at most; of the layer those only that are taken for good."""
    found: dict[str, Labelled] = {}
    usable = [r for r in rows if name != LAYER or not r.page.needs_ocr]
    for row in sorted(usable, key=lambda r: quality(r, name)):
        found.setdefault(row.known.kind, row)
    return list(found.values())[:each]


def by_kind(rows: Sequence[Labelled], names: Sequence[str]) -> str:
    """Mean quality of the layer and of every parser, by kind of page."""
    columns = (LAYER, *names)
    lines = [f"<tr><th>kind<th>pages{''.join(f'<th>{html.escape(n)}' for n in columns)}"]
    for kind in sorted({r.known.kind for r in rows}):
        alike = [r for r in rows if r.known.kind == kind]
        means = "".join(f"<td>{np.mean([quality(r, n) for r in alike]):.3f}" for n in columns)
        lines.append(f"<tr><td>{html.escape(kind)}<td>{len(alike)}{means}")
    return f"<table>{''.join(lines)}</table>"


def _page(row: Labelled, name: str) -> str:
    document = pdf.open_pdf(str(row.known.path))
    pixels, _, _ = pdf.render(document, row.known.index, DPI)
    document.close()
    text = page_text(row.page if name == LAYER else _reading(row, name))
    head = f"{row.known.path.name}, page {row.known.index + 1} ({row.known.kind}): {quality(row, name):.2f} by {name}, "
    head += ", ".join(f"{quality(row, other):.2f} by {other}" for other in (LAYER, *row.read) if other != name)
    texts = "".join(f"<pre>{html.escape(t[:MAX_CHARS])}</pre>" for t in (row.known.truth, text))
    return f'<div class="page"><h3>{html.escape(head)}</h3><img alt="" src="{picture(pixels)}">{texts}</div>'


def _reading(row: Labelled, name: str) -> pdf.Page:
    return Readings(BUILD / "parse-readings").read(row.known.path, row.known.index, name).page


def main() -> None:
    """Read the papers and write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.parse_worst", description="The worst pages, to look at."
    )
    parser.add_argument(
        "--data", type=Path, default=DATA, metavar="DIR", help="papers with their texts (default: pdf-gold)"
    )
    parser.add_argument(
        "--out", type=Path, default=BUILD / "parse-worst.html", metavar="FILE", help="the page to write"
    )
    parser.add_argument("--each", type=int, default=3, metavar="N", help="pages of each parser, of different kinds")
    options = parser.parse_args()
    write(list(_rows(options.data)), parsers(), options.out, options.each)
    print(options.out)


def _rows(folder: Path) -> Iterator[Labelled]:
    if not (folder / "manifest.csv").is_file():
        raise SystemExit(f"--data {folder}: expected a folder with a manifest.csv, as docs/design/009-parse.md says")
    yield from labelled(papers(folder))


if __name__ == "__main__":
    main()
