"""The same bytes: with one worker or two, with other random hashes, after a kill at any moment."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.stages.dedup.corpora import Corpus, Maker, changed, document, text

ROOT = Path(__file__).parents[3]
SETTINGS = '{"num_decoys": 20}'


def start(corpus: Corpus, out: str, **environment: str) -> "subprocess.Popen[bytes]":
    """Start the stage as a process of its own."""
    folder = corpus.folder / out
    folder.mkdir(exist_ok=True)
    (folder / "settings.json").write_text(SETTINGS)
    command = [sys.executable, "-m", "stages.dedup", *corpus.flags(), "--out", str(folder)]
    return subprocess.Popen(
        [*command, "--config", str(folder / "settings.json")],
        cwd=ROOT, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def content(folder: Path) -> dict[str, bytes]:
    """Every table, filter and key file of an output."""
    files = [f for f in folder.rglob("*") if f.suffix in (".parquet", ".npy", ".bloom")]
    return {str(f.relative_to(folder)): f.read_bytes() for f in files}


@pytest.fixture
def corpus(make: Maker) -> Corpus:
    """Some hundred documents with copies of all kinds."""
    texts = [text(i, 200) for i in range(150)]
    copies = [changed(t, 0.02, i) for i, t in enumerate(texts[:60])]
    documents = [document(i, t) for i, t in enumerate([*texts, *copies, *texts[:10]])]
    return make([*documents, document(999, text(999), doi="10.1000/x"), document(998, text(998), doi="10.1000/x")])


def test_workers_and_hashes_do_not_matter(corpus: Corpus) -> None:
    """One worker and two, in processes that hash strings otherwise, write the same files."""
    runs = {n: start(corpus, n, BOREALIS_WORKERS=n, PYTHONHASHSEED=n) for n in ("1", "2")}
    assert [run.wait(timeout=300) for run in runs.values()] == [0, 0]
    first, second = (content(corpus.folder / n) for n in runs)
    assert len(first) == 10
    assert first == second


def test_a_killed_run_goes_on_to_the_same_bytes(corpus: Corpus) -> None:
    """A run that was killed while it held half-written files gives, started again, what an unbroken one gives."""
    assert start(corpus, "whole").wait(timeout=300) == 0
    for seen in ("scratch/names", "filters.bloom", "keys/bands.npy", "scratch/shingles.u64"):
        run = start(corpus, "killed")
        deadline = time.monotonic() + 300
        while not (corpus.folder / "killed" / seen).exists() and run.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        run.send_signal(signal.SIGKILL)
        run.wait(timeout=60)
        for left in (corpus.folder / "killed").glob("manifest.json"):
            left.unlink()  # it was faster than the kill
    assert start(corpus, "killed").wait(timeout=300) == 0
    assert content(corpus.folder / "killed") == content(corpus.folder / "whole")
    assert not (corpus.folder / "killed" / "scratch").exists()
