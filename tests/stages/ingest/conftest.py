"""Run ingest on a folder and look at what came out."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from stages.command import main
from stages.ingest import Ingest

Rows = list[dict[str, Any]]


@dataclass
class Found:
    """The two tables of a run, and its output folder."""

    folder: Path
    sources: Rows
    dropped: Rows
    by_name: dict[str, dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        """Index the sources by the last part of their path."""
        self.by_name = {Path(r["path"]).name: r for r in self.sources}

    @property
    def reasons(self) -> dict[str, str]:
        """Why each path was dropped."""
        return {Path(r["path"]).name: r["reason"] for r in self.dropped}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """An empty folder for the files of a test."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    return folder


@pytest.fixture
def ingest(tmp_path: Path, corpus: Path) -> Callable[..., Found]:
    """Run the stage by its command line, on the corpus unless other paths are given."""

    def run(out: str = "out", **settings: object) -> Found:
        config = tmp_path / f"{out}.json"
        config.write_text(json.dumps({"paths": str(corpus), **settings}))
        folder = tmp_path / out
        with pytest.raises(SystemExit) as stopped:
            main(Ingest, ["--config", str(config), "--out", str(folder)])
        assert stopped.value.code == 0
        return Found(folder, *(pq.read_table(folder / t).to_pylist() for t in ("sources", "dropped")))

    return run
