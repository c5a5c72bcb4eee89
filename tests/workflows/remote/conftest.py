"""A side to send from and a side to send to, both in folders of the test's own."""

from pathlib import Path

import pytest


@pytest.fixture
def sides(tmp_path, monkeypatch, root) -> Path:
    """The folder of runs on the other side; this side's memory is beside it."""
    monkeypatch.setenv("BOREALIS_REMOTE", str(tmp_path / "remote"))
    monkeypatch.setenv("BOREALIS_STATE", str(tmp_path / "state"))
    return tmp_path / "remote"


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A storage root of this test's own, with a folder of one text to ingest."""
    monkeypatch.setenv("BOREALIS_ROOT", str(tmp_path / "runs"))
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "one.txt").write_text("A paper about basalt. " * 60)
    return tmp_path / "runs"
