"""What speaks against a fit: runs that do not determine its law, and forecasts that lie too far out.

Intervals say it too, but only to whom reads them. Causes are looked for in the runs: their range (a decade of N and of D, so two of
compute), N and D that go together (a variance inflation 1 / (1 - r^2) above 10, Marquardt 1970), fewer runs to spare
than an interval needs (Student's factor with 3 to spare is 1.6 times that of many), and, where none of these is found, the
condition number of the Gauss-Newton matrix, its columns scaled to length 1 (Belsley, Kuh and Welsch 1980: an index, which is
its root, above 100 means that constants stand in for each other; on Chinchilla's runs it is 33). Effects are looked for in the
intervals: of the powers and of the floor. Each doubt names further runs. What it gives up: those are sizes that spread
the runs, not the cheapest design.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from workflows.scaling import FORMS, laws
from workflows.scaling.answer import CONSTANTS, Answer, Forecast, Value, inputs

DECADE = 10.0
RANGES = {"N": DECADE, "D": DECADE, "C": DECADE**2}
MAX_INFLATION = 10.0
MIN_SPARE = 3
MAX_CONDITION = 1e4
MAX_SPREAD = 2.0  # of a power: its interval's end by its beginning
MIN_FLOOR = 0.01  # of the lowest loss
MAX_BEYOND = 10.0  # times the largest run
STEP = 4.0  # by which further runs leave the range of a power that is not known

HEADINGS = {
    True: "These runs do not determine the law",
    False: "The law is not known to hold so far out",
}
"""Of the doubts about the law, and of those about a forecast."""

Place = tuple[float, float]
"""Weights and tokens of a run that is still to be trained."""


@dataclass(frozen=True)
class Doubt:
    """Something that the runs leave open, with the runs that would tell; not `of_law` is about one forecast alone."""

    name: str
    found: str
    expected: str
    cure: str
    further: list[Place]
    of_law: bool = True

    def __str__(self) -> str:
        return f"{self.name}: {self.found}, expected {self.expected}; {self.cure}"


@dataclass(frozen=True)
class Corners:
    """The fewest and most weights and tokens of the runs."""

    n: Place
    d: Place

    def wider(self, name: str) -> list[Place]:
        """Two runs that show more of what a constant says, where the other term hides least of it."""
        (few_n, most_n), (few_d, most_d) = self.n, self.d
        if name in {"A", "alpha"}:
            return [(up(few_n / STEP), most_d), (up(most_n * STEP), most_d)]
        if name in {"B", "beta"}:
            return [(most_n, up(few_d / STEP)), (most_n, up(most_d * STEP))]
        if name == "E":
            return [(up(most_n * STEP), up(most_d * STEP))]
        return [(up(few_n / STEP), up(few_d / STEP)), (up(most_n * STEP), up(most_d * STEP))]


def doubts(found: Answer) -> list[Doubt]:
    """All that speaks against the law and its forecasts, causes first; none is what published fits have."""
    corners = Corners(*((min(v), max(v)) for v in inputs(found.runs, "weights-and-tokens").tolist()))
    causes = [*_range(found, corners), *_together(found, corners), *_spare(found, corners)]
    if not causes:
        causes = [*_condition(found, corners)]
    powers, (floor, *_) = found.constants[1 + len(FORMS[found.form]) :], found.constants
    effects = [doubt for value in powers for doubt in _power(value, corners)]
    return [*causes, *effects, *_floor(found, floor, corners), *(d for f in found.forecasts for d in _beyond(found, f))]


def up(value: float) -> float:
    """The next number of two digits: what a person would type."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(round(value / unit, 6)) * unit


def _train(further: list[Place], first: str = "train") -> str:
    """The cure in words."""
    return f"{first} " + ", ".join(f"N = {n:.3g} with D = {d:.3g} ({6 * n * d:.2g} operations)" for n, d in further)


def _range(found: Answer, corners: Corners) -> Iterator[Doubt]:
    (few_n, most_n), (few_d, most_d) = corners.n, corners.d
    for name, values in zip(FORMS[found.form], inputs(found.runs, found.form), strict=True):
        times, least = float(values.max() / values.min()), RANGES[name]
        if times >= least * (1 - 1e-9):
            continue
        further = {
            "N": [(up(least * few_n), few_d), (up(least * few_n), most_d)],
            "D": [(few_n, up(least * few_d)), (most_n, up(least * few_d))],
            "C": [(up(most_n * math.sqrt(least / times)), up(most_d * math.sqrt(least / times)))],
        }[name]
        words = f"the largest is {times:.3g} times the smallest ({values.min():.3g} to {values.max():.3g})"
        yield Doubt(f"range of {name}", words, f"at least {least:g} times", _train(further), further)


def _together(found: Answer, corners: Corners) -> Iterator[Doubt]:
    if found.form == "compute":
        return
    r = float(np.corrcoef(np.log(inputs(found.runs, found.form)))[0, 1])
    inflation = 1 / max(1 - r * r, 1e-12)
    if inflation > MAX_INFLATION:
        (few_n, most_n), (few_d, most_d) = corners.n, corners.d
        middle = up(math.sqrt(few_d * most_d))
        outer = [(few_n, most_d), (most_n, few_d)] if r > 0 else [(few_n, few_d), (most_n, most_d)]
        further = [*outer, (few_n, middle), (most_n, middle)]  # with two alone the floor is not held
        words = f"the logarithms correlate by {r:.3f}, which inflates variances {inflation:.3g} times"
        yield Doubt("N and D together", words, f"at most {MAX_INFLATION:g} times", _train(further), further)


def _spare(found: Answer, corners: Corners) -> Iterator[Doubt]:
    constants = len(found.constants)
    spare = len(found.runs) - constants
    if spare >= MIN_SPARE:
        return
    middle = [(up(n), up(d)) for n in np.geomspace(*corners.n, 5) for d in np.geomspace(*corners.d, 5)]
    if found.form == "compute":
        middle = middle[:: 5 + 1]  # N and D up together
    distances = {
        (n, d): min(math.hypot(math.log(n / r.num_parameters), math.log(d / r.num_tokens)) for r in found.runs)
        for n, d in middle
    }
    further = sorted(distances, key=lambda place: -distances[place])[: MIN_SPARE - spare]
    words = f"{len(found.runs)} runs for {constants} constants, {spare} to spare"
    yield Doubt("number of runs", words, f"at least {MIN_SPARE} to spare", _train(sorted(further)), sorted(further))


def _condition(found: Answer, corners: Corners) -> Iterator[Doubt]:
    slopes = laws.jacobian(found.found.law, inputs(found.runs, found.form))
    lengths = np.linalg.norm(slopes, axis=0)
    _, sizes, directions = np.linalg.svd(slopes / np.where(lengths > 0, lengths, 1.0), full_matrices=False)
    condition = float(sizes[0] / max(sizes[-1], 1e-300)) ** 2
    if condition > MAX_CONDITION:
        weight = np.abs(directions[-1])
        names = [n for n, w in zip(CONSTANTS[found.form], weight, strict=True) if w >= weight.max() / 2]
        further = list(dict.fromkeys(place for name in names for place in corners.wider(name)))
        words = f"{condition:.2g} for the Gauss-Newton matrix, by {' and '.join(names)}"
        yield Doubt("condition number", words, f"at most {MAX_CONDITION:g}", _train(further), further)


def _power(value: Value, corners: Corners) -> Iterator[Doubt]:
    if value.low > 0 and value.high <= MAX_SPREAD * value.low:
        return
    fault = "includes 0" if value.low <= 0 else f"spans {value.high / value.low:.3g} times"
    further = corners.wider(value.name)
    words = f"its 95 % interval, {value.low:.3g} to {value.high:.3g}, {fault}"
    expected = f"above 0 and at most {MAX_SPREAD:g} times"
    cure = _train(further, "measure the loss on more held-out tokens, or train")
    yield Doubt(value.name, words, expected, cure, further)


def _floor(found: Answer, value: Value, corners: Corners) -> Iterator[Doubt]:
    lowest = min(r.loss for r in found.runs)
    if value.low < MIN_FLOOR * lowest:
        further = corners.wider(value.name)
        words = (
            f"its 95 % interval, {value.low:.2g} to {value.high:.3g}, begins at 0: the runs do not come near a floor"
        )
        yield Doubt(
            value.name, words, f"above {100 * MIN_FLOOR:g} % of the lowest loss, {lowest:.3g}", _train(further), further
        )


def _beyond(found: Answer, forecast: Forecast) -> Iterator[Doubt]:
    if forecast.beyond <= MAX_BEYOND * (1 + 1e-9):
        return
    largest = max(found.runs, key=lambda r: r.compute)
    grow = math.sqrt(forecast.beyond / MAX_BEYOND)
    further = [(up(largest.num_parameters * grow), up(largest.num_tokens * grow))]
    words = f"{forecast.beyond:.3g} times the compute of the largest run ({largest.compute:.3g})"
    name = f"forecast for {forecast.compute:.3g} operations"
    yield Doubt(name, words, f"at most {MAX_BEYOND:g} times", _train(further), further, of_law=False)
