"""Corpora of a test's own."""

from pathlib import Path

import pytest

from tests.stages.dedup.corpora import Maker, changed, text


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    """Make corpora."""
    return Maker(tmp_path)


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """60 texts, each followed at some distance by copies with 0.2 to 40 % of their words changed."""
    originals = [text(seed) for seed in range(60)]
    shares = (0.002, 0.01, 0.03, 0.06, 0.1, 0.2, 0.4)
    copies = [changed(t, shares[i % len(shares)], 1000 + i) for i, t in enumerate(originals)]
    return originals + copies + [changed(t, 0.02, 2000 + i) for i, t in enumerate(originals[:20])]
