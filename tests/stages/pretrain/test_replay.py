"""`parsl replay-spike`: a spike of a finished run, measured again at the weights that it was seen at."""

import json
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from stages.pretrain import Pretrain
from stages.stream.loader import Batch, Loader
from tests.stages.pretrain.conftest import Start
from tests.stages.pretrain.launch import rows
from workflows.__main__ import main

LONG: dict[str, Any] = {"index": {"num_steps": 60}, "validate_every": 60, "monitor_every": 0}
BAD = {42: (1, 4, 6), 45: (0, 2, 5)}  # steps, and their sequences (from 0) that hold garbage


@pytest.fixture(scope="module", autouse=True)
def _garbage() -> Iterator[None]:
    read = Loader.batch

    def spoiled(self: Loader, step: int) -> Batch:
        batch = read(self, step)
        mine = [row - self.first for row in BAD.get(step, ()) if self.first <= row < self.last]
        batch.tokens_BT[mine] = (batch.tokens_BT[mine] * 7 + 13) % 300
        return batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loader, "batch", spoiled)
        patch.setenv("BOREALIS_WORKERS", "1")
        yield


@pytest.fixture(scope="module")
def runs(pretrain: Start, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a run with this action, made once."""

    @cache
    def run(action: str) -> Path:
        out = tmp_path_factory.mktemp(action) / "out"
        assert pretrain(out, **LONG, on_spike=action) == 0
        return out

    return run


def replayed(out: Path, capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    """What the command prints, on standard output or, where it fails, on standard error."""
    with pytest.raises(SystemExit) as ended:
        main(["replay-spike", "--run", str(out), *words])
    said = capsys.readouterr()
    assert ended.value.code == code, said.err
    return said.err if code else said.out


@pytest.mark.parametrize("action", ["skip", "clip", "rollback"])
def test_a_spike_comes_back_to_the_bit(
    action: str, runs: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """From a checkpoint of before it, past a spike that was dealt with, the step has the loss, norm and suspects of the event."""
    events = rows(runs(action), "spikes")
    assert [e["step"] for e in events] == list(BAD)
    capsys.readouterr()
    for event in events:
        answer = json.loads(replayed(runs(action), capsys, "--step", str(event["step"]), "--json"))
        measured = {m["what"]: (m["loss"], m["gradient_norm"]) for m in answer["measured"]}
        assert answer["checkpoint_step"] in (40, 44)
        assert measured["again, the whole batch"] == (event["loss"], event["gradient_norm"])
        proof = (event["loss_without"], event["gradient_norm_without"])
        assert measured["without the suspected sequences"] == proof
        assert "they are to blame" in answer["finding"]
        assert answer["documents"]


def test_sequences_are_left_out_one_by_one(runs: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Without one of three bad sequences the loss is lower than with all, and higher than without any."""
    out = runs("skip")
    capsys.readouterr()
    answer = json.loads(replayed(out, capsys, "--step", "42", "--json"))
    loss = {m["what"]: m["loss"] for m in answer["measured"]}
    for sequence in BAD[42]:
        one = loss[f"without sequence {sequence + 1} only"]
        assert loss["without the suspected sequences"] < one < loss["again, the whole batch"]
    words = replayed(out, capsys, "--step", "42")
    assert "step 42, from the checkpoint of step 40: it comes back" in words
    assert f"parsl why {answer['documents'][0]['doc_id'][:12]}" in words


def test_one_process_replays_what_many_ran(runs: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """A run over a pipeline, tensor and sequence groups is replayed by one process: how it was spread is no part of it."""
    out = runs("skip")
    plain = replayed(out, capsys, "--step", "42", "--json")
    file = out / "manifest.json"
    manifest = json.loads(file.read_text())
    spread = {
        "pipeline_parallel": 2,
        "stages_per_rank": 2,
        "tensor_parallel": 2,
        "sequence_parallel": 2,
        "zero_stage": 1,
    }
    assert spread.keys() < Pretrain.located
    file.write_text(json.dumps({**manifest, "settings": manifest["settings"] | spread}, indent=1))
    assert replayed(out, capsys, "--step", "42", "--json") == plain
    file.write_text(json.dumps(manifest, indent=1))


def test_what_cannot_be_replayed_is_said(runs: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """A step without a spike, and a checkpoint of other settings."""
    out = runs("skip")
    assert "spikes were at: 42, 45" in replayed(out, capsys, "--step", "41", code=2)
    marker = out / "states" / "step-000040" / "complete.json"
    before = marker.read_text()
    marker.write_text(before.replace('"learning_rate": 0.01', '"learning_rate": 0.02'))
    assert "learning_rate differ" in replayed(out, capsys, "--step", "42", code=2)
    marker.write_text(before)


def test_the_checkpoint_of_a_spike_stays(runs: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Two newest checkpoints are kept and the ones of before the spikes; removed, the error names those that are there."""
    states = runs("skip") / "states"
    assert sorted(f.name for f in states.glob("step-*")) == ["step-000040", "step-000044", "step-000056", "step-000060"]
    shutil.rmtree(states / "step-000040")
    words = replayed(runs("skip"), capsys, "--step", "42", code=2)
    assert "from a checkpoint of step 41 or before" in words
    assert "44, 56, 60" in words
    assert "pretrain.keep_every" in words
