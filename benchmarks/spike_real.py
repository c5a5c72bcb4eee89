"""The rules over real curves (`benchmarks.spike_curves`): alarms at steps that are healthy, and at batches that are bad.

Every rule sees the steps in their order. Ours takes a step that it holds for a spike out of its past, as a run that skips does; the
others' definitions keep it. Where it would measure a step again it is taken to repeat, since sound hardware made the curves. At a bad
batch each is asked what it would say, and goes on as if it had not been asked. Where a batch that grows becomes whole, all begin anew.
"""

import copy
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from benchmarks.spike_curves import Point
from benchmarks.spike_rules import KillLossSpike, Rule, SixSigma, ZClip
from stages.pretrain.health.detect import Detector, Reading

PEERS: dict[str, type[Rule]] = {
    "OLMo-core 6 sigma": SixSigma,
    "ZClip z-score": ZClip,
    "llm-foundry 2x mean": KillLossSpike,
}
OURS = "ours"


class Ours:
    """The detector as a rule."""

    def __init__(self) -> None:
        self.detector, self.step, self.asked_again = Detector(), 0, 0

    def alarms(self, loss: float, gradient_norm: float) -> bool:
        """Judge, and take the step into the past if it is healthy."""
        self.step += 1
        reading = Reading(self.step, loss, gradient_norm, 0.0)
        verdict = self.detector.judge(reading)
        again = verdict.handled_by_clipping(gradient_norm)
        self.asked_again += again
        if verdict.signal is None or again:
            self.detector.accept(reading, verdict)
            return False
        return True


@dataclass
class Real:
    """What the rules said, by the name of the rule; bad batches by kind too."""

    steps: int = 0
    asked_again: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    false_alarms: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    alarms: list[str] = field(default_factory=list)


def judged(curves: Mapping[str, Iterable[Point]]) -> Real:
    """All rules over all curves."""
    real = Real()
    for name, points in curves.items():
        ours, rules = _rules()
        for point in points:
            if point.kind == "part":
                real.asked_again += ours.asked_again
                ours, rules = _rules()
            elif point.kind:
                _asked(rules, point, real)
            else:
                real.steps += 1
                alarms = {n for n, r in rules.items() if r.alarms(point.loss, point.gradient_norm)}
                real.false_alarms.update(alarms)
                if OURS in alarms:
                    real.alarms.append(f"{name}: step {point.step}, loss {point.loss}, norm {point.gradient_norm}")
        real.asked_again += ours.asked_again
    return real


def _rules() -> tuple[Ours, dict[str, Rule]]:
    ours = Ours()
    return ours, {OURS: ours, **{name: rule() for name, rule in PEERS.items()}}


def _asked(rules: Mapping[str, Rule], point: Point, real: Real) -> None:
    real.bad[point.kind] += 1
    for name, rule in rules.items():
        if copy.deepcopy(rule).alarms(point.loss, point.gradient_norm):
            real.found[name] += 1
            real.found[f"{name}, {point.kind}"] += 1
