"""What the guard does about steps, with an engine that measures what it is told."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from schemas.health import SpikeEvent
from schemas.training import TrainStep
from stages.model.engine import Batch, Taken, TrainingError
from stages.pretrain.health import guard as guards
from stages.pretrain.health.detect import MIN_STEPS, Reading
from stages.pretrain.health.diagnose import Cause, Diagnosis
from stages.pretrain.health.guard import MAX_IN_A_ROW, Choice, Guard, Policy
from tests.stages.pretrain.health.test_detect import healthy

BATCH = Batch(torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, 4, dtype=torch.int64))


class Scripted:
    """An engine whose steps have these losses and norms; `applied` are the steps that changed weights, and at which norm."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        self.readings = {r.step: r for r in readings}
        self.applied: dict[int, float | None] = {}
        self.optimization = SimpleNamespace(max_gradient_norm=1.0)
        self.layout = SimpleNamespace(world=SimpleNamespace(rank=0))
        self._step = 0

    def measure(self, batch: Batch, step: int) -> Taken:  # noqa: ARG002 - the interface
        """As told."""
        self._step = step
        return Taken(self.readings[step].loss, self.readings[step].gradient_norm, 8)

    def apply(self, learning_rate: float, max_norm: float | None = None) -> None:  # noqa: ARG002 - the interface
        """Remember the step."""
        self.applied[self._step] = max_norm

    def discard(self) -> None:
        """Nothing is kept."""


@pytest.fixture
def cause(monkeypatch: pytest.MonkeyPatch) -> dict[str, Cause]:
    """The cause that every alarm is said to have; `schedule` unless it is changed."""
    told: dict[str, Cause] = {"is": "schedule"}

    def diagnosed(_trial: Any, reading: Reading, *_: Any) -> Diagnosis:
        return Diagnosis(told["is"], reading.step, "as told")

    monkeypatch.setattr(guards, "diagnose", diagnosed)
    return told


def guard(readings: Sequence[Reading], on_spike: Choice = "skip") -> Guard:
    """A guard over a scripted engine; no step's sequences are looked at."""
    world = SimpleNamespace(size=1, rank=0)
    data: Any = SimpleNamespace(world=world, opened=SimpleNamespace(order=SimpleNamespace(batch_sequences=2)))
    engine: Any = Scripted(readings)
    return Guard(engine, data, Policy(on_spike), lambda _: None, list)


def take(guarded: Guard, readings: Sequence[Reading]) -> list[SpikeEvent]:
    """All steps; what was said of them."""
    return [e for r in readings if (e := guarded.take(r.step, BATCH, r.learning_rate)[1]) is not None]


def moved(first: int, num_steps: int, by: float = 3.0) -> list[Reading]:
    """A healthy curve whose loss stands higher from a step on, for ever."""
    return [r._replace(loss=r.loss + by * (r.step >= first)) for r in healthy(0, num_steps)]


def rows(readings: Sequence[Reading]) -> list[TrainStep]:
    """As the run writes them."""
    return [
        TrainStep(phase="pretrain", step=r.step, num_tokens=8 * r.step, loss=r.loss, gradient_norm=r.gradient_norm,
                  learning_rate=r.learning_rate, tokens_per_second=1.0)
        for r in readings
    ]  # fmt: skip


@pytest.mark.usefixtures("cause")
def test_a_run_that_has_moved_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Seven steps in a row of another loss are spikes; from the eighth on the run learns again, and that is said once."""
    readings = moved(200, 400)
    guarded = guard(readings)
    events = take(guarded, readings)
    assert [e.step for e in events] == list(range(200, 200 + MAX_IN_A_ROW - 1))
    assert set(guarded.engine.applied) == {r.step for r in readings} - {e.step for e in events}
    assert capsys.readouterr().out.count("judged by a new past") == 1
    later = readings[-1]._replace(step=401, loss=readings[-1].loss + 3.0)
    guarded.engine.readings[401] = later
    assert take(guarded, [later])


@pytest.mark.usefixtures("cause")
@pytest.mark.parametrize("killed", [203, 206, 207, 208, 215, 206 + MIN_STEPS, 390])
def test_a_resumed_run_begins_the_same_past(killed: int) -> None:
    """Killed after any step around a move, the run judges the rest as the one that was not killed."""
    readings = moved(200, 400)
    whole, resumed = guard(readings), guard(readings)
    expected = take(whole, readings)
    resumed.resumed(rows(readings[:killed]), [e for e in expected if e.step <= killed])
    take(resumed, readings[killed:])
    assert resumed.events == expected
    assert list(resumed.detector.past) == list(whole.detector.past)


def test_what_is_broken_ends_the_run(cause: dict[str, Cause]) -> None:
    """Eight steps in a row that the hardware spoils are not skipped for ever."""
    cause["is"] = "hardware"
    readings = moved(200, 400)
    with pytest.raises(TrainingError, match=r"step 207: 8 steps in a row were spikes.*hardware"):
        take(guard(readings), readings)


@pytest.mark.usefixtures("cause")
def test_clipping_never_lets_more_through() -> None:
    """The norm of a clipped step is the expected one, or the run's limit where that is lower."""
    readings = [r._replace(gradient_norm=8 * r.gradient_norm) for r in healthy(1, 300)]
    readings[250] = readings[250]._replace(loss=9.0)
    guarded = guard(readings, "clip")
    (event,) = take(guarded, readings)
    assert event.expected_gradient_norm > 1.0
    assert guarded.engine.applied[251] == 1.0
    guarded.engine.optimization.max_gradient_norm = 99.0
    assert guarded.clip_norm(event.expected_gradient_norm) == event.expected_gradient_norm


def test_unjudged_steps_end_a_run_only_if_they_are_not_finite() -> None:
    """With `off` a jump of the loss is learned from; a NaN ends the run before an update."""
    readings = moved(200, 300)
    guarded = guard(readings, "off")
    assert take(guarded, readings) == []
    assert len(guarded.engine.applied) == 300
    guarded.engine.readings[301] = Reading(301, float("nan"), 1.0, 1e-3)
    with pytest.raises(TrainingError, match="the loss is nan"):
        guarded.take(301, BATCH, 1e-3)
    assert 301 not in guarded.engine.applied
