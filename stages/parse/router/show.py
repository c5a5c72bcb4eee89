"""A page to look at: what a run with a budget decided, the curve that it lies on, and pages beside their texts.

    python -m stages.parse.router.show PARSE_OUTPUT [--sample 12]

Writes `routing.html` into the output's folder, one file with pictures inside. The curve is the expected quality of all pages
by the seconds that it would take, best rate first, with what would have come of other documents like these. The sample is the pages that gained most, those that the price left
out, and some at random. It opens PDFs in this process, so look at corpora that you trust.
"""

import argparse
import base64
import html
import io
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from schemas.corpus import SourceFile
from schemas.manifest import Manifest
from schemas.table import ContractError
from stages.parse import pdf
from stages.parse.layout import document_text
from stages.parse.members import located
from stages.parse.router.curve import Curve, Interval
from stages.parse.router.price import Document, Step
from stages.parse.router.route import RULES
from stages.tables import Reader

DPI = 60
READ = {"gain", *RULES}  # the reasons of pages that were read again
NUM_POINTS = 40
MAX_CHARS = 2500
STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse}td,th{padding:.2rem .8rem;text-align:left;border-bottom:1px solid #ddd}
.page{display:grid;grid-template-columns:auto 1fr 1fr;gap:1rem;margin:1.5rem 0;border-top:1px solid #ddd;padding-top:1rem}
.page img{width:20rem;border:1px solid #ccc}pre{white-space:pre-wrap;font-size:12px;margin:0;max-height:28rem;overflow:auto}
h3{grid-column:1/-1;margin:0;font-size:1rem}polyline{fill:none;stroke:#1d4f7c;stroke-width:2}polygon{fill:#1d4f7c22}"""

Routes = Sequence[dict[str, Any]]


def write(folder: Path, num_pages: int = 12) -> Path:
    """Write the page of a finished output; `ValueError` where it was parsed without a budget."""
    there = (folder / "routes").is_dir()
    routes = pq.read_table(folder / "routes", partitioning=None).to_pylist() if there else []
    if not routes:
        raise ValueError(f"{folder}: no routes, which a finished output of parse has where parse.budget is set")
    parts = ["<h1>Where the seconds went</h1>", _counts(routes), _curve(routes), "<h2>Pages</h2>"]
    parts += _pages(folder, _sample(routes, num_pages))
    file = folder / "routing.html"
    title = "<!doctype html><meta charset=utf-8><title>Routing</title>"
    file.write_text(f"{title}<style>{STYLE}</style>" + "\n".join(parts))
    return file


def _counts(routes: Routes) -> str:
    """A row for each parser and reason."""
    counts = Counter((r["parser"], r["reason"]) for r in routes)
    rows = [f"<tr><td>{p}<td>{html.escape(why)}<td>{n}" for (p, why), n in counts.most_common()]
    strange = sum(r["strange"] for r in routes)
    return f"<table><tr><th>read by<th>because<th>pages{''.join(rows)}</table><p>{strange} pages are unlike the training's."


def _curve(routes: Routes) -> str:
    """Expected quality against seconds, its intervals, and where this run is."""
    curve = Curve(*_documents(routes))
    points = [(curve.seconds(p).value, curve.quality(p)) for p in curve.prices(NUM_POINTS)]
    chosen = [r for r in routes if r["reason"] in READ and r["gain"] > 0]
    spent = sum(r["seconds"] for r in chosen) / curve.num_documents
    here = curve.quality(0).value - curve.gain(0).value + sum(r["gain"] for r in chosen) / len(routes)
    most = max(points[-1][0], spent, 1e-9)
    low, high = min(q.low for _, q in points), max(q.high for _, q in points)
    x = [20 + 600 * s / most for s, _ in points]
    y = _scale(low, high)
    line = " ".join(f"{a:.1f},{y(q.value):.1f}" for a, (_, q) in zip(x, points, strict=True))
    edge = [f"{a:.1f},{y(q.high):.1f}" for a, (_, q) in zip(x, points, strict=True)]
    edge += [f"{a:.1f},{y(q.low):.1f}" for a, (_, q) in zip(x[::-1], points[::-1], strict=True)]
    return (
        f'<h2>Quality by seconds</h2><svg width=640 height=260 role="img"><polygon points="{" ".join(edge)}"/>'
        f'<polyline points="{line}"/><circle cx="{20 + 600 * spent / most:.1f}" cy="{y(here):.1f}" r="6" fill="#b3402a"/></svg>'
        f"<p>This run: a quality of {here:.3f} a page expected for {spent:.3g} s a document. All that gains: "
        f"{_interval(points[-1][1])} for {points[-1][0]:.3g} s; nothing: {_interval(points[0][1])}. The band holds 95 of 100 "
        "samples of as many documents."
    )


def _documents(routes: Routes) -> tuple[list[Document], list[float]]:
    """Every document's pages that would gain, and the summed quality of its layers."""
    by_document: dict[str, list[dict[str, Any]]] = {}
    for route in routes:
        by_document.setdefault(route["doc_id"], []).append(route)
    documents = []
    for pages in by_document.values():
        useful = [r for r in pages if r["gain"] > 0 and r["seconds"] > 0]
        documents.append(
            Document(tuple(Step(r["gain"] / r["seconds"], r["seconds"], r["page"], 0) for r in useful), len(pages))
        )
    return documents, [sum(r["quality"] for r in pages) for pages in by_document.values()]


def _interval(found: Interval) -> str:
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def _scale(low: float, high: float) -> Callable[[float], float]:
    """Where a quality is on the picture, in pixels from its top."""
    return lambda value: 240 - 220 * (value - low) / max(high - low, 1e-9)


def _sample(routes: Routes, count: int) -> list[dict[str, Any]]:
    """Pages that gained most, that were too dear, and any: a third each."""
    read = sorted((r for r in routes if r["reason"] in READ), key=lambda r: -r["gain"])
    dear = sorted((r for r in routes if r["reason"].endswith("price")), key=lambda r: -r["gain"])
    others = random.Random(0).sample(list(routes), min(count, len(routes)))  # noqa: S311 - a sample, no secret
    third = max(count // 3, 1)
    chosen = {(r["doc_id"], r["page"]): r for r in [*read[:third], *dear[:third], *others]}
    return list(chosen.values())[:count]


def _pages(folder: Path, routes: Routes) -> Iterator[str]:
    manifest = Manifest.read(folder)
    sources = Reader((folder / manifest.inputs["sources"].path).resolve(), SourceFile)
    wanted = {r["doc_id"] for r in routes}
    files = {s.source_id: s for s in sources.rows() if s.blob and s.source_id in wanted}
    table = pq.read_table(folder / "documents", columns=["doc_id", "text", "pages", "path"], partitioning=None)
    documents = {d["doc_id"]: d for d in table.to_pylist() if d["doc_id"] in wanted}
    for route in routes:
        if (file := files.get(route["doc_id"])) is not None and file.blob is not None:
            path = located(str(sources.open_path(file.blob)), file.stored, file.source_id)
            yield _page(route, path, Path(file.path).name, documents.get(route["doc_id"]))


def _page(route: dict[str, Any], path: str, name: str, document: dict[str, Any] | None) -> str:
    opened = pdf.open_pdf(path)
    cheap = document_text([pdf.read_page(opened, route["page"] - 1)])[0]
    pixels, _, _ = pdf.render(opened, route["page"] - 1, DPI)
    opened.close()
    span = next((s for s in document["pages"] if s["page"] == route["page"]), None) if document else None
    chosen = document["text"][span["start"] : span["end"]] if document and span else "(no text of this page was kept)"
    head = f"{document['path'] if document else name}, page {route['page']}: {route['parser']} ({route['reason']}), "
    head += f"layer {route['quality']:.2f}, gain {route['gain']:+.2f} in {route['seconds']:.1f} s at price {route['price']:.2g}"
    texts = "".join(f"<pre>{html.escape(t[:MAX_CHARS])}</pre>" for t in (cheap, chosen))
    return f'<div class="page"><h3>{html.escape(head)}</h3><img alt="" src="{picture(pixels)}">{texts}</div>'


def picture(pixels: Any) -> str:
    """Grey pixels as a PNG inside a page."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m stages.parse.router.show", description="Write routing.html.")
    parser.add_argument("folder", type=Path, help="parse's output folder")
    parser.add_argument("--sample", type=int, default=12, help="pages to show (default: 12)")
    options = parser.parse_args()
    try:
        print(write(options.folder, options.sample))
    except (ValueError, ContractError) as error:
        parser.error(str(error))
