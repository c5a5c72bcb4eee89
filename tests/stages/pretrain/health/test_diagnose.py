import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from stages.pretrain.health.detect import Detector, Reading
from stages.pretrain.health.diagnose import Cause, Diagnosis, Measured, diagnose, suspects
from stages.pretrain.health.restart import restart
from tests.stages.pretrain.health.test_detect import healthy

NORMAL = Measured(3.1, 0.45)
EACH = [2.9, 3.0, 3.1, 3.2, 3.0, 3.1, 3.2, 3.3]


@dataclass
class Told:
    """A trial that answers as it is told: by step, moved or not, without some sequences."""

    spike: Measured
    moved: Measured | None = None
    before: Measured = NORMAL
    without: Measured = NORMAL
    broken: str | None = None
    each: list[float] = field(default_factory=lambda: list(EACH))
    at: int = 301
    asked: list[tuple[int, bool, tuple[int, ...]]] = field(default_factory=list)

    def measured(self, step: int, *, moved: bool = False, without: Sequence[int] = ()) -> Measured:
        """Of the spike's step, or of one before it."""
        self.asked.append((step, moved, tuple(without)))
        if step != self.at:
            return self.before
        if without:
            return self.without
        return self.moved or self.spike if moved else self.spike

    def losses(self, step: int) -> list[float]:
        """Of the sequences."""
        return self.each if step == self.at else EACH

    def impossible(self) -> str | None:
        """What is broken."""
        return self.broken


def explained(trial: Told, rates: dict[int, float] | None = None) -> Diagnosis:
    """The diagnosis of step 301 after 300 healthy ones; it must be a spike."""
    found = asked(trial, rates)
    assert found is not None
    return found


def asked(trial: Told, rates: dict[int, float] | None = None) -> Diagnosis | None:
    """What is said of step 301 after 300 healthy ones."""
    past = [r._replace(learning_rate=(rates or {}).get(r.step, 1e-3)) for r in healthy(0, 300)]
    detector = Detector.after(past)
    reading = Reading(301, *trial.spike, (rates or {}).get(301, 1e-3))
    return diagnose(trial, reading, detector.judge(reading), detector)


def test_what_does_not_repeat_is_hardware() -> None:
    """The same batch on other ranks gives another gradient norm: nothing else is asked."""
    trial = Told(Measured(3.1, 90.0), moved=Measured(3.1, 0.45))
    found = explained(trial)
    assert (found.cause, found.onset) == ("hardware", 301)
    assert trial.asked == [(301, True, ())]


@pytest.mark.parametrize(("norm", "spike"), [(9.0, False), (40.0, False), (4500.0, True)])
def test_a_norm_alone_that_repeats_is_no_spike(norm: float, spike: bool) -> None:
    """With a healthy loss, sound weights and the same result again, a norm is for clipping, unless it is orders of magnitude off."""
    trial = Told(Measured(3.1, norm))
    assert (asked(trial) is not None) == spike
    assert trial.asked[0] == (301, True, ())


def test_a_norm_alone_is_a_spike_where_something_is_broken() -> None:
    """The same norm with a broken number, or after a jump of the rate, is one."""
    assert explained(Told(Measured(3.1, 9.0), broken="head.weight: a weight of 1e+36")).cause == "numeric"
    assert explained(Told(Measured(3.1, 9.0)), {300: 0.05, 301: 0.05}).cause == "schedule"


def test_another_order_of_adding_up_is_no_other_result() -> None:
    """Differences of rounding, as ranks that change places make, are not hardware."""
    assert explained(Told(Measured(6.0, 9.0), moved=Measured(6.00001, 8.9999))).cause == "data"


def test_a_jump_of_the_rate_is_schedule_since_the_jump() -> None:
    """The first step with a rate far over the one before is the onset, though its own loss was healthy."""
    found = explained(Told(Measured(6.0, 9.0)), {300: 0.05, 301: 0.05})
    assert (found.cause, found.onset) == ("schedule", 300)
    assert "0.001 to 0.05" in found.evidence


@pytest.mark.parametrize("rates", [{301: 0.05}, {r: 1e-3 * r / 301 for r in range(1, 302)}, {200: 0.05}])
def test_a_rate_that_did_no_harm_is_not_to_blame(rates: dict[int, float]) -> None:
    """One that was not used yet, a warm-up, or a jump of a hundred steps ago."""
    assert explained(Told(Measured(6.0, 9.0)), rates).cause == "data"


def test_a_broken_number_is_numeric() -> None:
    """A state that no update makes is the cause, in the words of the state."""
    found = explained(Told(Measured(math.nan, math.nan), broken="head.weight: a weight of 1e+36"))
    assert (found.cause, found.evidence) == ("numeric", "head.weight: a weight of 1e+36")


def test_overflow_on_healthy_data_is_numeric() -> None:
    """A step that was healthy is not finite now, and no number of the state is broken."""
    assert explained(Told(Measured(math.inf, math.nan), before=Measured(math.inf, math.nan))).cause == "numeric"


def test_weights_that_have_left_are_schedule() -> None:
    """A healthy step is far worse now than it was, and the state is sound: the rate was too high for it."""
    assert explained(Told(Measured(6.0, 9.0), before=Measured(5.5, 3.0))).cause == "schedule"


def test_unlike_sequences_are_data_and_are_proved() -> None:
    """The suspects are those whose loss is unlike the others', and the step is measured without them."""
    trial = Told(Measured(4.0, 2.0), each=[3.0, 9.0, 3.1, math.nan, 0.1, 3.0, math.inf, 3.2])
    found = explained(trial)
    assert (found.cause, found.suspects, found.without) == ("data", (1, 4, 6), NORMAL)
    assert trial.asked[-1] == (301, False, (1, 4, 6))


def test_a_batch_that_is_bad_all_through_is_its_own_suspect() -> None:
    """Where every sequence is unlike, or none is, all that count are suspects."""
    assert explained(Told(Measured(9.0, 2.0), each=[9.0] * 7 + [math.nan])).suspects == tuple(range(7))
    assert explained(Told(Measured(4.0, 2.0))).suspects == tuple(range(8))


def test_suspects_need_something_to_be_unlike() -> None:
    """Without a healthy loss nothing is called unlike."""
    assert suspects([1.0, 99.0], [math.nan]) == ()


@pytest.mark.parametrize(
    ("broken", "worse", "expected"),
    [((), (), 290), ((290,), (), 280), ((), (290, 280), 270), ((290, 280, 270), (), None)],
)
def test_the_newest_healthy_checkpoint_before_the_onset(
    broken: tuple[int, ...], worse: tuple[int, ...], expected: int | None
) -> None:
    """A checkpoint with a broken number, or at whose weights a healthy step is worse, is passed over for an older one."""
    detector = Detector.after(list(healthy(0, 300)))
    verdict = detector.judge(Reading(301, 6.0, 9.0, 1e-3))
    trial, loaded = Told(Measured(6.0, 9.0)), []

    def load(step: int) -> None:
        loaded.append(step)
        trial.broken = "broken" if step in broken else None
        trial.before = Measured(8.0, 1.0) if step in worse else NORMAL

    assert restart(trial, (270, 280, 290, 300), 300, (detector, verdict), load) == expected
    assert loaded == [s for s in (290, 280, 270) if expected is None or s >= expected]


def test_causes_are_the_four() -> None:
    """No other word is used for a cause."""
    assert set(Cause.__args__) == {"data", "numeric", "hardware", "schedule"}
