"""Loss spikes, found on line: how far loss and gradient norm are from where their own recent past leads.

Each signal (loss in nats; logarithm of the gradient norm) is forecast from its last 16 healthy steps, by a line through the
medians of their older and newer half (a resistant line, Tukey 1977). What counts is the error of the forecast, less the
median of the last 64 errors (a line lags behind a curve), in units of their spread: 1.4826 times their median absolute
deviation, which a few wild steps do not move, not under a floor. Where its healthy errors have wide tails, one step must be further off.

The loss alarms when it is over what was expected by `SUDDEN` spreads, by `TOGETHER` with a gradient norm that is off too (under it, where
a weight is broken), by `LASTING` in most of the last few steps (so a slow climb is found), or far under it. A gradient norm alone is a question only (`diagnose`): on real
curves it jumps to 50 times the usual while the loss stays as it was. Steps that were spikes do not enter the past. The onset is found
backwards, where the cumulative sum of the deviations peaks (Page 1954). All of it is a function of the rows of the steps, so every rank
decides alike, and a resumed run as the run that was not killed.
What it gives up: the first `MIN_STEPS` steps, of which there is no past, and drifts slower than the line.
"""

import math
import statistics
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

LINE_STEPS, WINDOW_STEPS = 16, 64  # of a forecast; of errors of forecasts
MIN_LINE_STEPS, MIN_STEPS = 8, 24
REPLAY_STEPS = LINE_STEPS + 2 * WINDOW_STEPS  # all that a detector remembers comes from so many steps
SUDDEN, LASTING, TOGETHER = 7.0, 4.5, 3.5  # deviations of one step; of most of the last few; of both signals
EASY = 10.0  # deviations by which one step's loss may be too low: some batches are easier than others
ALONE = 6.0  # times the expected norm, with a healthy loss: worth measuring again
EXTREME = 100.0  # the same: a spike, though it repeats
TAIL = 4.0  # spreads of the farthest healthy error, over which a run has wide tails: one step must then be further off
LASTING_STEPS, LASTING_OF = 3, 4
LOSS_FLOOR, NORM_FLOOR = 0.01, 0.06  # smallest spread, in nats and in the logarithm of the norm
YOUNG_FACTOR = 2.0  # by how much the spread is taken larger with the first errors; not at all with a full window
DRIFT = 3.0  # deviations of a step that may still be a healthy one

Signal = Literal["loss", "gradient norm", "not finite"]


class Reading(NamedTuple):
    """What is known of a step before its update: loss in nats a token, gradient norm before clipping, learning rate."""

    step: int
    loss: float
    gradient_norm: float
    learning_rate: float


class Verdict(NamedTuple):
    """A step against its past: what was expected, how many spreads it is off, and the signal that alarms, if one does."""

    signal: Signal | None
    expected_loss: float
    expected_norm: float
    loss_spread: float
    loss_deviations: float
    norm_deviations: float

    def handled_by_clipping(self, gradient_norm: float) -> bool:
        """Whether only the norm is off, and by less than orders of magnitude: healthy batches have such gradients too."""
        return self.signal == "gradient norm" and gradient_norm < EXTREME * self.expected_norm

    def deviations(self, signal: Signal | None) -> float:
        """Of the gradient norm if that is the signal, else of the loss."""
        return self.norm_deviations if signal == "gradient norm" else self.loss_deviations


class Forecast:
    """The next value of one signal, from its past."""

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=LINE_STEPS)
        self._errors: deque[float] = deque(maxlen=WINDOW_STEPS)

    def add(self, value: float) -> None:
        """The signal's next value is known."""
        if len(self._values) >= MIN_LINE_STEPS:
            self._errors.append(value - _line(self._values))
        self._values.append(value)

    @property
    def level(self) -> float:
        """Where the signal stood in the last steps."""
        return statistics.median(list(self._values)[-LINE_STEPS // 2 :])

    def expected(self, floor: float) -> tuple[float, float]:
        """The value to expect next, and the spread around it; there must have been an error."""
        usual = statistics.median(self._errors)
        spread = 1.4826 * statistics.median(abs(e - usual) for e in self._errors)
        young = 1 + (YOUNG_FACTOR - 1) * (1 - len(self._errors) / WINDOW_STEPS)
        return _line(self._values) + usual, max(young * spread, floor)

    def tails(self, spread: float) -> float:
        """By how much the farthest of the last errors, but no wild one, is over the `TAIL` spreads of a run with narrow tails; 1 at least."""
        usual = statistics.median(self._errors)
        farthest = min(max(abs(e - usual) for e in self._errors), SUDDEN * spread)
        return max(1.0, farthest / (TAIL * spread))


class Detector:
    """Judges steps in their order. `judge` changes nothing; `accept` takes a step that was judged into the past."""

    def __init__(self) -> None:
        self._loss, self._norm = Forecast(), Forecast()
        self.past: deque[tuple[Reading, Verdict]] = deque(maxlen=WINDOW_STEPS)

    @classmethod
    def after(cls, steps: Iterable[Reading]) -> "Detector":
        """The detector of a run that took these steps and no others."""
        detector = cls()
        for reading in steps:
            detector.accept(reading, detector.judge(reading))
        return detector

    @property
    def ready(self) -> bool:
        """Whether there is a past to judge by."""
        return len(self.past) >= MIN_STEPS

    def judge(self, reading: Reading) -> Verdict:
        """Compare a step with its past; before there is one, only a value that is not finite is an alarm."""
        finite = math.isfinite(reading.loss) and math.isfinite(reading.gradient_norm)
        if not self.ready:
            return Verdict(None if finite else "not finite", math.nan, math.nan, math.nan, 0.0, 0.0)
        loss, loss_spread = self._loss.expected(LOSS_FLOOR)
        norm, norm_spread = self._norm.expected(NORM_FLOOR)
        off_loss = _off(reading.loss, loss, self._loss.level) / loss_spread if finite else math.inf
        off_norm = (_log(reading.gradient_norm) - norm) / norm_spread if finite else math.inf
        verdict = Verdict(None, loss, math.exp(norm), loss_spread, off_loss, off_norm)
        if not finite:
            return verdict._replace(signal="not finite")
        return verdict._replace(signal=self._signal(verdict, reading.gradient_norm, norm_spread))

    def accept(self, reading: Reading, verdict: Verdict) -> None:
        """The step was healthy: it is what the next ones are compared with."""
        self._loss.add(reading.loss)
        self._norm.add(_log(reading.gradient_norm))
        self.past.append((reading, verdict))

    def onset(self, step: int, verdict: Verdict) -> int:
        """The step at which the excursion that ends in this alarm began: the peak of the backward cumulative sum."""
        best, total, found = -math.inf, 0.0, step
        side = math.copysign(1.0, verdict.deviations(verdict.signal))
        for number, one in [(step, verdict), *((r.step, v) for r, v in reversed(self.past))]:
            total += min(side * one.deviations(verdict.signal), SUDDEN) - DRIFT
            if total > best:
                best, found = total, number
            if total < best - SUDDEN:
                break
        return found

    def _signal(self, verdict: Verdict, gradient_norm: float, norm_spread: float) -> Signal | None:
        loss, norm = verdict.loss_deviations, verdict.norm_deviations
        recent = [v.loss_deviations for _, v in list(self.past)[-(LASTING_OF - 1) :]]
        if _lasts([*recent, loss]):
            return "loss"
        if max(abs(loss), abs(norm)) <= TOGETHER:  # nearly always: then tails need not be known
            return None
        loss, norm = loss / self._loss.tails(verdict.loss_spread), norm / self._norm.tails(norm_spread)
        if loss > SUDDEN or loss < -EASY or min(loss, abs(norm)) > TOGETHER:
            return "loss"
        return "gradient norm" if norm > SUDDEN and gradient_norm > ALONE * verdict.expected_norm else None


def _lasts(deviations: Sequence[float]) -> bool:
    """Whether the last one and most of the last few are far over what was expected. A loss that falls is no spike."""
    far = [d > LASTING for d in deviations]
    return far[-1] and sum(far) >= LASTING_STEPS


def _off(value: float, expected: float, level: float) -> float:
    """How far a value is off. A line overshoots where a fall ends: what is over the line, but not over the level, is not."""
    return value - expected if value < expected else max(0.0, value - max(expected, level))


def _line(values: Iterable[float]) -> float:
    """Where a resistant line through the values leads at the next step."""
    past = list(values)
    half = len(past) // 2
    older, newer = statistics.median(past[:half]), statistics.median(past[half:])
    slope = (newer - older) / (len(past) / 2)
    return newer + slope * (len(past) - (half + len(past) - 1) / 2)


def _log(norm: float) -> float:
    return math.log(max(norm, 1e-30))
