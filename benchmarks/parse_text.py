"""The free pass: pages a second with features and Parquet written, against the bare libraries, in one process.

Seconds are the processor's. Ours and the peer take turns, each through all files as a worker goes through them, and of
every file's turns the least counts for each side, so that a machine whose speed changes weighs on both alike.
"""

import csv
import hashlib
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pypdfium2 as pdfium

from benchmarks.table import Comparison
from schemas.corpus import Document
from stages.parse import pdf
from stages.parse.layout import document_text
from stages.tables import Outputs

TURNS = 9  # the first one warms up


def text_tier(folder: Path) -> Iterator[Comparison]:
    """Every paper of a folder that opens."""
    files = [str(folder / r["file"]) for r in csv.DictReader((folder / "manifest.csv").read_text().splitlines())]
    files = [f for f in files if opens(f)]
    num_pages = sum(bare(f) for f in files)
    for name, theirs in peers().items():
        turns = np.array([_turn(files, theirs) for _ in range(TURNS)])  # turns, files and one, sides
        mine, other = turns[1:].min(axis=0).sum(axis=0)
        yield Comparison(
            "text of papers, with features", name, num_pages / mine, num_pages / other, "pages/s", other / mine, None
        )


def _turn(files: Sequence[str], theirs: Callable[[str], int]) -> list[tuple[float, float]]:
    """Seconds of ours and of the peer for every file, and of ours for opening and closing the table at last."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        outputs = Outputs(Path(folder), {"documents": Document}, (0, 1))
        table = time.process_time() - started
        mine = [_seconds(partial(ours, file, outputs)) for file in files]
        table += _seconds(outputs.close)
    return [*zip(mine, [_seconds(partial(theirs, file)) for file in files], strict=True), (table, 0.0)]


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
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
    else:
        print("pypdf is not compared: pip install --no-deps pypdf", file=sys.stderr)
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


def ours(file: str, outputs: Outputs) -> None:
    """Pages with features, joined to a document, and a row of a table."""
    document = pdf.open_pdf(file)
    pages = [pdf.read_page(document, i) for i in range(len(document))]
    document.close()
    text, spans = document_text(pages)
    fields = {"media_type": "application/pdf", "path": file, "source": "", "licence": None, "title": None}
    fields |= {"doi": None, "language": None, "doc_id": hashlib.sha256(file.encode()).hexdigest()}
    outputs["documents"].write(Document.model_validate(fields | {"text": text or "none", "pages": spans}))
