"""What the memory benchmark of parse calls flat, and the documents that it makes."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import psutil
import pypdfium2
import pytest

from benchmarks.parse_runs import PAGES_A_DOCUMENT, Sample, _growth, _long_documents, _sample
from benchmarks.table import Comparison
from stages.progress import Progress
from tests.stages.parse.conftest import typeset

PAGES = 30_000


def verdicts(stage: Callable[[int], float], workers: Callable[[int], float] = lambda _: 250) -> list[Comparison]:
    """The rows for a run whose processes have so many megabytes at a page."""
    return list(_growth([Sample(n, stage(n), workers(n)) for n in range(0, PAGES + 1, 50)], PAGES))


def test_a_leak_is_not_flat() -> None:
    """Ten kilobytes a page show as such, in the process that has them."""
    total, stage, workers = verdicts(lambda n: 250 + n * 0.01)
    assert not total.equal
    assert total.ours == pytest.approx(250 + 250 + 300)
    assert (stage.ours, stage.equal) == (pytest.approx(10), False)
    assert (workers.ours, workers.equal) == (pytest.approx(0, abs=1e-9), True)


def test_a_leak_of_workers_is_theirs() -> None:
    """What the workers keep is no growth of the stage's own process."""
    _, stage, workers = verdicts(lambda _: 250, lambda n: 250 + n * 0.002)
    assert (stage.equal, workers.equal) == (True, False)
    assert workers.ours == pytest.approx(2)


def test_what_fills_and_empties_is_flat() -> None:
    """A row group that fills with 7,000 pages and is then written, and a start that grows at first, are no leak."""
    assert all(row.equal for row in verdicts(lambda n: min(n / 100, 50) + 300 + 32 * (n % 7000) / 7000))


def test_a_short_run_has_no_verdict() -> None:
    """Fewer pages than row groups take to fill are measured and not judged."""
    samples = [Sample(n, 250 + n * 0.004, 250) for n in range(0, 6001, 50)]
    assert [row.equal for row in _growth(samples, 6000)] == [None, None, None]


def test_long_documents(tmp_path: Path) -> None:
    """Every document has ten pages and bytes of its own, and damaged papers are left out."""
    (tmp_path / "a.pdf").write_bytes(typeset("Words.\n#pagebreak()\nMore words."))
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.7 no more")
    rows = ["file,kind", "a.pdf,born-digital", "b.pdf,born-digital", "c.pdf,scan-clean"]
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    found = dict(_long_documents(tmp_path, 5))
    assert len(found) == len({hashlib.sha256(data).digest() for data in found.values()}) == 5
    for data in found.values():
        with pypdfium2.PdfDocument(data) as document:
            assert len(document) == PAGES_A_DOCUMENT


def test_a_sample_is_of_the_process_and_its_pages(tmp_path: Path) -> None:
    """A sample has the megabytes of a process, and pages once some are written."""
    process = psutil.Process(os.getpid())
    assert _sample(process, tmp_path).pages == 0
    Progress(tmp_path / "progress" / "00000-of-00001.json").start("documents", 9, done=3)
    found = _sample(process, tmp_path)
    assert found.pages == 3 * PAGES_A_DOCUMENT
    assert found.stage > 10
