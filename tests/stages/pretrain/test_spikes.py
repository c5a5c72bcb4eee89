import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from stages.model.engine import Batch as TrainBatch
from stages.model.engine import Taken
from stages.model.native import NativeEngine
from stages.pretrain.health import heartbeat
from stages.stream.loader import Batch, Loader
from tests.stages.model.test_engine import DEEPSPEEDS_OWN
from tests.stages.pretrain.conftest import Start
from tests.stages.pretrain.launch import rows

LONG: dict[str, Any] = {"index": {"num_steps": 60}, "keep_checkpoints": 20, "validate_every": 30, "monitor_every": 10}
AT, BAD = 42, (1, 4, 6)  # the step whose sequences (from 0) hold garbage

WAYS: dict[str, dict[str, Any]] = {
    "deepspeed": {"engine": "deepspeed"},
    "deepspeed-zero-3": {"engine": "deepspeed", "zero_stage": 3},
    "zero-3": {"zero_stage": 3},
    "canonical": {"canonical_ranks": 4},
    "bf16": {"precision": "bf16", "checkpoint_activations": True},
    "muon": {"optimizer": "muon", "schedule": "wsd"},
    "sophia": {"optimizer": "sophia", "learning_rate": 0.003},
    "soap": {"optimizer": "soap"},
    "growing": {"batch_doublings": [8, 16]},
}
"""What a default must do no harm to, one process each; several are in `test_pipelines`."""


@pytest.fixture
def garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some sequences of one step are other ids than the tokenizer's."""
    read = Loader.batch

    def spoiled(self: Loader, step: int) -> Batch:
        batch = read(self, step)
        if step == AT:
            mine = [row - self.first for row in BAD if self.first <= row < self.last]
            batch.tokens_BT[mine] = (batch.tokens_BT[mine] * 7 + 13) % 300
        return batch

    monkeypatch.setattr(Loader, "batch", spoiled)


def weights(out: Path) -> bytes:
    """The bytes of the exported weights."""
    return (out / "huggingface" / "model.safetensors").read_bytes()


def test_a_healthy_run_has_no_events(pretrain: Start, tmp_path: Path) -> None:
    """Without a fault there is no spike, and the weights are those of a run that is not judged; tensors and ranks' times are known."""
    assert pretrain(tmp_path / "out", **LONG, on_spike="skip") == 0
    assert pretrain(tmp_path / "off", **LONG, on_spike="off") == 0
    assert weights(tmp_path / "out") == weights(tmp_path / "off")
    assert rows(tmp_path / "out", "spikes") == []
    tensors = rows(tmp_path / "out", "tensors")
    assert {r["step"] for r in tensors} == {10, 20, 30, 40, 50, 60}
    assert all(r["changed_fraction"] > 0.9 for r in tensors if "embedding" not in r["tensor"])
    beats = rows(tmp_path / "out", "heartbeats")
    assert {(r["first_step"], r["step"]) for r in beats} == {(1, 20), (21, 40), (41, 60)}
    assert {"data", "forward_backward", "exchange", "optimizer"} <= {r["work"] for r in beats} <= set(heartbeat.WORK)
    assert not (tmp_path / "out" / "live").exists()
    assert len(list((tmp_path / "out" / "tensorboard").glob("events.out.tfevents.*"))) == 1


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.filterwarnings(*DEEPSPEEDS_OWN)
def test_judging_changes_no_bit(way: dict[str, Any], pretrain: Start, tmp_path: Path) -> None:
    """Under every engine and optimizer, a run without a spike has the weights of one that is not judged, to the bit."""
    settings = {**way, "index": {"num_steps": 32}, "validate_every": 32, "checkpoint_every": 32}
    assert pretrain(tmp_path / "out", **settings) == 0
    assert pretrain(tmp_path / "off", **settings, on_spike="off") == 0
    assert rows(tmp_path / "out", "spikes") == []
    assert weights(tmp_path / "out") == weights(tmp_path / "off")
    assert rows(tmp_path / "out", "steps", "tokens_per_second") == rows(tmp_path / "off", "steps", "tokens_per_second")


def test_a_run_of_ten_steps_is_not_judged(pretrain: Start, tmp_path: Path) -> None:
    """Where there is no past to judge by, nothing is: bad from the third step on, it learns what `off` learns."""
    settings = {"index": {"num_steps": 10}, "learning_rate": 0.3, "warmup_steps": 2, "max_gradient_norm": 1e3}
    for name, more in (("out", {}), ("off", {"on_spike": "off"})):
        assert pretrain(tmp_path / name, **settings, **more) == 0
    steps = rows(tmp_path / "out", "steps")
    assert max(s["loss"] for s in steps) > steps[0]["loss"] + 0.5
    assert rows(tmp_path / "out", "spikes") == []
    assert weights(tmp_path / "out") == weights(tmp_path / "off")


@pytest.mark.usefixtures("garbage")
@pytest.mark.parametrize("way", ["deepspeed", "deepspeed-zero-3", "canonical", "muon", "sophia"])
@pytest.mark.filterwarnings(*DEEPSPEEDS_OWN)
def test_a_bad_batch_is_skipped_unless_told_otherwise(way: str, pretrain: Start, tmp_path: Path) -> None:
    """Without a word about spikes, each engine makes no update of a bad batch, explains it, and ends well."""
    settings = {**WAYS[way], "index": {"num_steps": AT + 2}, "validate_every": AT, "checkpoint_every": AT}
    assert pretrain(tmp_path / "out", **settings) == 0
    (event,) = rows(tmp_path / "out", "spikes")
    assert (event["step"], event["cause"], event["action"]) == (AT, "data", "skip")
    found = {s["sequence"] - 1 for s in event["suspects"]}
    assert set(BAD) <= found  # an optimizer that is ahead finds one of the others unusual too
    assert len(found - set(BAD)) <= 1


@pytest.mark.usefixtures("garbage")
def test_nothing_is_done_where_it_is_off(pretrain: Start, tmp_path: Path) -> None:
    """With `off` a bad batch is learned from like any other, and no event says otherwise."""
    assert pretrain(tmp_path / "off", **LONG, on_spike="off") == 0
    assert rows(tmp_path / "off", "spikes") == []
    assert len(rows(tmp_path / "off", "steps")) == 60


def test_a_large_gradient_alone_is_learned_from(
    pretrain: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A norm of 20 times the usual with a healthy loss, which repeats, changes nothing: no event, and the weights of `off`."""
    measure = NativeEngine.measure

    def jumped(self: NativeEngine, batch: TrainBatch, step: int) -> Taken:
        taken = measure(self, batch, step)
        return taken._replace(gradient_norm=20 * taken.gradient_norm) if step == AT else taken

    monkeypatch.setattr(NativeEngine, "measure", jumped)
    assert pretrain(tmp_path / "out", **LONG, on_spike="skip") == 0
    assert pretrain(tmp_path / "off", **LONG, on_spike="off") == 0
    assert rows(tmp_path / "out", "spikes") == []
    assert weights(tmp_path / "out") == weights(tmp_path / "off")


@pytest.mark.usefixtures("garbage")
@pytest.mark.parametrize("action", ["skip", "clip"])
def test_a_bad_batch_is_explained_and_survived(action: str, pretrain: Start, tmp_path: Path) -> None:
    """The event names the step, its class and the very sequences, proves it by measuring without them; resuming is exact."""
    assert pretrain(tmp_path / "out", **LONG, on_spike=action) == 0
    (event,) = rows(tmp_path / "out", "spikes")
    assert (event["step"], event["onset"], event["cause"], event["action"]) == (AT, AT, "data", action)
    assert [s["sequence"] - 1 for s in event["suspects"]] == list(BAD)
    assert event["loss"] > event["expected_loss"] + 7 * 0.004
    assert abs(event["loss_without"] - event["expected_loss"]) < 0.3 * (event["loss"] - event["expected_loss"])
    before = weights(tmp_path / "out"), rows(tmp_path / "out", "steps", "tokens_per_second"), event
    for step in (44, 48, 52, 56, 60):
        shutil.rmtree(tmp_path / "out" / "states" / f"step-{step:06d}")
    if action == "clip":
        shutil.rmtree(tmp_path / "out" / "states" / "step-000040")
    (tmp_path / "out" / "manifest.json").unlink()
    assert pretrain(tmp_path / "out", **LONG, on_spike=action) == 0
    (again,) = rows(tmp_path / "out", "spikes")
    assert (weights(tmp_path / "out"), rows(tmp_path / "out", "steps", "tokens_per_second"), again) == before


@pytest.mark.usefixtures("garbage")
def test_rolling_back_leaves_out_the_sequences(pretrain: Start, tmp_path: Path) -> None:
    """The run goes on from the checkpoint before, without those sequences only, and from any checkpoint to the same bits."""
    settings = {**LONG, "on_spike": "rollback"}
    assert pretrain(tmp_path / "out", **settings) == 0
    (event,) = rows(tmp_path / "out", "spikes")
    assert (event["action"], event["restart_step"], event["cause"]) == ("rollback", 40, "data")
    assert [(s["step"], s["sequence"] - 1) for s in event["suspects"] if s["left_out"]] == [(AT, b) for b in BAD]
    steps = rows(tmp_path / "out", "steps", "tokens_per_second")
    assert [s["step"] for s in steps] == list(range(1, 61))
    assert steps[AT - 1]["loss"] == pytest.approx(event["expected_loss"], abs=0.5)
    assert steps[AT]["num_tokens"] - steps[AT - 2]["num_tokens"] == (16 - len(BAD)) * 32
    expected = weights(tmp_path / "out")
    for first in (44, 40):  # after the spike was dealt with, and before: the second sees it again
        for folder in (tmp_path / "out" / "states").glob("step-*"):
            if int(folder.name.removeprefix("step-")) > first:
                shutil.rmtree(folder)
        (tmp_path / "out" / "manifest.json").unlink()
        assert pretrain(tmp_path / "out", **settings) == 0
        assert weights(tmp_path / "out") == expected
        assert rows(tmp_path / "out", "spikes") == [event]
        assert rows(tmp_path / "out", "steps", "tokens_per_second") == steps


def test_rows_can_be_read_while_it_trains(pretrain: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB sees the steps so far, and none twice, at a moment in the middle of the run."""
    seen: list[list[tuple[Any, ...]]] = []
    read = Loader.batch

    def looked(self: Loader, step: int) -> Batch:
        if step == 30:
            pattern = str(tmp_path / "out" / "live" / "steps" / "*.parquet")
            seen.append(duckdb.execute("SELECT step, loss FROM read_parquet(?) ORDER BY step", [pattern]).fetchall())
        return read(self, step)

    monkeypatch.setattr(Loader, "batch", looked)
    monkeypatch.setattr("stages.pretrain.health.live.FLUSH_SECONDS", 0.0)
    assert pretrain(tmp_path / "out", index={"num_steps": 40}) == 0
    known = [(r["step"], r["loss"]) for r in rows(tmp_path / "out", "steps")]
    assert 20 <= len(seen[0]) < 40
    assert seen[0] == known[: len(seen[0])]
