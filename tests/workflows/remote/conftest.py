"""A side to send from and a side to send to, both in folders of the test's own."""

from pathlib import Path

import pytest


@pytest.fixture
def sides(tmp_path, monkeypatch, root) -> Path:
    """The folder of runs on the other side; this side's memory is beside it."""
    monkeypatch.setenv("BOREALIS_REMOTE", str(tmp_path / "remote"))
    monkeypatch.setenv("BOREALIS_STATE", str(tmp_path / "state"))
    return tmp_path / "remote"
