"""Between the measurement of a step and its update: is it a spike, why, and what is done about it.

`clip` makes the update with the gradient scaled to the norm that was expected; `skip` makes none; `rollback` goes back to the
newest healthy checkpoint of before the onset and leaves out the sequences that the spike is laid on. Where there is no such
checkpoint, or a gradient that is not finite, the step is skipped. Everything is decided from numbers that all ranks share and
from the rows of the run, so ranks agree, and a resumed run decides as the run that was not killed: one that was killed between
a spike and the next checkpoint sees the spike again. A run that stands elsewhere for good is judged by a new past; what is broken for
good, and rollbacks that lead nowhere, end it with the cause.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from schemas.health import SpikeEvent, Suspect, TensorHealth
from schemas.training import TrainStep
from stages.model.engine import Batch, Engine, Taken, TrainingError
from stages.pretrain.data import Data
from stages.pretrain.health import monitors
from stages.pretrain.health.detect import REPLAY_STEPS, Detector, Reading, Verdict
from stages.pretrain.health.diagnose import Diagnosis, diagnose, reference, suspects
from stages.pretrain.health.heartbeat import Clock
from stages.pretrain.health.restart import restart
from stages.pretrain.health.trial import RunTrial, omitted

Action = Literal["clip", "skip", "rollback"]
Choice = Literal["off", "clip", "skip", "rollback"]
MAX_IN_A_ROW = 8  # steps that are all far from where the past led: the past is not what this run is to be judged by
MAX_EXAMINED = 16  # steps of an excursion whose sequences are looked at


@dataclass(frozen=True)
class Policy:
    """What is set: the action, or none, how often tensors are looked at (0 for never), and steps at which another past begins."""

    on_spike: Choice
    monitor_every: int = 0
    fresh: frozenset[int] = frozenset()


@dataclass
class Guard:
    """Takes the steps of a run. `load` puts the engine to the state of the checkpoint of a step; `saved` are their steps."""

    engine: Engine
    data: Data
    policy: Policy
    load: Callable[[int], None]
    saved: Callable[[], Sequence[int]]
    mask_documents: bool = False
    clock: Clock = field(default_factory=Clock)
    detector: Detector = field(default_factory=Detector)
    events: list[SpikeEvent] = field(default_factory=list)
    tensors: list[TensorHealth] = field(default_factory=list)
    left_out: dict[int, set[int]] = field(default_factory=dict)

    def take(self, step: int, batch: Batch, rate: float) -> tuple[Taken, SpikeEvent | None]:
        """Take a step; after a `rollback` event the caller goes back to its `restart_step`."""
        if step in self.policy.fresh or (self._after_spike(step) and step in self._moved()):
            self._begin_anew(step)
        out = self.left_out.get(step, set())
        whole = len(out) >= self._num_sequences(batch)
        kept = batch if whole else omitted(batch, out, self.data.world.rank * len(batch.inputs_BT))
        with self.clock.phase("forward_backward"):
            taken = self.engine.measure(kept, step)
        if whole:  # nothing of it is learned
            self.engine.discard()
            return taken, None
        reading = Reading(step, taken.loss, taken.gradient_norm, rate)
        if self.policy.on_spike == "off":
            self._apply_unjudged(reading)
            return taken, None
        verdict = self.detector.judge(reading)
        if verdict.signal is None:
            self._apply(step, rate)
            self.detector.accept(reading, verdict)
            return taken, None
        with self.clock.phase("watching"):
            return taken, self._alarm(reading, verdict, kept)

    def resumed(self, steps: Sequence[TrainStep], events: Iterable[SpikeEvent]) -> None:
        """The run goes on after these rows."""
        self.events[:] = events
        self.left_out.clear()
        for suspect in (s for e in self.events if e.action == "rollback" for s in e.suspects if s.left_out):
            self.left_out.setdefault(suspect.step, set()).add(suspect.sequence - 1)
        begins = self.policy.fresh | self._moved()
        first = max((s for s in begins if steps and s <= steps[-1].step), default=1)
        unlike = self.unlearned() | {e.step for e in self.events if e.action == "clip"}
        healthy = [s for s in steps if s.step >= first and s.step not in unlike][-REPLAY_STEPS:]
        self.detector = Detector.after(
            Reading(s.step, s.loss, s.gradient_norm or 0.0, s.learning_rate) for s in healthy
        )

    def unlearned(self) -> set[int]:
        """Steps that made no update."""
        size = self.data.opened.order.batch_sequences
        whole = {step for step, sequences in self.left_out.items() if len(sequences) >= size}
        return whole | {e.step for e in self.events if e.action == "skip"}

    def went_back(self, event: SpikeEvent) -> None:
        """The run is at the event's `restart_step`; `resumed` was told of the rows until there."""
        self.events.append(event)
        for suspect in (s for s in event.suspects if s.left_out):
            self.left_out.setdefault(suspect.step, set()).add(suspect.sequence - 1)

    def clip_norm(self, expected: float) -> float:
        """The norm that `clip` leaves a gradient: the expected one, and no more than any step's may be."""
        return min(expected, self.engine.optimization.max_gradient_norm)

    def _num_sequences(self, batch: Batch) -> int:
        return len(batch.inputs_BT) * self.data.world.size

    def _apply(self, step: int, rate: float, max_norm: float | None = None) -> None:
        every = self.policy.monitor_every
        watched = bool(every) and step % every == 0
        with self.clock.phase("watching"):
            before = monitors.sampled(monitors.parameters(self.engine.network)) if watched else []
        with self.clock.phase("optimizer"):
            self.engine.apply(rate, max_norm)
        if watched:
            with self.clock.phase("watching"):
                after = monitors.sampled(monitors.parameters(self.engine.network))
                rows = monitors.of_all_stages(monitors.compared(step, before, after), self.engine.layout)
                self.tensors += rows
                if self.engine.layout.world.rank == 0:
                    for words in monitors.complaints(rows):
                        print(words, flush=True)

    def _apply_unjudged(self, reading: Reading) -> None:
        if not (math.isfinite(reading.loss) and math.isfinite(reading.gradient_norm)):
            self.engine.discard()
            raise TrainingError(_not_finite(reading))
        self._apply(reading.step, reading.learning_rate)

    def _alarm(self, reading: Reading, verdict: Verdict, batch: Batch) -> SpikeEvent | None:
        """Look at the step once more: a spike becomes an event, anything else is learned from."""
        self.engine.discard()
        if not self.detector.ready:
            raise TrainingError(_not_finite(reading))
        trial = RunTrial(self.engine, self.data, self.left_out, mask_documents=self.mask_documents)
        found = diagnose(trial, reading, verdict, self.detector)
        if found is not None:
            return self._spike((reading, verdict), found, trial, batch)
        self.engine.measure(batch, reading.step)
        self._apply(reading.step, reading.learning_rate)
        self.detector.accept(reading, verdict)
        return None

    def _spike(self, alarm: tuple[Reading, Verdict], found: Diagnosis, trial: RunTrial, batch: Batch) -> SpikeEvent:
        reading, verdict = alarm
        action: Action = self.policy.on_spike if self.policy.on_spike != "off" else "skip"
        back: int | None = None
        laid_on = [(reading.step, found.suspects, trial.losses(reading.step))] if found.suspects else []
        if action == "rollback":
            back = restart(trial, self.saved(), found.onset, (self.detector, verdict), self.load)
            action = "skip" if back is None else action
            laid_on += self._earlier(trial, found, reading.step) if back is not None else []
        elif action == "clip" and not self._clipped(reading, verdict, batch):
            action = "skip"
        event = _event(reading, verdict, found, (action, back))
        event = event.model_copy(update={"suspects": self._suspects(laid_on, left_out=action == "rollback")})
        self._refuse_many(event)
        if action == "rollback":
            self._refuse_again(event)
        else:
            self.events.append(event)
        return event

    def _clipped(self, reading: Reading, verdict: Verdict, batch: Batch) -> bool:
        """Make the update with a gradient of the expected norm; False where there is none to make."""
        taken = self.engine.measure(batch, reading.step)
        if not (math.isfinite(taken.loss) and math.isfinite(taken.gradient_norm)):
            self.engine.discard()
            return False
        self._apply(reading.step, reading.learning_rate, self.clip_norm(verdict.expected_norm))
        return True

    def _earlier(self, trial: RunTrial, found: Diagnosis, step: int) -> list[tuple[int, tuple[int, ...], list[float]]]:
        """Unlike sequences of the excursion's earlier steps, at the weights that the run goes back to."""
        healthy = reference(self.detector, found.onset)
        if found.cause != "data" or healthy is None:
            return []
        alike, laid_on = trial.losses(healthy.step), []
        for one in range(max(found.onset, step - MAX_EXAMINED), step):
            losses = trial.losses(one)
            laid_on.append((one, suspects(losses, alike), losses))
        return laid_on

    def _suspects(
        self, laid_on: Iterable[tuple[int, tuple[int, ...], list[float]]], *, left_out: bool
    ) -> list[Suspect]:
        rows = []
        for step, sequences, losses in laid_on:
            samples = self.data.at(step, 0, mask_documents=False).samples
            for sequence in sequences:
                source = self.data.datasets[int(samples.datasets[sequence])].source
                rows.append(
                    Suspect(
                        step=step,
                        sequence=sequence + 1,
                        source=source,
                        dataset_sample=int(samples.samples[sequence]),
                        loss=losses[sequence],
                        left_out=left_out,
                    )
                )
        return rows

    def _begin_anew(self, step: int) -> None:
        self.detector = Detector()
        if step not in self.policy.fresh and self.engine.layout.world.rank == 0:
            words = f"{MAX_IN_A_ROW - 1} steps in a row were far from where the past led, and no number is broken"
            print(f"step {step}: {words}: the run is judged by a new past from here", flush=True)

    def _after_spike(self, step: int) -> bool:
        return bool(self.events) and self.events[-1].step == step - 1

    def _moved(self) -> set[int]:
        """Steps after so many spikes in a row, for no broken number, that the run has moved: there a new past begins."""
        unexplained = {e.step for e in self.events if e.cause in ("data", "schedule")}
        row = range(1, MAX_IN_A_ROW)
        return {step + 1 for step in unexplained if all(step + 1 - i in unexplained for i in row)}

    def _refuse_many(self, event: SpikeEvent) -> None:
        """What is broken does not mend itself: leaving out steps for ever is no training."""
        broken = {e.step for e in self.events if e.cause in ("hardware", "numeric")}
        if event.cause in ("hardware", "numeric") and all(event.step - i in broken for i in range(1, MAX_IN_A_ROW)):
            words = f"step {event.step}: {MAX_IN_A_ROW} steps in a row were spikes, this one for a reason of class {event.cause}"
            raise TrainingError(f"{words} ({event.evidence}); remove the cause, or go on from an earlier checkpoint")

    def _refuse_again(self, event: SpikeEvent) -> None:
        """A run that went back, left out all that it could, and spikes at the same place, would do so for ever."""
        new = {(s.step, s.sequence - 1) for s in event.suspects if s.left_out}
        known = {(step, sequence) for step, out in self.left_out.items() for sequence in out}
        before = [e for e in self.events if e.action == "rollback" and e.restart_step == event.restart_step]
        if before and not new - known:
            words = f"step {event.step}: a spike again, after going back to step {event.restart_step}"
            raise TrainingError(f"{words}; class {event.cause}: {event.evidence}")


def _not_finite(reading: Reading) -> str:
    if not math.isfinite(reading.loss):
        cure = "try a lower pretrain.learning_rate or longer warm-up"
        return f"step {reading.step}: the loss is {reading.loss}; {cure}"
    return f"step {reading.step}: the gradient norm is {reading.gradient_norm}, with a loss of {reading.loss:.4f}"


def _event(reading: Reading, verdict: Verdict, found: Diagnosis, done: tuple[Action, int | None]) -> SpikeEvent:
    assert verdict.signal is not None, "only alarms are events"
    return SpikeEvent(
        phase="pretrain",
        step=reading.step,
        onset=found.onset,
        signal=verdict.signal,
        loss=reading.loss,
        expected_loss=verdict.expected_loss,
        loss_deviations=verdict.loss_deviations,
        gradient_norm=reading.gradient_norm,
        expected_gradient_norm=verdict.expected_norm,
        norm_deviations=verdict.norm_deviations,
        learning_rate=reading.learning_rate,
        cause=found.cause,
        evidence=found.evidence,
        action=done[0],
        restart_step=done[1],
        suspects=[],
        loss_without=found.without.loss if found.without else None,
        gradient_norm_without=found.without.gradient_norm if found.without else None,
    )
