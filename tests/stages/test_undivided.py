"""Stages that cannot be divided say so before they run, and before any stage before them does."""

import pytest

from schemas.corpus import Document
from stages.base import SettingsError, Stage
from stages.command import main
from stages.ingest import Ingest
from stages.parse import Parse
from stages.register import Register
from tests.stages.test_command import Shout
from workflows.base import Run
from workflows.commands import all_stages

ONE_TABLE = ("allot", "dedup", "deploy", "evaluate", "ingest", "register", "semantic", "substring", "synthesize")
ONE_THING = ("posttrain", "pretrain", "train_tokenizer")


class Alone(Shout):
    """A stage that needs all documents."""

    name = "alone"
    undivided = "it needs all documents"


@pytest.mark.parametrize("arguments", [["--shard", "0/2"], ["--commit", "2"]])
def test_a_part_of_an_undivided_stage_is_refused(tmp_path, capsys, arguments) -> None:
    """A shard, or the commit of several, ends with 2 and the reason, before an input is looked at."""
    with pytest.raises(SystemExit) as end:
        main(Alone, [*arguments, "--documents", str(tmp_path / "none" / "documents"), "--out", str(tmp_path / "out")])
    assert end.value.code == 2
    assert "alone runs as one shard: it needs all documents" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_recipe_refuses_it_first(tmp_path) -> None:
    """A recipe with such a stage in several shards is refused as a whole, with all of them; others may be divided."""
    run = Run(tmp_path, shards={"ingest": 2, "register": 3, "parse": 4})
    found = run(Ingest())
    run(Register())
    run(Parse(), sources=found["sources"])
    with pytest.raises(SettingsError) as error:
        run.check()
    assert str(error.value).split("\n") == [
        f"--shards ingest=2: ingest runs as one shard: {Ingest.undivided}",
        f"--shards register=3: register runs as one shard: {Register.undivided}",
    ]


def test_the_stages_that_make_one_thing_of_all_rows() -> None:
    """Every stage that would do its work several times, or on a part of what it compares, is declared as undivided."""
    declared = {s.name for s in all_stages() if s.undivided}
    assert declared == {*ONE_TABLE, *ONE_THING}
    assert Document in {row for s in all_stages() if not s.undivided for row in s.outputs.values()}
    assert not Stage.undivided
