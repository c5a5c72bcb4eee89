"""Recipes of two toy stages, under a root of their own."""

from pathlib import Path

import pytest

RECIPE = """
from stages.sketch import Sketch
from stages.filter import Filter
from stages.ingest import Ingest
from stages.parse import Parse


def workflow(run):
    found = run(Ingest())
    parsed = run(Parse(), sources=found["sources"], shards=SHARDS)
    kept = run(Filter(), documents=parsed["documents"])
    run(Sketch(), documents=kept["documents"])
    run(Sketch(num_bands=20), name="sketch_strict", documents=kept["documents"])
"""


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A storage root of this test's own, with a folder of one text to ingest."""
    monkeypatch.setenv("BOREALIS_ROOT", str(tmp_path / "runs"))
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "one.txt").write_text("A paper about basalt. " * 60)
    return tmp_path / "runs"


@pytest.fixture
def recipe(tmp_path, root) -> Path:
    """A recipe file: four stages, the last one twice with other settings."""
    file = tmp_path / "recipe.py"
    file.write_text(RECIPE.replace("SHARDS", "1"))
    return file


@pytest.fixture
def sharded(tmp_path, root) -> Path:
    """The same with three shards of parse."""
    file = tmp_path / "sharded.py"
    file.write_text(RECIPE.replace("SHARDS", "3"))
    return file
