"""The stage as it is run: documents in, one vector each out, the same bytes however the work is divided."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from schemas.corpus import Document
from schemas.manifest import Manifest
from stages.base import PACKAGE_ROOT
from stages.command import main
from stages.embed import Embed
from stages.embed.chunks import chunks
from stages.embed.rows import mean
from stages.embed.sentence import SentenceModel
from tests.stages.dedup.corpora import call, document, rows
from tests.tables import write_table

# One document at a time, with a rest after each: a kill finds the stage at work.
SLOW = """
import time
from stages.command import main
from stages.embed import Embed, rows
made = rows._rows
def slow(*arguments):
    time.sleep(0.02)
    return made(*arguments)
rows.DOCUMENTS, rows._rows = 1, slow
main(Embed)
"""


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """40 documents: short ones, one that is cut, one without words."""
    texts = [f"the yield of rice rose {'with nitrogen ' * (n % 7)}soils" for n in range(38)]
    made = [document(n, t) for n, t in enumerate([*texts, "rice soil nitrogen of the " * 200, " \n\u3000 "])]
    return write_table(tmp_path / "in", Document, made, name="documents")


def settings(model: Path, **more: Any) -> dict[str, Any]:
    """Settings of a small model."""
    return {"model": str(model), "chunk_characters": 100, **more}


def parts(out: Path) -> list[bytes]:
    """The bytes of the embeddings, row by row."""
    return [r["vector"] for r in rows(out / "embeddings")]


def test_one_row_a_document(documents: Path, model: Path, tmp_path: Path) -> None:
    """Each document's vector is the mean of its chunks' vectors, of length 1; one without words has none."""
    assert call(Embed, tmp_path / "out", settings(model), documents=documents) == 0
    texts, found = rows(documents), rows(tmp_path / "out" / "embeddings")
    assert [r["doc_id"] for r in found] == [d["doc_id"] for d in texts]
    reference = SentenceModel(str(model), "x")
    for text, row in zip(texts[:-1], found, strict=False):
        cut = chunks(text["text"], 100, 8)
        each = reference(cut).astype(np.float64)
        expected = each.mean(axis=0) / np.linalg.norm(each.mean(axis=0))
        assert row["num_chunks"] == len(cut)
        assert np.abs(np.frombuffer(row["vector"], "<f2") - expected).max() < 1e-3
    assert found[-2]["num_chunks"] == 8
    assert (found[-1]["num_chunks"], found[-1]["vector"]) == (0, b"")


def test_the_division_of_work_does_not_show(
    documents: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker, two, and three shards give the same bytes."""
    for workers in (1, 2):
        monkeypatch.setenv("BOREALIS_WORKERS", str(workers))
        assert call(Embed, tmp_path / f"w{workers}", settings(model), documents=documents) == 0
    tables = [pq.read_table(tmp_path / f"w{n}" / "embeddings").drop(["doc_id"]) for n in (1, 2)]
    assert tables[0].equals(tables[1])
    config = str(tmp_path / "w1" / "settings.json")
    for flags in (["--shard", "0/3"], ["--shard", "1/3"], ["--shard", "2/3"], ["--commit", "3"]):
        with pytest.raises(SystemExit) as stop:
            main(Embed, ["--documents", str(documents), "--out", str(tmp_path / "s"), "--config", config, *flags])
        assert stop.value.code == 0
    assert parts(tmp_path / "s") == parts(tmp_path / "w1")


def test_a_killed_run_ends_with_the_same_bytes(documents: Path, model: Path, tmp_path: Path) -> None:
    """Killed in the middle there is no manifest; run again, the file is that of an unbroken run."""
    assert call(Embed, tmp_path / "whole", settings(model), documents=documents) == 0
    out = tmp_path / "out"
    flags = ["--documents", str(documents), "--out", str(out), "--config", str(tmp_path / "whole" / "settings.json")]
    process = subprocess.Popen([sys.executable, "-c", SLOW, *flags], cwd=PACKAGE_ROOT, stderr=subprocess.DEVNULL)
    progress = out / "progress" / "00000-of-00001.json"
    while process.poll() is None and not progress.exists():
        time.sleep(0.001)
    time.sleep(0.1)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (out / "manifest.json").exists()
    assert call(Embed, out, settings(model), documents=documents) == 0
    files = [next((folder / "embeddings").glob("part-*")).read_bytes() for folder in (out, tmp_path / "whole")]
    assert files[0] == files[1]


def test_the_manifest_names_the_weights(documents: Path, model: Path, tmp_path: Path) -> None:
    """The address depends on the files of the model and not on where they are; of a served one, on its name."""
    assert call(Embed, tmp_path / "out", settings(model), documents=documents) == 0
    assert Manifest.read(tmp_path / "out").external == Embed(model=str(model)).external()
    moved = tmp_path / "moved"
    moved.symlink_to(model)
    one, other = Embed(model=str(model)), Embed(model=str(moved))
    assert one.fingerprint({}) == other.fingerprint({})
    served = [Embed(endpoint="http://h/v1", served_model=name).fingerprint({}) for name in ("a", "b")]
    assert len({*served, one.fingerprint({})}) == 3


def test_a_model_that_is_not_there_is_exit_2(
    documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong folder is a wrong setting."""
    assert call(Embed, tmp_path / "out", {"model": str(tmp_path)}, documents=documents) == 2
    assert "embed.model" in capsys.readouterr().err


def test_a_mean_that_is_nothing() -> None:
    """Chunks that cancel out leave the first one's direction, never a division by zero."""
    opposite = np.array([[1, 0], [-1, 0]], np.float32)
    assert mean(opposite).tolist() == [1, 0]
    assert np.allclose(mean(np.array([[1, 0], [0, 1]], np.float32)), 0.5**0.5)
