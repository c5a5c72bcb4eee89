import itertools
import math
import random
from collections.abc import Iterator

import numpy as np
import pytest

from stages.pretrain.health.detect import (
    LINE_STEPS,
    MIN_STEPS,
    REPLAY_STEPS,
    WINDOW_STEPS,
    Detector,
    Forecast,
    Reading,
)


def healthy(seed: int, num_steps: int, noise: float = 0.03) -> Iterator[Reading]:
    """Steps of a loss that falls from 9 to 3, fast at first, with a gradient norm that falls with it."""
    chance = random.Random(seed)
    for step in range(1, num_steps + 1):
        fall = math.exp(-step / 80)
        norm = math.exp(chance.gauss(0, 0.1)) * (0.4 + 2 * fall)
        yield Reading(step, 3 + 6 * fall + chance.gauss(0, noise), norm, 1e-3)


def fed(readings: list[Reading]) -> Detector:
    """A detector that took all of them for healthy."""
    return Detector.after(readings)


@pytest.mark.parametrize("seed", range(5))
def test_a_falling_loss_raises_no_alarm(seed: int) -> None:
    """A thousand steps of noise on a curve that falls steeply and flattens are healthy, every one of them."""
    detector = Detector()
    for reading in healthy(seed, 1000):
        verdict = detector.judge(reading)
        assert verdict.signal is None
        detector.accept(reading, verdict)


@pytest.mark.parametrize("jump", [0.6, 2.0, -1.0, 1e30])
def test_a_jump_of_the_loss_is_an_alarm_at_its_step(jump: float) -> None:
    """A loss far above or below where it leads is an alarm at once, and its onset is that step."""
    detector = fed(list(healthy(1, 300)))
    verdict = detector.judge(Reading(301, 3.0 + jump, 0.5, 1e-3))
    assert verdict.signal == "loss"
    assert detector.onset(301, verdict) == 301
    assert verdict.expected_loss == pytest.approx(3.15, abs=0.1)


def test_a_loss_that_bends_is_followed() -> None:
    """On a curve that a line lags behind by many times the noise, a jump of a nat is still an alarm."""
    curve = [Reading(s, 1 + 5 * math.exp(-s / 25) + 0.01 * (-1) ** (s // 2), 0.5, 1e-3) for s in range(1, 61)]
    detector = fed(curve[:-1])
    assert detector.judge(curve[-1]).signal is None
    assert detector.judge(curve[-1]._replace(loss=curve[-1].loss + 1.0)).signal == "loss"


@pytest.mark.parametrize(("norm", "alarm", "handled"), [(2.0, False, False), (4.5, True, True), (90.0, True, False)])
def test_a_gradient_norm_alone_is_asked_about(norm: float, alarm: bool, handled: bool) -> None:
    """With a healthy loss, four times the usual norm is nothing, ten times a question, and two hundred times a spike."""
    detector = fed(list(healthy(2, 300)))
    verdict = detector.judge(Reading(301, 3.15, norm, 1e-3))
    assert verdict.signal == ("gradient norm" if alarm else None)
    assert verdict.handled_by_clipping(norm) == handled
    assert verdict.expected_norm == pytest.approx(0.45, abs=0.1)


@pytest.mark.parametrize(
    ("loss", "norm", "signal"), [(0.12, 0.7, "loss"), (-0.12, 0.7, None), (0.12, 0.3, "loss"), (0.12, 0.45, None)]
)
def test_both_together_count_where_the_loss_is_up(loss: float, norm: float, signal: str | None) -> None:
    """Neither is far enough off alone: an easier batch is healthy; a loss that is up with a norm that is down is a broken weight's."""
    detector = fed(list(healthy(2, 300)))
    usual = detector.judge(Reading(301, 3.15, 0.45, 1e-3))
    off = usual.expected_loss + 40 * loss * usual.loss_spread
    verdict = detector.judge(Reading(301, off, norm / 0.45 * usual.expected_norm, 1e-3))
    assert verdict.signal == signal


def test_a_loss_that_falls_is_no_spike() -> None:
    """A model that learns something new at once loses a nat in ten steps, without an alarm."""
    detector = Detector()
    curve = [r._replace(loss=r.loss + 1 - min(max(r.step - 300, 0), 10) / 10) for r in healthy(7, 400)]
    for reading in curve:
        verdict = detector.judge(reading)
        assert verdict.signal is None
        detector.accept(reading, verdict)


def test_a_run_of_unlike_batches_has_wide_tails() -> None:
    """A jump that is a spike where all batches are alike is none where every twentieth was half as far off."""
    alike = list(healthy(6, 300))
    unlike = [r._replace(loss=r.loss + 0.17 * (r.step % 20 == 0)) for r in alike]
    spikes = [fed(r).judge(Reading(301, 3.15 + 0.3, 0.45, 1e-3)) for r in (alike, unlike)]
    assert spikes[0].signal == "loss"
    assert spikes[1].signal is None


def test_a_slow_climb_is_found_and_dated_back_to_its_foot() -> None:
    """A loss that climbs by a spread or two a step raises an alarm within a few, and the onset is where it had left the noise."""
    readings = list(healthy(3, 300, noise=0.02))
    detector = fed(readings)
    for step in itertools.count(301):
        reading = Reading(step, 3.14 + 0.035 * (step - 300), 0.45, 1e-3)
        verdict = detector.judge(reading)
        if verdict.signal:
            break
        detector.accept(reading, verdict)
    assert 303 <= step <= 307
    assert verdict.loss_deviations < 9
    assert 301 <= detector.onset(step, verdict) <= 303 < step


def test_without_a_past_only_what_is_not_finite_alarms() -> None:
    """In the first steps a wild loss is nothing to compare with; a NaN is an alarm in any."""
    detector = fed(list(healthy(0, MIN_STEPS - 1)))
    assert not detector.ready
    assert detector.judge(Reading(MIN_STEPS, 99.0, 1.0, 1e-3)).signal is None
    assert detector.judge(Reading(MIN_STEPS, math.nan, 1.0, 1e-3)).signal == "not finite"
    assert detector.judge(Reading(MIN_STEPS, 3.0, math.inf, 1e-3)).signal == "not finite"


def test_line_and_spread_are_the_medians() -> None:
    """Forecast and spread are those of resistant lines and the errors they made, computed with NumPy in float64."""
    values = np.random.default_rng(0).normal(size=300) + np.linspace(5, 3, 300)
    forecast, half = Forecast(), LINE_STEPS // 2

    def line(at: int) -> float:
        older, newer = np.median(values[at - LINE_STEPS : at - half]), np.median(values[at - half : at])
        return float(newer + (newer - older) / half * (half + 1) / 2)

    for value in values:
        forecast.add(float(value))
    errors = np.array([values[i] - line(i) for i in range(300 - WINDOW_STEPS, 300)])
    expected, spread = forecast.expected(0.0)
    assert expected == pytest.approx(line(300) + np.median(errors))
    assert spread == pytest.approx(1.4826 * np.median(np.abs(errors - np.median(errors))))


def test_wild_steps_in_the_past_do_not_widen_the_spread() -> None:
    """Three losses of a hundred that were taken for healthy move the expectation by less than one spread."""
    readings = list(healthy(4, 400))
    wild = [r._replace(loss=100.0) if r.step in {340, 360, 380} else r for r in readings]
    plain, moved = (fed(r).judge(Reading(401, 3.04, 0.42, 1e-3)) for r in (readings, wild))
    assert abs(moved.expected_loss - plain.expected_loss) < plain.loss_spread
    assert moved.loss_spread < 1.3 * plain.loss_spread


def test_the_last_steps_are_all_that_a_resumed_run_needs() -> None:
    """A detector made anew from the last 144 steps judges, dates back and remembers as the one that saw every step."""
    readings = list(healthy(5, 700))
    whole, resumed = fed(readings), fed(readings[-REPLAY_STEPS:])
    assert list(whole.past) == list(resumed.past)
    for loss in (3.0, 3.2, 4.0):
        reading = Reading(701, loss, 0.6, 1e-3)
        assert whole.judge(reading) == resumed.judge(reading)
        assert whole.onset(701, whole.judge(reading)) == resumed.onset(701, resumed.judge(reading))
