"""Benchmarks at tiny sizes."""

import pytest


@pytest.fixture(autouse=True)
def _no_wait_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A measurement first waits until all that anyone has written is on the disk; a test does not."""
    monkeypatch.setattr("os.sync", lambda: None)
