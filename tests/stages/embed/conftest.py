"""A model for the tests of this folder."""

from pathlib import Path

import pytest

from tests.stages.embed.models import tiny


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small model."""
    return tiny(tmp_path_factory.mktemp("model"))
