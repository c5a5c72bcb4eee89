"""Tables and headings of papers as Markdown: our layout parser against LiteParse's, by TEDS and by headings found.

    python -m benchmarks.parse_tables [--data DIR] [--quick]

Truth are the tables and headings of DIR's `*.gold.md` (from the publishers' XML); both parsers read the born-digital copies
page by page. A table of the truth has the score of the table that is most like it; one that nobody found has 0. LiteParse
(Apache-2.0) is compared where `pip install --no-deps liteparse` was run.
"""

import csv
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.table import Comparison, Options, main
from stages.parse import pdf
from stages.parse.layout import document_text
from stages.parse.score.markup import plain
from stages.parse.score.tables import Table, tables, teds
from stages.parse.structure import structured

DATA = Path(__file__).parents[1].parent / "shared" / "data" / "pdf-gold"
HEADING = re.compile(r"^#{1,6} +(.+)$", re.MULTILINE)
NO_WORD = re.compile(r"[^a-z]+")
Score = Callable[[str, str], list[float]]
MAX_CELLS = 600  # of a table; the time of TEDS goes with the square


def run(options: Options) -> Iterator[Comparison]:
    """Quality of tables and headings, and pages a second."""
    folder = options.data or DATA
    papers = sorted(p for p in pairs(folder) if tables(p[1].read_text()))[: 3 if options.quick else None]
    if not papers:
        print(f"{folder}: no *.gold.md with tables beside a PDF", file=sys.stderr)
        return
    files, truths = [file for file, _ in papers], [gold.read_text() for _, gold in papers]
    peer = liteparse()
    ours, our_seconds = measured(layout, files)
    theirs, their_seconds = measured(peer, files) if peer else ([""] * len(files), 0.0)
    name = "LiteParse" if peer else "nothing"
    for what, score in SCORES.items():
        mine, other = (mean(score, truths, texts) for texts in (ours, theirs))
        yield Comparison(what, name, round(mine, 3), round(other, 3), "share", mine / max(other, 1e-9), None)
    if peer:
        pages = sum(num_pages(file) for file in files)
        rates = pages / our_seconds, pages / their_seconds
        yield Comparison("layout as Markdown", name, *rates, "pages/s", rates[0] / rates[1], None)


def measured(read: Callable[[Path], str], files: Sequence[Path]) -> tuple[list[str], float]:
    """Texts, and the seconds of the processor that they took."""
    read(files[0])
    started = time.process_time()
    return [read(file) for file in files], time.process_time() - started


def pairs(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Born-digital PDFs, and their texts as Markdown."""
    for row in csv.DictReader((folder / "manifest.csv").read_text().splitlines()):
        gold = folder / row["gold"].replace(".gold.txt", ".gold.md")
        if row["kind"] == "born-digital" and gold.is_file():
            yield folder / row["file"], gold


def layout(file: Path) -> str:
    """A PDF by our parser."""
    document = pdf.open_pdf(str(file))
    pages = [structured(document, pdf.read_page(document, i)) for i in range(len(document))]
    document.close()
    return document_text(pages)[0]


def liteparse() -> Callable[[Path], str] | None:
    """A PDF by LiteParse without OCR; None where it is not installed."""
    try:
        from liteparse import LiteParse
    except ImportError:
        print("LiteParse is not compared: pip install --no-deps liteparse", file=sys.stderr)
        return None
    parser = LiteParse(ocr_enabled=False, output_format="markdown", image_mode="off", num_workers=1, quiet=True)
    return lambda file: "\n\n".join(page.markdown for page in parser.parse(str(file)).pages)


def num_pages(file: Path) -> int:
    """How many pages a PDF has."""
    document = pdf.open_pdf(str(file))
    count = len(document)
    document.close()
    return count


def table_scores(truth: str, text: str) -> list[float]:
    """For each table of the truth, the likeness of the most alike one that was found."""
    found = [t for t in tables(text) if num_cells(t) <= MAX_CELLS]
    wanted = [t for t in tables(truth) if num_cells(t) <= MAX_CELLS]
    return [max((teds(t, f) for f in found), default=0.0) for t in wanted]


def num_cells(table: Table) -> int:
    """Cells of a table."""
    return sum(len(row) for row in table)


def headings(text: str) -> list[str]:
    """The headings of a Markdown text, letters only."""
    return [words for h in HEADING.findall(text) if (words := NO_WORD.sub("", plain(h).lower()))]


def heading_recall(truth: str, text: str) -> list[float]:
    """1 for each heading of the truth that is a heading."""
    found = headings(text)
    return [float(any(h in f or f in h for f in found)) for h in headings(truth)]


def heading_precision(truth: str, text: str) -> list[float]:
    """1 for each heading found that is one of the truth."""
    return heading_recall(text, truth)


def mean(score: Score, truths: Sequence[str], texts: Sequence[str]) -> float:
    """The mean over all tables, or headings, of all papers; 0 of nothing."""
    values = [value for truth, text in zip(truths, texts, strict=True) for value in score(truth, text)]
    return sum(values) / max(len(values), 1)


SCORES: dict[str, Score] = {
    "TEDS of tables": table_scores,
    "headings found": heading_recall,
    "headings right": heading_precision,
}

if __name__ == "__main__":
    main("parse_tables", run)
