"""The free pass: pages a second with features and Parquet written, against the bare libraries, in one process.

Seconds are the processor's, the least of several turns, so that what else the machine does weighs little.
"""

import csv
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pypdfium2 as pdfium

from benchmarks.table import Comparison
from schemas.corpus import Document
from stages.parse import pdf
from stages.parse.layout import document_text
from stages.tables import Outputs

TURNS = 6  # the first one warms up


def text_tier(folder: Path) -> Iterator[Comparison]:
    """Every paper of a folder that opens."""
    files = [str(folder / r["file"]) for r in csv.DictReader((folder / "manifest.csv").read_text().splitlines())]
    files = [f for f in files if opens(f)]
    num_pages = sum(bare(f) for f in files)
    for name, theirs in peers().items():
        turns = [
            (_seconds(ours, files), _seconds(lambda fs, t=theirs: [t(f) for f in fs], files)) for _ in range(TURNS)
        ]  # type: ignore[misc]
        mine, other = (min(turn[side] for turn in turns[1:]) for side in (0, 1))
        yield Comparison(
            "text of papers, with features", name, num_pages / mine, num_pages / other, "pages/s", other / mine, None
        )


def _seconds(work: Callable[[list[str]], object], files: list[str]) -> float:
    started = time.process_time()
    work(files)
    return time.process_time() - started


def peers() -> dict[str, Callable[[str], int]]:
    """Bare PDFium, and those that are installed of PyMuPDF (AGPL: for comparison only) and pypdf."""
    found: dict[str, Callable[[str], int]] = {"bare pypdfium2": bare}
    if importlib.util.find_spec("pymupdf"):
        found["PyMuPDF"] = _pymupdf
    else:
        print("PyMuPDF is not compared: pip install --no-deps pymupdf, in an environment of its own", file=sys.stderr)
    if importlib.util.find_spec("pypdf"):
        found["pypdf"] = _pypdf
    return found


def _pymupdf(file: str) -> int:
    import pymupdf

    with pymupdf.open(file) as document:
        return len([page.get_text() for page in document])


def _pypdf(file: str) -> int:
    import pypdf

    return len([page.extract_text() for page in pypdf.PdfReader(file).pages])


def opens(file: str) -> bool:
    """Whether PDFium opens a file by itself."""
    try:
        pdfium.PdfDocument(file).close()
    except pdfium.PdfiumError:
        return False
    return True


def bare(file: str) -> int:
    """The text of every page, and nothing else; how many there are."""
    document = pdfium.PdfDocument(file)
    texts = [page.get_textpage().get_text_range() for page in document]
    document.close()
    return len(texts)


def ours(files: list[str]) -> None:
    """Pages with features, joined to documents, written as a table."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = Outputs(Path(folder), {"documents": Document}, (0, 1))
        for number, file in enumerate(files):
            document = pdf.open_pdf(file)
            pages = [pdf.read_page(document, i) for i in range(len(document))]
            document.close()
            text, spans = document_text(pages)
            fields = {"media_type": "application/pdf", "path": file, "source": "", "licence": None, "title": None}
            fields |= {
                "doi": None,
                "language": None,
                "doc_id": f"{number:064x}",
                "text": text or "none",
                "pages": spans,
            }
            outputs["documents"].write(Document.model_validate(fields))
        outputs.close()
