"""Why a step spiked: hardware, schedule, numeric or data, by what is the same when the step is looked at once more.

The alarm comes before the update, so the step can be repeated at the very weights at which it was seen. In this order:

    hardware   the same batch, each rank's share on another rank, gives another loss or gradient (as Megatron-LM's rerun)
    schedule   the learning rate rose by half or more from one step to the next, shortly before the loss did
    numeric    weights or moments hold a number that no update makes (`state`), or the network overflows on healthy data
    schedule   a step that was healthy when it was trained on is bad now: the weights have left, and no number is to blame
    data       that step is as it was; the sequences of this one that are unlike its sequences are the suspects

Then the step is measured without the suspects, which is the proof. What it gives up: a cause that is none of these is
called by the one that its effect looks like.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple, Protocol

from stages.pretrain.health.detect import LASTING, Detector, Reading, Verdict

Cause = Literal["data", "numeric", "hardware", "schedule"]
REPEATS = 1e-3  # relative difference of two computations of one thing, in another order of adding up
RATE_JUMP = 1.5  # from one step to the next; a linear warm-up does less from its third step on
BEFORE_STEPS = 8  # how long before the loss the learning rate may have jumped
UNLIKE = 6.0  # spreads that a suspect sequence is off the median of healthy ones


class Measured(NamedTuple):
    """Loss in nats a token and gradient norm of a batch at the present weights."""

    loss: float
    gradient_norm: float


class Trial(Protocol):
    """What can be asked of a run that stands before an update. Every rank asks the same; nothing of the run changes."""

    def measured(self, step: int, *, moved: bool = False, without: Sequence[int] = ()) -> Measured:
        """Measure a step's batch; `moved`: on other ranks than when it is trained on; `without` these sequences (from 0)."""

    def losses(self, step: int) -> list[float]:
        """The loss of each sequence of a step's batch, all ranks' in order; NaN where nothing is scored."""

    def impossible(self) -> str | None:
        """A number in the state of training that no update makes, in words."""


class Diagnosis(NamedTuple):
    """The cause of a spike, since which step, and on what evidence. `suspects` are sequences of the alarm's step."""

    cause: Cause
    onset: int
    evidence: str
    suspects: tuple[int, ...] = ()
    without: Measured | None = None


def diagnose(trial: Trial, reading: Reading, verdict: Verdict, detector: Detector) -> Diagnosis | None:
    """Find the cause of an alarm. The update of the step has not been made; its gradients have been thrown away.

    None: it is no spike, but a large gradient of a step with a healthy loss, which repeats at weights that are sound.
    """
    onset = detector.onset(reading.step, verdict)
    again = trial.measured(reading.step, moved=True)
    if not _same(again, Measured(reading.loss, reading.gradient_norm)):
        words = f"loss {reading.loss:.4f}, norm {reading.gradient_norm:.4g}; once more {again.loss:.4f}, {again.gradient_norm:.4g}"
        return Diagnosis("hardware", reading.step, f"the step does not repeat: {words}")
    if (jump := rate_jump(detector, onset)) is not None:
        step, before, after = jump
        return Diagnosis("schedule", step, f"the learning rate went from {before:.3g} to {after:.3g} at step {step}")
    if (broken := trial.impossible()) is not None:
        return Diagnosis("numeric", onset, broken)
    if verdict.handled_by_clipping(reading.gradient_norm):
        return None
    healthy = reference(detector, onset)
    if healthy is None:
        return Diagnosis("data", reading.step, "there is no healthy step to compare with")
    return _by_reference(trial, reading.step, healthy, (onset, verdict))


def _by_reference(trial: Trial, step: int, healthy: Reading, alarm: tuple[int, Verdict]) -> Diagnosis:
    """Is a step that was healthy still so? Then it is this step's data, else the weights."""
    onset, verdict = alarm
    now = trial.measured(healthy.step)
    if not math.isfinite(now.loss) or not math.isfinite(now.gradient_norm):
        return Diagnosis(
            "numeric", onset, f"step {healthy.step}, healthy with loss {healthy.loss:.4f}, is not finite now"
        )
    if gone(now.loss, healthy, verdict):
        words = f"step {healthy.step}, loss {healthy.loss:.4f} when it was trained on, has {now.loss:.4f} now"
        return Diagnosis("schedule", onset, f"the weights have left: {words}, and the state holds no broken number")
    return _data(trial, step, healthy)


def rate_jump(detector: Detector, onset: int) -> tuple[int, float, float] | None:
    """The first step, from shortly before the onset, whose learning rate jumped: the step, the rate before, the rate then."""
    readings = [r for r, _ in detector.past]
    for one, two in pairwise(readings):
        if two.step >= onset - BEFORE_STEPS and two.learning_rate > RATE_JUMP * one.learning_rate:
            return two.step, one.learning_rate, two.learning_rate
    return None


def reference(detector: Detector, onset: int) -> Reading | None:
    """The last step before the onset that the detector took for healthy."""
    return next((r for r, _ in reversed(detector.past) if r.step < onset), None)


def gone(loss: float, healthy: Reading, verdict: Verdict) -> bool:
    """Whether a healthy step's loss is now higher than a healthy run's would be."""
    spread = verdict.loss_spread if math.isfinite(verdict.loss_spread) else 0.1 * healthy.loss
    return not loss - healthy.loss <= LASTING * spread


def suspects(losses: Iterable[float], healthy: Iterable[float]) -> tuple[int, ...]:
    """Sequences whose loss is unlike that of healthy ones, by median and median absolute deviation."""
    known = [v for v in healthy if math.isfinite(v)]
    if not known:
        return ()
    middle = statistics.median(known)
    spread = max(1.4826 * statistics.median(abs(v - middle) for v in known), 0.02 * middle)
    return tuple(i for i, v in enumerate(losses) if not math.isnan(v) and abs(v - middle) > UNLIKE * spread)


def _data(trial: Trial, step: int, healthy: Reading) -> Diagnosis:
    losses = trial.losses(step)
    found = suspects(losses, trial.losses(healthy.step))
    scored = [i for i, v in enumerate(losses) if not math.isnan(v)]
    words = f"step {healthy.step} is as it was; {len(found)} of {len(losses)} sequences are unlike its sequences"
    if not found or len(found) == len(scored):
        return Diagnosis("data", step, words, tuple(scored))
    rest = trial.measured(step, without=found)
    words += f"; without them the loss is {rest.loss:.4f}, the gradient norm {rest.gradient_norm:.4g}"
    return Diagnosis("data", step, words, found, rest)


def _same(one: Measured, two: Measured) -> bool:
    return all(_close(a, b) for a, b in zip(one, two, strict=True))


def _close(a: float, b: float) -> bool:
    if not (math.isfinite(a) and math.isfinite(b)):
        return math.isfinite(a) == math.isfinite(b)
    return abs(a - b) <= REPEATS * max(abs(a), abs(b))
