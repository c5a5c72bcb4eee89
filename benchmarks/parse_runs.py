"""Whole runs of parse: hostile files, kills at random points, and memory over ten thousand pages.

Runs are the stage's command in a process of its own. A killed run is started again by the same command and has to leave
the bytes of one that was never killed, by one worker or two.
"""

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
from typing import Any

import pikepdf
import psutil
import pyarrow.parquet as pq

from benchmarks.parse_hostile import files
from benchmarks.parse_text import opens
from benchmarks.table import Comparison
from schemas.corpus import SourceFile
from schemas.table import BlobRef
from stages.base import PACKAGE_ROOT
from tests.tables import write_table

KILLS, QUICK_KILLS = 20, 2
NUM_PAGES, QUICK_PAGES = 10_000, 1_000
PAGES_A_DOCUMENT = 10
INTERVAL_SECONDS = 0.25
MAX_GROWTH = 1.05  # of memory, from the middle of a run to its end: flat
PATIENT = {"page_seconds": 600, "document_seconds": 1200}  # a busy machine changes no byte


def hostile(*, quick: bool) -> Iterator[Comparison]:
    """A hundred hostile files: rows out for files in, and the same bytes after kills, by one worker and by two."""
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        sources = _sources(base, files())
        settings = {"ocr": "none" if quick else "rapidocr", **PATIENT}
        started = time.perf_counter()
        whole = _run(base / "whole", sources, settings, workers=1)
        seconds = time.perf_counter() - started
        yield _same("hostile files, rows out", "rows in", _rows(whole), len(set(_ids(sources))))
        expected, rng, same, kills = _bytes(whole), random.Random(0), 0, 0
        tries = QUICK_KILLS if quick else KILLS
        for number in range(tries):
            workers, out = 1 + number % 2, base / f"killed-{number}"
            kills += _run_and_kill(out, sources, settings, workers, after=rng.uniform(0.1, 0.9) * seconds / workers)
            same += _bytes(_run(out, sources, settings, workers=3 - workers)) == expected
        what = f"hostile files, runs with the bytes of an unbroken one ({kills} were killed at work)"
        yield _same(what, "runs begun by 1 or 2 workers, ended by the other", same, tries)


def _same(what: str, peer: str, ours: int, theirs: int) -> Comparison:
    return Comparison(what, peer, ours, theirs, "", ours / theirs, equal=ours == theirs)


def memory(folder: Path, *, quick: bool) -> Iterator[Comparison]:
    """Memory of the stage and its workers, in the middle of a run with a budget and at its end."""
    num_pages = QUICK_PAGES if quick else NUM_PAGES
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        sources = _sources(base, _long_documents(folder, num_pages // PAGES_A_DOCUMENT))
        sizes: list[float] = []
        settings = {"budget": "0 s", "parsers": ["layout"], **PATIENT}
        _run(base / "out", sources, settings, workers=1, watch=lambda process: sizes.append(_resident(process)))
    middle, last = (max(sizes[int(len(sizes) * a) : int(len(sizes) * b)]) for a, b in ((0.4, 0.6), (0.8, 0.97)))
    yield Comparison(
        f"memory by the end of {num_pages} pages", "in the middle of them", last, middle, "MB", middle / last,
        equal=last <= MAX_GROWTH * middle,
    )  # fmt: skip


def _long_documents(folder: Path, count: int) -> Iterator[tuple[str, bytes]]:
    """Documents of ten pages, made of the papers of a folder in turn; no two have the same bytes."""
    rows = csv.DictReader((folder / "manifest.csv").read_text().splitlines())
    papers = [str(folder / r["file"]) for r in rows if r["kind"] == "born-digital" and opens(str(folder / r["file"]))]
    for number in range(count):
        with pikepdf.open(papers[number % len(papers)]) as pdf:
            own = len(pdf.pages)
            while len(pdf.pages) < PAGES_A_DOCUMENT:
                pdf.pages.append(pdf.pages[len(pdf.pages) % own])
            del pdf.pages[PAGES_A_DOCUMENT:]
            out = io.BytesIO()
            pdf.save(out)
        yield f"long-{number:05d}", out.getvalue() + b"%% %d\n" % number


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


def _run_and_kill(out: Path, sources: Path, settings: dict[str, Any], workers: int, after: float) -> bool:
    """Run, and kill the stage after some seconds (its workers end with it); whether it was still at work."""
    process = _start(out, sources, settings, workers)
    try:
        process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    return False


def _resident(process: psutil.Process) -> float:
    """Megabytes in memory of a process and of all that it started."""
    total = 0
    for one in [process, *_children(process)]:
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
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
