import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from stages.command import main
from stages.pretrain import Pretrain
from tests.stages.model.token_files import TokenTables, write_tokens

SMALL = {
    "depth": 1,
    "width": 32,
    "sequence_tokens": 32,
    "batch_sequences": 8,
    "micro_batch_sequences": 4,
    "num_steps": 12,
    "warmup_steps": 2,
    "learning_rate": 0.01,
    "checkpoint_every": 4,
    "validate_every": 6,
}
Start = Callable[..., int]

SUBJECTS = ("quartz", "basalt", "lithium", "the enzyme", "graphene", "copper")
VERBS = ("dissolves in", "reacts with", "is denser than", "binds to")
OBJECTS = ("water", "ethanol", "the substrate", "nitric acid", "silver", "oxygen")


def article(seed: int) -> str:
    """Sentences with strong structure and two-byte letters, so that bytes and characters differ."""
    chance = random.Random(seed)
    words = [f"Sample {chance.randint(1, 99)} µm: {chance.choice(SUBJECTS)} {chance.choice(VERBS)}" for _ in range(25)]
    return " ".join(f"{start} {chance.choice(OBJECTS)}." for start in words)


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> TokenTables:
    """24 train and 4 validation articles, 300 ids."""
    splits = {"train": [article(i) for i in range(24)], "validation": [article(i) for i in range(100, 104)]}
    return write_tokens(tmp_path_factory.mktemp("tokens"), splits, vocab_size=300)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bits depend on the number of threads; tests compare runs of one."""
    monkeypatch.setenv("BOREALIS_WORKERS", "1")


def command_line(tokens: TokenTables, out: Path, settings: Mapping[str, Any]) -> list[str]:
    """The flags of a run of `stages.pretrain`, with its settings in a file beside `out`."""
    config = out.with_suffix(".json")
    config.write_text(json.dumps({**SMALL, **settings}))
    return ["--config", str(config), *tokens.flags(), "--out", str(out)]


@pytest.fixture(scope="session")
def pretrain(tokens: TokenTables) -> Start:
    """Run the stage in this process (the imports cost more than the training) and give its exit status."""

    def start(out: Path, tables: TokenTables | None = None, **settings: Any) -> int:
        with pytest.raises(SystemExit) as exit_status:
            main(Pretrain, command_line(tables or tokens, out, settings))
        assert isinstance(exit_status.value.code, int)
        return exit_status.value.code

    return start


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root, where stages are started."""
    return Path(__file__).parents[3]
