"""A tiny model that always says something, as a table row."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported: see stages/posttrain/train.py

from stages.posttrain.chat import MARKED_TEMPLATE
from tests.stages.posttrain import tiny


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of a model called `tiny chat`."""
    words = tiny.tokenizer()
    words.chat_template = MARKED_TEMPLATE
    folder = tiny.model_folder(tmp_path_factory.mktemp("model"), words, speaks=True)
    return tiny.model_table(tmp_path_factory.mktemp("table"), folder, "tiny chat")
