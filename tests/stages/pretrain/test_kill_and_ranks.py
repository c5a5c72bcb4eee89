import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.pretrain import Pretrain
from tests.stages.model import ranks
from tests.stages.model.token_files import TokenTables
from tests.stages.pretrain.conftest import Start, command_line, exit_code
from tests.stages.pretrain.launch import SECONDS, kill_when, launch, rows, torchrun

LONG = {"index": {"num_steps": 60}, "checkpoint_every": 3, "validate_every": 20}
zero_1 = pytest.mark.filterwarnings(  # DeepSpeed imports its Muon, compiled, before it shares out AdamW
    "ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"
)


@pytest.mark.slow
def test_killed_three_times_it_ends_with_the_same_bits(
    tokens: TokenTables, pretrain: Start, tmp_path: Path, root: Path
) -> None:
    """SIGKILL at two random steps and in the middle of a save: the final weights and losses are those of no kill."""
    assert pretrain(tmp_path / "unbroken", **LONG) == 0
    arguments = command_line(tokens, tmp_path / "out", LONG)
    folder = tmp_path / "out" / "states"
    chance = random.Random(0)
    moments: list[Callable[[], bool]] = [
        lambda: any(folder.glob("step-*")),
        lambda: any(f.name > "step-000012" for f in folder.glob("step-*")) and any(folder.glob(".writer-*/step-*")),
        lambda: any(f.name > "step-000027" for f in folder.glob("step-*")),
    ]
    for index, moment in enumerate(moments):
        process = launch(root, arguments)
        kill_when(process, moment)
        if index != 1:
            time.sleep(chance.random() / 50)
        assert not (tmp_path / "out" / "manifest.json").exists()
        assert any(folder.glob("step-*"))
    finished = launch(root, arguments)
    output, _ = finished.communicate(timeout=SECONDS)
    assert finished.returncode == 0, output
    model = "huggingface/model.safetensors"
    assert (tmp_path / "out" / model).read_bytes() == (tmp_path / "unbroken" / model).read_bytes()
    for table, times in (
        ("steps", ["tokens_per_second"]),
        ("ledger", []),
        ("validation", []),
        ("checkpoints", ["size_bytes"]),
    ):
        assert rows(tmp_path / "out", table, *times) == rows(tmp_path / "unbroken", table, *times)
    assert [f.name for f in folder.glob(".*/*")] == ["owner.json"]


def started(arguments: list[str]) -> int:
    """Run the stage in this process, which is one rank of several."""
    return exit_code(Pretrain, arguments)


@pytest.mark.slow
def test_two_ranks_train_alike_and_resume_from_one(tokens: TokenTables, pretrain: Start, tmp_path: Path) -> None:
    """Two gloo ranks follow the losses of one, and go on from two thirds of its run with all shared out (ZeRO 3)."""
    for out in ("one", "resumed"):
        assert pretrain(tmp_path / out) == 0
    checkpoints = tmp_path / "resumed" / "states"
    shutil.rmtree(checkpoints / "step-000012")
    (tmp_path / "resumed" / "manifest.json").unlink()
    ways: dict[str, dict[str, int]] = {"two": {}, "resumed": {"zero_stage": 3}}
    for out, settings in ways.items():
        assert ranks.run_apart(2, started, command_line(tokens, tmp_path / out, settings)) == [0, 0]
    one = rows(tmp_path / "one", "steps", "tokens_per_second")
    for out in ways:
        found = rows(tmp_path / out, "steps", "tokens_per_second")
        assert [r["step"] for r in found] == list(range(1, 13))
        for ours, theirs in zip(found, one, strict=True):
            assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-4)
            assert ours["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=1e-3)
        ours, theirs = (rows(tmp_path / o, "validation")[-1]["value"] for o in (out, "one"))
        assert ours == pytest.approx(theirs, abs=1e-4)


@zero_1
@pytest.mark.parametrize("engine", ["native", "deepspeed"])
def test_a_resumed_run_is_the_unbroken_run(engine: str, pretrain: Start, tmp_path: Path) -> None:
    """Going on from the middle gives the same weights to the bit, under either engine."""
    settings = {"engine": engine, "zero_stage": 1}
    assert pretrain(tmp_path / "a", **settings) == 0
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / "states" / "step-000012")
    (tmp_path / "b" / "manifest.json").unlink()
    assert pretrain(tmp_path / "b", **settings) == 0
    model = "huggingface/model.safetensors"
    assert (tmp_path / "b" / model).read_bytes() == (tmp_path / "a" / model).read_bytes()
    assert rows(tmp_path / "b", "steps", "tokens_per_second") == rows(tmp_path / "a", "steps", "tokens_per_second")


def test_engines_agree(pretrain: Start, tmp_path: Path) -> None:
    """On one rank both engines are the same training."""
    for engine in ("native", "deepspeed"):
        assert pretrain(tmp_path / engine, engine=engine) == 0
    ours, theirs = (rows(tmp_path / e, "steps", "tokens_per_second") for e in ("native", "deepspeed"))
    assert [r["loss"] for r in ours] == pytest.approx([r["loss"] for r in theirs], abs=1e-5)
    assert [r["gradient_norm"] for r in ours] == pytest.approx([r["gradient_norm"] for r in theirs], rel=1e-4)


@pytest.mark.slow
def test_a_batch_that_does_not_split_is_refused(tokens: TokenTables, tmp_path: Path, root: Path) -> None:
    """Seven sequences do not split over two ranks: every rank ends with a settings error, none hangs."""
    process = launch(root, command_line(tokens, tmp_path / "out", {"index": {"batch_sequences": 7}}), *torchrun(2))
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode != 0
    assert "batch_sequences 7 does not split over 2 ranks" in output
    assert not (tmp_path / "out" / "manifest.json").exists()
