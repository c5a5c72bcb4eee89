"""Settings that name files: a stage is started in another folder than whoever set them."""

import os
import tomllib
from pathlib import Path

import pytest

from stages.base import Stage
from stages.decontaminate import Decontaminate
from stages.dedup import Dedup
from stages.embed import WHEEL, Embed
from stages.ingest import Ingest
from stages.register import Register
from stages.train_tokenizer import TrainTokenizer
from workflows.overrides import read_overrides


@pytest.mark.parametrize(
    ("stage", "field", "word"),
    [
        (Ingest, "paths", "papers"),
        (Register, "paths", "benchmarks"),
        (Dedup, "against", "../runs/dedup/0"),
        (TrainTokenizer, "tokenizer", "tokenizer.json"),
        (TrainTokenizer, "compare", "a/tokenizer.json"),
        (Embed, "model", "./models/mini-lm"),
        (Embed, "model", "all-MiniLM-L6-v2"),
        (Decontaminate, "embeddings", "models/mini-lm"),
        (Register, "paths", "~/benchmarks"),
        (Dedup, "against", "/there"),
    ],
)
def test_a_relative_path_is_one_from_here(tmp_path, monkeypatch, stage: type[Stage], field: str, word: str) -> None:
    """What a path means is settled where it is set, on the command line, in a file or in a recipe, and stays so elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "settings.toml").write_text(f'[{stage.name}]\n{field} = "{word}"\n')
    expected = os.path.normpath(tmp_path / Path(word).expanduser())
    given = (
        read_overrides([f"{stage.name}.{field}={word}"], None)[stage.name],
        tomllib.loads((tmp_path / "settings.toml").read_text())[stage.name],
    )
    for settings in given:
        found = getattr(stage.parse(settings), field)
        assert found in (expected, (expected,))
        monkeypatch.chdir("/")
        assert getattr(stage.parse(stage.parse({field: found}).model_dump(mode="json")), field) == found
        monkeypatch.chdir(tmp_path)


def test_names_that_are_no_paths_stay() -> None:
    """A package's name, and nothing at all, are no paths."""
    assert Embed.parse({"model": WHEEL}).model == Embed().model == WHEEL
    assert Decontaminate.parse({"embeddings": ""}).embeddings == ""
    assert TrainTokenizer.parse({"tokenizer": ""}).tokenizer == ""
    assert Register.parse({"paths": []}).paths == ()
