"""The whole answer: which law was fitted to which runs, its constants with intervals, what it foresees, and the speed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.base import SettingsError
from workflows.scaling import FORMS, Form, laws, speed
from workflows.scaling.laws import Fit, Law, Numbers
from workflows.scaling.runs import Run

CONSTANTS: dict[Form, tuple[str, ...]] = {
    "weights-and-tokens": ("E", "A", "B", "alpha", "beta"),
    "compute": ("E", "K", "gamma"),
}
WORDS: dict[Form, str] = {
    "weights-and-tokens": "L = E + A / N^alpha + B / D^beta (Hoffmann et al. 2022, approach 3)",
    "compute": "L = E + K / C^gamma",
}
MIN_DIFFERENT = 3  # numbers of weights, and of tokens: a power and a floor need a curve
ALONE = 0.98  # correlation of ln N and ln D from which on they do not tell apart


@dataclass(frozen=True)
class Value:
    """A number and its 95 % interval."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Forecast:
    """The loss for a compute, with the interval in which a new run would lie; the best N and D where the law says them."""

    compute: float
    loss: Value
    split: tuple[Value, Value] | None
    beyond: float
    """How many times the largest compute of the runs."""


@dataclass(frozen=True)
class Answer:
    """A fit of losses; `expected` is the law's loss for each run."""

    form: Form
    runs: Sequence[Run]
    found: Fit
    constants: list[Value]
    expected: Numbers
    forecasts: list[Forecast]


@dataclass(frozen=True)
class SpeedAnswer:
    """A fit of speeds of the runs that know their ranks, all of one size."""

    runs: Sequence[Run]
    found: speed.SpeedFit
    constants: list[Value]


def choose(runs: Sequence[Run], wanted: Form | None = None) -> Form:
    """The law that the runs can carry, or the wanted one; SettingsError if there are too few of them, or all alike."""
    problems = {form: _problems(runs, form) for form in FORMS}
    for form in (wanted,) if wanted else FORMS:
        if not problems[form]:
            return form
    lines = [f"{form}: {p}" for form in ((wanted,) if wanted else FORMS) for p in problems[form]]
    raise SettingsError("\n".join(["too few runs for a fit:", *lines, "train more runs, of other sizes and lengths"]))


def _problems(runs: Sequence[Run], form: Form) -> list[str]:
    least = laws.num_constants(len(FORMS[form])) + 1
    found = [f"{len(runs)} runs, expected at least {least}"] if len(runs) < least else []
    for name, values in zip(FORMS[form], inputs(runs, form), strict=True):
        if (count := len(np.unique(values))) < MIN_DIFFERENT:
            found.append(f"{count} different {name}, expected at least {MIN_DIFFERENT}")
    if form == "weights-and-tokens" and not found:
        together = float(np.corrcoef(np.log(inputs(runs, form)))[0, 1])
        if abs(together) > ALONE:
            found.append(
                f"N and D go together (correlation {together:.3f} of their logarithms): no run tells them apart"
            )
    if bad := [r.name for r in runs if not (np.isfinite(r.loss) and r.loss > 0)]:
        found.append(f"no finite loss above 0: {', '.join(bad)}")
    if not found and np.corrcoef(np.log([[r.compute, r.loss] for r in runs]).T)[0, 1] >= 0:
        found.append("the loss does not fall with compute")
    return found


def inputs(runs: Sequence[Run], form: Form) -> Numbers:
    """What the law is of: T x n."""
    columns = {"N": "num_parameters", "D": "num_tokens", "C": "compute"}
    return np.array([[float(getattr(r, columns[name])) for r in runs] for name in FORMS[form]])


def answer(runs: Sequence[Run], form: Form, computes: Sequence[float], num_resamples: int, seed: int) -> Answer:
    """Fit the law and look ahead; SettingsError if the loss does not fall along what the law is of."""
    x, losses = inputs(runs, form), np.array([r.loss for r in runs])
    found = laws.fit(x, losses, num_resamples, seed)
    rising = [f"{n} (power {p:.3g})" for n, p in zip(FORMS[form], found.law.powers, strict=True) if p <= 0]
    if rising:
        cure = "give runs that differ more, or another --form"
        raise SettingsError(f"no law: the loss does not fall with more {' nor '.join(rising)}; {cure}")
    each = [_constants(law) for law in found.resamples]
    best = _constants(found.law)
    constants = [
        _value(found, n, v, [e[i] for e in each]) for i, (n, v) in enumerate(zip(CONSTANTS[form], best, strict=True))
    ]
    most = max(r.compute for r in runs)
    noise = laws.noise(found, seed)
    forecasts = [_forecast(found, form, compute, most, noise) for compute in computes]
    return Answer(form, runs, found, constants, found.law.loss(x), forecasts)


def best_loss(law: Law, form: Form, compute: float) -> float:
    """The least loss that a compute can have."""
    x = [compute] if form == "compute" else list(laws.optimum(law, compute))
    return float(law.loss(np.array(x)[:, None])[0])


def _constants(law: Law) -> list[float]:
    return [law.floor, *law.factors.tolist(), *law.powers.tolist()]


def _value(found: Fit, name: str, value: float, resampled: list[float]) -> Value:
    return Value(name, value, *found.interval(resampled))


def _forecast(found: Fit, form: Form, compute: float, most: float, noise: Numbers) -> Forecast:
    with np.errstate(all="ignore"):  # a resample may have a power of no sign
        each = np.array([best_loss(law, form, compute) for law in found.resamples])
        splits = [laws.optimum(law, compute) for law in found.resamples] if form != "compute" else []
    known = np.isfinite(each)
    loss = _value(found, "loss", best_loss(found.law, form, compute), (each * (1 + noise))[known].tolist())
    if form == "compute":
        return Forecast(compute, loss, None, compute / most)
    pairs = np.array(splits)[known]
    best = laws.optimum(found.law, compute)
    n, d = (_value(found, name, best[i], pairs[:, i].tolist()) for i, name in enumerate("ND"))
    return Forecast(compute, loss, (n, d), compute / most)


def speed_answer(runs: Sequence[Run], num_resamples: int, seed: int) -> SpeedAnswer | str:
    """Fit the speed of the size that ran on most numbers of ranks; or in words why there is nothing to fit."""
    groups: dict[int, list[Run]] = {}
    for run in runs:
        if run.ranks is not None:
            groups.setdefault(run.num_parameters, []).append(run)
    counts = {size: len({r.ranks for r in group}) for size, group in groups.items()}
    size = max(counts, key=lambda s: counts[s], default=0)
    if counts.get(size, 0) < speed.MIN_AMDAHL:
        words = f"one size of model on {speed.MIN_AMDAHL} different numbers of ranks are needed"
        return f"no fit of the speed: {words}, found {counts.get(size, 0)}"
    chosen = sorted(groups[size], key=lambda r: r.ranks or 0)
    ranks, speeds = np.array([float(r.ranks or 0) for r in chosen]), np.array([r.tokens_per_second for r in chosen])
    found = speed.fit_speed(ranks, speeds, num_resamples, seed)
    names = ("one_rank", "serial", "pairwise")
    constants = []
    for name in names:
        low, high = np.percentile([getattr(law, name) for law in found.resamples], [2.5, 97.5])
        constants.append(Value(name, getattr(found.law, name), float(low), float(high)))
    return SpeedAnswer(chosen, found, constants)
