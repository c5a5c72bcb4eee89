"""A tiny model's folder and the tables of a post-training run."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported: see stages/posttrain/train.py

from schemas.training import Conversation, Preference
from stages.command import main
from stages.posttrain import Posttrain
from tests.stages.posttrain import tiny
from tests.tables import write_table

SETTINGS = {"sft_epochs": 10, "sft_learning_rate": 5e-3, "dpo_epochs": 4, "dpo_learning_rate": 1e-3, "batch_size": 8}


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder of a tiny model that no chat has touched."""
    return tiny.model_folder(tmp_path_factory.mktemp("base"), tiny.tokenizer())


@pytest.fixture
def arguments(tmp_path: Path, base: Path) -> Callable[..., list[str]]:
    """Makes the command line of a run, writing its inputs."""

    def make(out: str = "out", **settings: object) -> list[str]:
        rows = {
            "conversations": (Conversation, settings.pop("conversations", tiny.conversations(48))),
            "preferences": (Preference, settings.pop("preferences", tiny.preferences(36))),
        }
        config = tmp_path / "config.json"
        config.write_text(json.dumps({**SETTINGS, **settings}))
        line = ["--config", str(config), "--out", str(tmp_path / out)]
        line += ["--model", str(tiny.model_table(tmp_path / "in-model", base))]
        for name, (row, values) in rows.items():
            line += [f"--{name}", str(write_table(tmp_path / f"in-{name}", row, values, name))]
        return line

    return make


@pytest.fixture
def run(tmp_path: Path, arguments: Callable[..., list[str]]) -> Callable[..., Path]:
    """Runs the stage in this process; returns its output folder."""

    def go(out: str = "out", **settings: object) -> Path:
        with pytest.raises(SystemExit) as ended:
            main(Posttrain, arguments(out, **settings))
        assert ended.value.code == 0
        return tmp_path / out

    return go
