"""A side to send from and a side to send to, both in folders of the test's own."""

from pathlib import Path

import pytest

ECHO = """#!/usr/bin/env python3
import json, os, sys
print(json.dumps({"got": json.load(sys.stdin), "argv": sys.argv[1:], "cwd": os.getcwd()}))
"""


@pytest.fixture
def sides(tmp_path, monkeypatch, root) -> Path:
    """The folder of runs on the other side; this side's memory is beside it."""
    monkeypatch.setenv("BOREALIS_REMOTE", str(tmp_path / "remote"))
    monkeypatch.setenv("BOREALIS_STATE", str(tmp_path / "state"))
    return tmp_path / "remote"


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    """A checkout whose Python gives back what it was handed."""
    python = tmp_path / "checkout" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(ECHO)
    python.chmod(0o755)
    return tmp_path / "checkout"
