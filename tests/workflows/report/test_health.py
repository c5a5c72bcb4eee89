"""Spikes, still tensors and stragglers in the report, against plain Python."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from schemas.health import Heartbeat, SpikeEvent, TensorHealth
from schemas.training import Checkpoint, TrainStep
from stages.base import Stage
from tests.workflows.report.fake_run import FakeRun, Node
from workflows.report import charts, health
from workflows.report.page import render
from workflows.report.tables import Tables

Open = Callable[[Sequence[Node]], Tables]


class Train(Stage):
    """Writes what a training knows of its health."""

    name = "train"
    outputs = {
        "steps": TrainStep,
        "checkpoints": Checkpoint,
        "spikes": SpikeEvent,
        "tensors": TensorHealth,
        "heartbeats": Heartbeat,
    }


def spike(step: int, cause: str, loss: float) -> SpikeEvent:
    """A spike of this class."""
    rest = SpikeEvent.sample(1)[0].model_dump()
    changes = {
        "step": step,
        "onset": step,
        "cause": cause,
        "loss": loss,
        "evidence": "<b>why</b>",
        "restart_step": None,
    }
    return SpikeEvent.model_validate(rest | changes | {"phase": "pretrain", "action": "skip"})


def beat(step: int, rank: int, work: str, seconds: float) -> Heartbeat:
    """A rank's time in the ten steps until `step`."""
    fields = {"phase": "pretrain", "first_step": step - 9, "step": step, "rank": rank, "work": work}
    return Heartbeat.model_validate(fields | {"seconds": seconds, "longest_seconds": seconds})


def beats() -> list[Heartbeat]:
    """Four ranks over two stretches: rank 2 computes twice as long as the others, who wait for it."""
    found = []
    for step in (10, 20):
        for rank in range(4):
            busy = 8.0 if rank == 2 else 4.0
            found += [beat(step, rank, "forward_backward", busy), beat(step, rank, "exchange", 9.0 - busy)]
    return found


def run_of(tmp_path: Path) -> list[Node]:
    """A training with spikes of two classes, a frozen norm and a straggler."""
    run = FakeRun(tmp_path)
    rest = {"gradient_norm": 0.5, "learning_rate": 1e-3, "tokens_per_second": 9e3}
    steps = [TrainStep(phase="pretrain", step=s, num_tokens=s, loss=9 - s / 20, **rest) for s in range(1, 101)]
    saved = [Checkpoint(phase="pretrain", step=s, num_tokens=s, folder=f"step-{s}", size_bytes=9) for s in (50, 100)]
    spikes = [spike(33, "data", 12.0), spike(71, "hardware", math.inf), spike(72, "data", math.nan)]
    looks = {"phase": "pretrain", "num_sampled": 64, "dead_fraction": None, "largest": 1.0}
    tensors = [
        TensorHealth(step=s, tensor=name, changed_fraction=changed, ulp_ratio=100 * changed, **looks)
        for s in (10, 20)
        for name, changed in (("norm.weight", 0.001), ("query.weight", 0.99))
    ]
    tables = {"steps": steps, "checkpoints": saved, "spikes": spikes, "tensors": tensors, "heartbeats": beats()}
    run.finish(run.node(Train()), 1.0, **tables)
    return run.nodes


def test_the_page_shows_spikes_tensors_and_times(tmp_path: Path) -> None:
    """Classes and marks, the frozen norm and the late rank are on the page, and evidence is text."""
    text = render(run_of(tmp_path), "train")
    assert "spike: data" in text
    assert "spike: hardware" in text
    assert "&lt;b&gt;why&lt;/b&gt;" in text
    assert "norm.weight" in text
    assert "query.weight" not in text
    assert "Rank 2 was the busiest in" in text
    assert "mostly with forward and backward" in text


def test_marks_do_not_stretch_the_curve() -> None:
    """A spike of infinite loss is drawn at the edge; the description counts spikes by class and checkpoints."""
    rows = [{"step": s, "loss": 3.0} for s in range(9)]
    chart = charts.loss("a", "loss", rows, {}, charts.Marks([(3, "data"), (4, "data"), (5, "numeric")], [2, 8]))
    assert "2 checkpoints; 2 spikes of class data; 1 spikes of class numeric" in chart
    assert chart.count("spike: ") == 2


def test_what_if_nobody_were_late(tmp_path: Path, tables_of: Open) -> None:
    """Without rank 2's extra four seconds in each of two stretches, eight of eighteen seconds would be saved."""
    found = health.times(tables_of(run_of(tmp_path)))[0, "pretrain"]
    assert found["straggler"] == {
        "seconds": 18.0,
        "saved": 8.0,
        "rank": 2,
        "share": 1.0,
        "work": "forward_backward",
        "num_ranks": 4,
    }
    first, second = found["works"]
    assert (first["work"], first["middle"], first["most"], first["share"]) == ("forward_backward", 8.0, 16.0, 40 / 72)
    assert second["share"] == pytest.approx(32 / 72)


def test_one_rank_waits_for_nobody() -> None:
    """With one rank there is no straggler."""
    assert health.straggler([{"step": 1, "rank": 0, "work": "data", "seconds": 1.0}]) is None


def test_tensors_that_move_are_not_listed(tmp_path: Path, tables_of: Open) -> None:
    """Only tensors of which nearly nothing changed, with how often that was seen."""
    (row,) = health.still(tables_of(run_of(tmp_path)))[0, "pretrain"]
    assert (row["tensor"], row["num_looks"], row["step"], row["changed_fraction"]) == ("norm.weight", 2, 20, 0.001)
