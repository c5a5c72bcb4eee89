"""Pictures of papers' own pages: what the router learns from papers whose text nobody has written down.

A page whose layer is good, and whose text was set and not read, has its truth in it: what an engine makes of a picture of
that page should agree with the layer. So the router learns how much of such papers each engine reads, which generated
pages tell it of other papers only. What is given up: an engine that finds what the layer lacks (words in figures) is
marked down for it.
"""

import hashlib
import io
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pikepdf

from stages.parse import pdf
from stages.parse.lines import Page
from stages.parse.router.model import columns, feature_table, typeset
from stages.parse.train import wear
from stages.parse.train.fit import page_text
from stages.parse.train.pages import VERSION, Known, kept

MIN_CHARS = 400  # of a page that has something to read
SHARES = {"clean": 20, "scan": 50, "layered": 30}  # of the kinds of `wear`: pages as they are, and pictures of pages


def pictured(papers: Path, folder: Path, per_paper: int, seed: int = 0) -> Iterator[Known]:
    """Up to `per_paper` pages of every PDF under `papers`, drawn and worn by what is in the file, kept in `folder`.

    A PDF that cannot be opened, or has no such page, gives none. `group` is the PDF.
    """
    for path in sorted(papers.rglob("*.pdf")):
        yield from _of_paper(path, folder, per_paper, seed)


def _of_paper(path: Path, folder: Path, per_paper: int, seed: int) -> Iterator[Known]:
    try:
        document = pdf.open_pdf(str(path))
    except pdf.PdfError:
        return
    pages = [pdf.read_page(document, i) for i in range(len(document))]
    document.close()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    rng = random.Random(f"{seed}/{digest}")
    usable = [page for page in pages if _is_truth(page)]
    for page in sorted(rng.sample(usable, min(per_paper, len(usable))), key=lambda p: p.number):
        file = folder / f"{digest}-{page.number:05d}-{seed}-v{VERSION}.pdf"
        yield kept(file, partial(_made, path, page, file, random.Random(f"{seed}/{digest}/{page.number}")))


def _is_truth(page: Page) -> bool:
    if page.verdict != "good":
        return False
    table = feature_table([page])
    return bool(typeset(table)[0]) and float(columns(table, ("num_chars",))[0, 0]) >= MIN_CHARS


def _made(path: Path, page: Page, file: Path, rng: random.Random) -> tuple[Known, bytes]:
    kind = rng.choices(list(SHARES), weights=list(SHARES.values()))[0]
    alone = io.BytesIO()
    with pikepdf.open(path) as whole, pikepdf.new() as one:
        one.pages.append(whole.pages[page.number - 1])
        one.save(alone, deterministic_id=True)
    known = Known(file, 0, page_text(page), hashlib.sha256(path.name.encode()).hexdigest()[:12], kind)
    return known, wear.wear(alone.getvalue(), kind, rng)
