import shutil
from pathlib import Path
from typing import Any

import pytest

from stages.pretrain import Pretrain
from stages.stream.loader import Batch, Loader
from tests.stages.model import ranks
from tests.stages.model.token_files import TokenTables
from tests.stages.pretrain.conftest import Start, command_line, exit_code
from tests.stages.pretrain.launch import rows

AT, BAD = 42, (1, 4, 6)  # the step whose sequences (from 0) hold garbage
DEEP = {"depth": 2, "mask_documents": True, "monitor_every": 4, "z_loss": 1e-4}


def started(arguments: list[str]) -> int:
    """Run the stage in this process, which is one rank of several."""
    return exit_code(Pretrain, arguments)


def spoiled(arguments: list[str]) -> int:
    """The same, with some sequences of one step made of other ids than the tokenizer's."""
    read = Loader.batch

    def batch(self: Loader, step: int) -> Batch:
        found = read(self, step)
        if step == AT:
            mine = [row - self.first for row in BAD if self.first <= row < self.last]
            found.tokens_BT[mine] = (found.tokens_BT[mine] * 7 + 13) % 300
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loader, "batch", batch)
        return started(arguments)


@pytest.mark.slow
def test_a_run_goes_on_over_a_pipeline(tokens: TokenTables, pretrain: Start, tmp_path: Path) -> None:
    """From two thirds of one process's run to the end on two stages: its losses, validation, tensors and export."""
    for out in ("one", "two"):
        assert pretrain(tmp_path / out, **DEEP) == 0
    shutil.rmtree(tmp_path / "two" / "states" / "step-000012")
    (tmp_path / "two" / "manifest.json").unlink()
    settings: dict[str, Any] = {**DEEP, "pipeline_parallel": 2}
    assert ranks.run_apart(2, started, command_line(tokens, tmp_path / "two", settings)) == [0, 0]
    one, two = (rows(tmp_path / out, "steps", "tokens_per_second") for out in ("one", "two"))
    assert [r["loss"] for r in two] == pytest.approx([r["loss"] for r in one], rel=1e-5)
    assert [r["gradient_norm"] for r in two] == pytest.approx([r["gradient_norm"] for r in one], rel=1e-4)
    one, two = (rows(tmp_path / out, "validation") for out in ("one", "two"))
    assert [r["value"] for r in two] == pytest.approx([r["value"] for r in one], rel=1e-5)
    one, two = (rows(tmp_path / out, "tensors") for out in ("one", "two"))
    assert {(r["step"], r["tensor"]) for r in two} == {(r["step"], r["tensor"]) for r in one}
    last = {r["tensor"]: r["largest"] for r in one if r["step"] == 12}
    assert last == pytest.approx({r["tensor"]: r["largest"] for r in two if r["step"] == 12}, rel=1e-4)
    model = "huggingface/model.safetensors"
    assert (tmp_path / "two" / model).stat().st_size == (tmp_path / "one" / model).stat().st_size


@pytest.mark.slow
def test_a_bad_batch_is_explained_over_a_pipeline(tokens: TokenTables, tmp_path: Path) -> None:
    """Sequences are measured one by one, state is looked through on every stage, and the run goes back, all ranks alike."""
    settings = {
        "depth": 2,
        "pipeline_parallel": 2,
        "on_spike": "rollback",
        "keep_checkpoints": 20,
        "validate_every": 30,
    }
    line = command_line(tokens, tmp_path / "out", {**settings, "index": {"num_steps": 44}})
    assert ranks.run_apart(2, spoiled, line) == [0, 0]
    (event,) = rows(tmp_path / "out", "spikes")
    assert (event["step"], event["cause"], event["action"], event["restart_step"]) == (AT, "data", "rollback", 40)
    assert [(s["step"], s["sequence"] - 1) for s in event["suspects"] if s["left_out"]] == [(AT, bad) for bad in BAD]
    assert [r["step"] for r in rows(tmp_path / "out", "steps")] == list(range(1, 45))


@pytest.mark.slow
@pytest.mark.parametrize(
    "way",
    [
        {"zero_stage": 0},
        {"zero_stage": 3},
        {"engine": "deepspeed", "zero_stage": 1},
        {"tensor_parallel": 2, "num_heads": 2, "num_kv_heads": 2},
        {"sequence_parallel": 2, "num_heads": 2, "num_kv_heads": 2},
        {"pipeline_parallel": 2, "depth": 2},
    ],
    ids=str,
)
def test_a_bad_batch_is_skipped_over_two_ranks(way: dict[str, Any], tokens: TokenTables, tmp_path: Path) -> None:
    """However two ranks share the work, they judge alike by default: one step without an update, and no rank waits for another."""
    settings = {**way, "validate_every": AT, "checkpoint_every": AT, "index": {"num_steps": AT + 2}}
    line = command_line(tokens, tmp_path / "out", settings)
    assert ranks.run_apart(2, spoiled, line) == [0, 0]
    (event,) = rows(tmp_path / "out", "spikes")
    assert (event["step"], event["cause"], event["action"]) == (AT, "data", "skip")
    assert [s["sequence"] - 1 for s in event["suspects"]] == list(BAD)
