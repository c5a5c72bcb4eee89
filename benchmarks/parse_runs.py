"""Whole runs of parse: hostile files, kills at random points, and memory over thirty thousand pages.

Runs are the stage's command in a process of its own. A killed run is started again by the same command and has to leave
the bytes of one that was never killed, by one worker or two.
"""

import contextlib
import csv
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pikepdf
import psutil
import pyarrow.parquet as pq

from benchmarks.parse_hostile import files
from benchmarks.parse_text import opens
from benchmarks.table import Comparison
from schemas.corpus import SourceFile
from schemas.table import BlobRef
from stages.base import PACKAGE_ROOT
from stages.parse.parsers import lacking
from tests.tables import write_table

KILLS, QUICK_KILLS = 20, 2
NUM_PAGES, QUICK_PAGES = 30_000, 6_000
PAGES_A_DOCUMENT = 10
INTERVAL_SECONDS, KILL_SECONDS = 0.25, 0.02
MAX_DONE = 90  # of a hundred documents, when a run is killed
MAX_GROWTH, MAX_SLOPE = 1.05, 1.0  # of memory from the middle of a run to its end, and in KB a page: flat
PATIENT = {"page_seconds": 600, "document_seconds": 1200}  # a busy machine changes no byte


def hostile(*, quick: bool) -> Iterator[Comparison]:
    """A hundred hostile files: rows out for files in, and the same bytes after kills, by one worker and by two."""
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        sources = _sources(base, files())
        engine = "rapidocr" if lacking(["tesseract"], None) else "tesseract"  # the faster one where both are there
        settings = {"ocr": "none" if quick else engine, **PATIENT}
        whole = _run(base / "whole", sources, settings, workers=1)
        yield _same("hostile files, rows out", "rows in", _rows(whole), len(set(_ids(sources))))
        expected, rng, same, kills = _bytes(whole), random.Random(0), 0, 0
        tries = QUICK_KILLS if quick else KILLS
        for number in range(tries):
            workers, out = 1 + number % 2, base / f"killed-{number}"
            kills += _run_and_kill(out, sources, settings, workers, after=rng.randrange(MAX_DONE))
            same += _bytes(_run(out, sources, settings, workers=3 - workers)) == expected
        what = f"hostile files, runs with the bytes of an unbroken one ({kills} were killed at work)"
        yield _same(what, "runs begun by 1 or 2 workers, ended by the other", same, tries)


def _same(what: str, peer: str, ours: int, theirs: int) -> Comparison:
    return Comparison(what, peer, ours, theirs, "", ours / theirs, equal=ours == theirs)


class Sample(NamedTuple):
    """Pages that were written by then, and the megabytes in memory of the stage's process and of its workers."""

    pages: int
    stage: float
    workers: float


def memory(folder: Path, *, quick: bool, num_pages: int = NUM_PAGES) -> Iterator[Comparison]:
    """Memory of the stage and its workers in the middle of a run with a budget and at its end, and how each grows."""
    num_pages = QUICK_PAGES if quick else num_pages
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        sources = _sources(base, _long_documents(folder, num_pages // PAGES_A_DOCUMENT))
        samples: list[Sample] = []
        settings = {"budget": "0 s", "parsers": ["layout"], **PATIENT}
        out = base / "out"
        _run(out, sources, settings, workers=1, watch=lambda process: samples.append(_sample(process, out)))
    yield from _growth(samples, num_pages)


def _growth(samples: Sequence[Sample], num_pages: int) -> Iterator[Comparison]:
    """By thirds of the pages, because a table's row group, 32 MB, takes 7,000 to fill; fewer of them show no verdict."""
    judged = num_pages >= NUM_PAGES
    middle, last = (
        max(s.stage + s.workers for s in samples if a * num_pages <= 3 * s.pages <= b * num_pages)
        for a, b in ((1, 2), (2, 3))
    )
    yield Comparison(
        f"memory in the last third of {num_pages} pages", "in the middle third", last, middle, "MB", middle / last,
        equal=last <= MAX_GROWTH * middle if judged else None,
    )  # fmt: skip
    later = [s for s in samples if 3 * s.pages >= num_pages]
    for kind, whose in (("stage", "the stage's own process"), ("workers", "its workers")):
        slope, _ = np.polyfit([s.pages for s in later], [1000 * getattr(s, kind) for s in later], 1)
        yield Comparison(
            f"growth of {whose} after the first third of {num_pages} pages",
            "the most that is flat", float(slope), MAX_SLOPE, "KB a page", MAX_SLOPE / max(abs(slope), 1e-3),
            equal=bool(slope <= MAX_SLOPE) if judged else None,
        )  # fmt: skip


def _long_documents(folder: Path, count: int) -> Iterator[tuple[str, bytes]]:
    """Documents of ten pages, made of the papers of a folder in turn; no two have the same bytes."""
    rows = csv.DictReader((folder / "manifest.csv").read_text().splitlines())
    files = [str(folder / r["file"]) for r in rows if r["kind"] == "born-digital" and opens(str(folder / r["file"]))]
    papers = [_lengthened(file) for file in files[:count]]
    for number in range(count):
        yield f"long-{number:05d}", papers[number % len(papers)] + b"%% %d\n" % number


def _lengthened(file: str) -> bytes:
    """A paper whose pages come again until there are ten."""
    with pikepdf.open(file) as pdf:
        own = len(pdf.pages)
        while len(pdf.pages) < PAGES_A_DOCUMENT:
            pdf.pages.append(pdf.pages[len(pdf.pages) % own])
        del pdf.pages[PAGES_A_DOCUMENT:]
        out = io.BytesIO()
        pdf.save(out)
    return out.getvalue()


# ---- runs


def _sources(base: Path, named: Iterable[tuple[str, bytes]]) -> Path:
    """PDFs on disk, and the table that has them; returns the table's folder."""
    rows: dict[str, SourceFile] = {}
    for name, data in named:
        path = base / f"{name}.pdf"
        path.write_bytes(data)
        nothing = dict.fromkeys(("record", "licence", "title", "doi"))
        blob = BlobRef.of(path)
        fields = {"source_id": blob.sha256, "path": str(path), "media_type": "application/pdf", "source": "benchmark"}
        rows[blob.sha256] = SourceFile.model_validate({**fields, **nothing, "blob": blob})
    return write_table(base / "sources", SourceFile, rows.values(), name="sources")


def _start(out: Path, sources: Path, settings: dict[str, Any], workers: int) -> subprocess.Popen[bytes]:
    config = out.with_suffix(".json")
    config.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "stages.parse", "--sources", sources, "--out", out, "--config", config]
    environment = os.environ | {"BOREALIS_WORKERS": str(workers)}
    return subprocess.Popen(
        command, cwd=PACKAGE_ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )  # fmt: skip


def _run(
    out: Path,
    sources: Path,
    settings: dict[str, Any],
    workers: int,
    watch: Callable[[psutil.Process], None] | None = None,
) -> Path:
    """Run to the end; `watch` looks at the process now and then."""
    process = _start(out, sources, settings, workers)
    if watch is not None:
        while process.poll() is None:
            watch(psutil.Process(process.pid))
            time.sleep(INTERVAL_SECONDS)
    _, words = process.communicate()
    if process.returncode:
        raise RuntimeError(f"parse ended with {process.returncode}: {words.decode(errors='replace')[-2000:]}")
    return out


def _run_and_kill(out: Path, sources: Path, settings: dict[str, Any], workers: int, after: int) -> bool:
    """Run, and kill the stage after so many documents (its workers end with it); whether it was still at work."""
    process = _start(out, sources, settings, workers)
    while process.poll() is None and (not (out / "progress").is_dir() or _num_done(out) < after):
        time.sleep(KILL_SECONDS)
    found = process.poll() is None
    if found:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return found


def _sample(process: psutil.Process, out: Path) -> Sample:
    """What a running stage has in memory, and how far it is."""
    return Sample(_num_done(out) * PAGES_A_DOCUMENT, _resident([process]), _resident(_children(process)))


def _num_done(out: Path) -> int:
    """Documents that a running stage has written; 0 before it has begun and after it has ended."""
    try:
        done: int = json.loads(next((out / "progress").glob("*.json")).read_text())["done"]
    except (StopIteration, FileNotFoundError):
        return 0
    return done


def _resident(processes: Iterable[psutil.Process]) -> float:
    """Megabytes in memory."""
    total = 0
    for one in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += one.memory_info().rss
    return total / 1e6


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return found


def _bytes(out: Path) -> list[tuple[str, str]]:
    """The digest of every table's files."""
    found = sorted(out.glob("*/*.parquet"))
    return [(str(f.relative_to(out)), hashlib.sha256(f.read_bytes()).hexdigest()) for f in found]


def _rows(out: Path) -> int:
    """Documents and dropped sources, by their names."""
    kept: Sequence[str] = pq.read_table(out / "documents", columns=["doc_id"])["doc_id"].to_pylist()
    dropped: Sequence[str] = pq.read_table(out / "dropped", columns=["row_id"])["row_id"].to_pylist()
    return len(set(kept) | set(dropped)) if len(kept) + len(dropped) == len({*kept, *dropped}) else -1


def _ids(sources: Path) -> list[str]:
    found: list[str] = pq.read_table(sources, columns=["source_id"])["source_id"].to_pylist()
    return found
