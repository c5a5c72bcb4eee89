import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from stages.base import Stage
from stages.command import main
from stages.index import Index
from stages.pretrain import Pretrain
from tests.stages.model.token_files import TokenTables, write_tokens

ORDER = {"sequence_tokens": 32, "batch_sequences": 8, "num_steps": 12}
SMALL = {
    "depth": 1,
    "width": 32,
    "micro_batch_sequences": 4,
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


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> TokenTables:
    """36 train and 6 validation articles of three sources, in two files each."""
    splits = {"train": [article(i) for i in range(36)], "validation": [article(i) for i in range(100, 106)]}
    folder = tmp_path_factory.mktemp("sources")
    return write_tokens(folder, splits, vocab_size=300, sources=("notes", "papers", "theses"))


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bits depend on the number of threads; tests compare runs of one."""
    monkeypatch.setenv("BOREALIS_WORKERS", "1")


def exit_code(stage: type[Stage], arguments: list[str]) -> int:
    """Run a stage in this process."""
    with pytest.raises(SystemExit) as exit_status:
        main(stage, arguments)
    assert isinstance(exit_status.value.code, int)
    return exit_status.value.code


def indexed(tokens: TokenTables, out: Path, **settings: Any) -> list[str]:
    """The flags of all that pretraining reads, with an order made by `stages.index` in the folder `out`."""
    config = out.with_suffix(".json")
    config.write_text(json.dumps({**ORDER, **settings}))
    if not (out / "manifest.json").exists():
        flags = ["--tokens", str(tokens.tokens), "--tokenizer", str(tokens.tokenizer)]
        assert exit_code(Index, ["--config", str(config), *flags, "--out", str(out)]) == 0
    tables = [word for name in Index.outputs for word in (f"--{name}", str(out / name))]
    return [*tokens.flags(), *tables]


def command_line(tokens: TokenTables, out: Path, settings: Mapping[str, Any]) -> list[str]:
    """The flags of a run of `stages.pretrain`, with its settings in a file beside `out`.

    Settings of the index, `index` in `settings`, are of an order that is made beside `out`, too.
    """
    own = {name: value for name, value in settings.items() if name != "index"}
    config = out.with_suffix(".json")
    config.write_text(json.dumps({**SMALL, **own}))
    order = indexed(tokens, out.with_name(f"{out.name}-index"), **settings.get("index", {}))
    return ["--config", str(config), *order, "--out", str(out)]


@pytest.fixture(scope="session")
def pretrain(tokens: TokenTables) -> Start:
    """Run the stage in this process (the imports cost more than the training) and give its exit status."""

    def start(out: Path, tables: TokenTables | None = None, **settings: Any) -> int:
        return exit_code(Pretrain, command_line(tables or tokens, out, settings))

    return start


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root, where stages are started."""
    return Path(__file__).parents[3]
