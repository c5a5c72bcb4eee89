"""What speaks against a fit: nothing against Chinchilla's, one thing against each set of runs that lacks one thing."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workflows.scaling.finished import finished
from tests.workflows.scaling.test_laws import BESIROGLU, published
from workflows.__main__ import main
from workflows.scaling import Form, laws
from workflows.scaling.answer import Answer, answer
from workflows.scaling.doubts import HEADINGS, MAX_BEYOND, Place, doubts, up
from workflows.scaling.runs import Run

Law = tuple[float, float, float, float, float]


def loss_of(n: float, d: float, law: Law = BESIROGLU) -> float:
    """The loss by a law."""
    floor, a, b, alpha, beta = law
    return float(floor + a / n**alpha + b / d**beta)


def runs_at(places: list[Place], law: Law = BESIROGLU, noise: float = 5e-4, seed: int = 0) -> list[Run]:
    """Runs of such weights and tokens, with losses by a law and a little noise."""
    chance = np.random.default_rng(seed)
    return [
        Run(f"{n:.3g}-{d:.3g}", round(n), round(d), loss_of(n, d, law) * float(np.exp(noise * e)), 1e3, None, "")
        for (n, d), e in zip(places, chance.normal(size=len(places)), strict=True)
    ]


def grid(n: Place, d: Place, count: int = 4) -> list[Place]:
    """Sizes by lengths."""
    return [(float(a), float(b)) for a in np.geomspace(*n, count) for b in np.geomspace(*d, count)]


def together(count: int = 16) -> list[Place]:
    """Twenty tokens a weight, nearly."""
    off = np.random.default_rng(1).normal(0, 0.35, count)
    return [(float(n), float(20 * n * np.exp(e))) for n, e in zip(np.geomspace(1e7, 3e9, count), off, strict=True)]


WIDE = grid((1e7, 1e9), (1e9, 1e11))
FORM: Form = "weights-and-tokens"


def at_compute(n: float, d: float, power: float) -> Run:
    """A run whose loss follows its compute."""
    return Run(f"{n:.3g}", round(n), round(d), 2.0 + 1.5 * (1e17 / (6 * n * d)) ** power, 1e3, None, "")


def by_compute(least: float, times: float, power: float) -> list[Run]:
    """Eight runs of twenty tokens a weight."""
    return [
        at_compute(math.sqrt(c / 120), 20 * math.sqrt(c / 120), power) for c in np.geomspace(least, least * times, 8)
    ]


def fitted(runs: list[Run], form: Form = FORM, compute: float = 0.0) -> Answer:
    """The fit, with a forecast for ten times the largest run unless another is asked for."""
    return answer(runs, form, [compute or MAX_BEYOND * max(r.compute for r in runs)], 40, 0)


def names(found: Answer) -> set[str]:
    """Of the doubts."""
    return {d.name for d in doubts(found)}


def chinchilla() -> list[Run]:
    """The published runs."""
    x, losses = published()
    return [
        Run(str(i), round(n), round(d), loss, 1e3, None, "")
        for i, ((n, d), loss) in enumerate(zip(x.T.tolist(), losses.tolist(), strict=True))
    ]


def test_nothing_speaks_against_the_published_runs() -> None:
    """Chinchilla's 240 runs determine their law; their forecast for Gopher's compute is said to lie too far out, as it does."""
    found = fitted(chinchilla(), compute=5.76e23)
    (doubt,) = doubts(found)
    assert doubt.name == "forecast for 5.76e+23 operations"
    assert not doubt.of_law
    assert found.forecasts[0].beyond > MAX_BEYOND
    found.forecasts.clear()
    assert doubts(found) == []


def test_nothing_speaks_against_a_wide_grid() -> None:
    """Sixteen runs over two decades of each are enough, and ten times the largest run is not too far."""
    assert names(fitted(runs_at(WIDE))) == set()


NO_FLOOR: Law = (1e-4, 20.0, 40.0, 0.3, 0.3)
NO_TOKENS: Law = (1.8, 482.0, 20.0, 0.05, 0.6)
FEW = [(n, d) for n, d in grid((1e7, 1e9), (1e9, 1e11), 3) if round(n) != 10**8 or round(d) == 10**10]

# What each set lacks: its runs, the form of its law, and the only names that doubts may have.
LACKING: dict[str, tuple[list[Run], Form, set[str]]] = {
    "narrow-weights": (runs_at(grid((1e8, 4e8), (3e7, 1e10)), noise=0), FORM, {"range of N"}),
    "narrow-tokens": (runs_at(grid((1e7, 1e10), (1e9, 4e9)), noise=0), FORM, {"range of D"}),
    "in-step": (runs_at(together(), noise=0), FORM, {"N and D together"}),
    "few": (runs_at(FEW, noise=0), FORM, {"number of runs"}),
    "narrow-compute": (by_compute(5e17, 20, 0.2), "compute", {"range of C"}),
    "flat": (by_compute(5e17, 120, 0.1), "compute", {"condition number"}),
    "hidden-term": (runs_at(WIDE, NO_TOKENS, noise=0), FORM, {"condition number"}),
    "noisy-weights": (runs_at(grid((1e9, 1e11), (1e9, 1e11)), noise=0.01), FORM, {"alpha"}),
    "noisy-tokens": (runs_at(WIDE, noise=0.02), FORM, {"beta"}),
    "noisy": (runs_at(grid((1e9, 1e11), (1e11, 1e13)), noise=0.01), FORM, {"alpha", "beta"}),
    "no-floor": (runs_at(grid((1e6, 1e9), (1e8, 1e11)), NO_FLOOR, noise=1e-3), FORM, {"E"}),
}
CURED = ["narrow-weights", "narrow-tokens", "in-step", "few", "narrow-compute", "flat"]
"""Those of which more runs of the same law, without noise, are all that is needed."""


@pytest.mark.parametrize("lack", LACKING)
def test_each_lack_is_told_and_no_other(lack: str) -> None:
    """A set of runs that lacks one thing has one doubt, its own, and that one says which runs would help."""
    runs, form, expected = LACKING[lack]
    found = doubts(fitted(runs, form))
    assert {d.name for d in found} == expected
    for doubt in found:
        assert doubt.of_law
        assert doubt.further
        assert all(f"N = {n:.3g} with D = {d:.3g}" in doubt.cure for n, d in doubt.further)


@pytest.mark.parametrize("lack", CURED)
def test_the_runs_that_a_doubt_names_take_it_away(lack: str) -> None:
    """Train what a doubt asks for, and nothing speaks against the law any more."""
    runs, form, _ = LACKING[lack]
    (doubt,) = doubts(fitted(runs, form))
    if form == "compute":
        power = 0.2 if lack == "narrow-compute" else 0.1
        runs = runs + [at_compute(n, d, power) for n, d in doubt.further]
    else:
        runs = runs + runs_at(doubt.further, noise=0)
    assert names(fitted(runs, form)) == set()


@pytest.mark.parametrize("lack", ["noisy-weights", "noisy-tokens", "noisy"])
def test_the_runs_that_a_power_asks_for_narrow_it(lack: str) -> None:
    """Where noise hides a power, the runs that its doubt names make its interval narrower, though they are as noisy."""
    runs = LACKING[lack][0]
    found = fitted(runs)
    for doubt in doubts(found):
        again = fitted(runs + runs_at(doubt.further, noise=0.01, seed=5))
        before, after = (next(c for c in f.constants if c.name == doubt.name) for f in (found, again))
        assert after.high / after.low < before.high / before.low
        assert doubt.cure.startswith("measure the loss on more held-out tokens, or train")


def test_a_power_that_may_be_nothing_says_so() -> None:
    """An interval with 0 in it has no span to tell: the words are others."""
    found = fitted(runs_at(WIDE))
    alpha = found.constants[3]
    found.constants[3] = replace(alpha, low=-0.01)
    (doubt,) = doubts(found)
    assert doubt.name == alpha.name == "alpha"
    assert doubt.found == f"its 95 % interval, -0.01 to {alpha.high:.3g}, includes 0"


@pytest.mark.parametrize(("beyond", "told"), [(10.0, False), (10.1, True), (1000.0, True)])
def test_how_far_out_is_too_far(beyond: float, told: bool) -> None:
    """Ten times the largest run is the furthest; the run that a doubt asks for brings the forecast within it."""
    runs = runs_at(WIDE)
    most = max(r.compute for r in runs)
    found = doubts(fitted(runs, compute=beyond * most))
    assert bool(found) is told
    for doubt in found:
        ((n, d),) = doubt.further
        assert beyond * most <= MAX_BEYOND * 6 * n * d <= 1.3 * beyond * most


def test_runs_of_one_budget_are_told_to_leave_it() -> None:
    """Where more weights always had fewer tokens, the runs asked for are the smallest and the largest of both."""
    (doubt,) = doubts(fitted(runs_at([(n, 1e18 / n) for n in np.geomspace(1e7, 1e10, 9)], noise=0)))
    assert doubt.name == "N and D together"
    assert doubt.further[:2] == [(pytest.approx(1e7), pytest.approx(1e8)), (pytest.approx(1e10), pytest.approx(1e11))]


@settings(deadline=None)
@given(st.floats(1.0, 1e30))
def test_a_size_is_rounded_up_to_two_digits(value: float) -> None:
    """What is asked for is never less than what is needed, and at most a tenth more."""
    assert value * (1 - 1e-5) <= up(value) <= value * 1.1 * (1 + 1e-9)
    assert float(f"{up(value):.1e}") == pytest.approx(up(value), rel=1e-9)


def test_the_jacobian_is_that_of_the_logarithm() -> None:
    """Each constant's slope is the one that differences have, at the law of Chinchilla."""
    x = np.array(WIDE).T
    law = laws.Law(np.array([np.log(v) for v in BESIROGLU[:3]] + list(BESIROGLU[3:])), np.zeros(2))
    for k, slopes in enumerate(laws.jacobian(law, x).T):
        sides = []
        for by in (-1e-6, 1e-6):
            constants = law.constants.copy()
            constants[k] += by
            sides.append(np.log(laws.Law(constants, law.centre).loss(x)))
        assert slopes == pytest.approx((sides[1] - sides[0]) / 2e-6, rel=1e-5, abs=1e-9)


def test_a_constant_that_nothing_holds_has_an_interval_still() -> None:
    """A resample whose factor no number holds is the largest number there is: no warning, and JSON that can be read."""
    law = laws.Law(np.zeros(5), np.zeros(2))
    low, high = laws.Fit(law, [], np.zeros(1), "residuals").interval([1.0, 2.0, math.inf, math.inf])
    assert (low, high) == (pytest.approx(1.075), np.finfo(float).max)


def folders(root: Path, runs: list[Run]) -> list[str]:
    """The runs, as tables."""
    return [str(finished(root / r.name, r.num_parameters, r.num_tokens, r.loss)) for r in runs]


def test_words_json_and_page_say_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence and each doubt, with numbers and cure, stand in all three; the law's and the forecast's apart."""
    runs, page = folders(tmp_path, LACKING["narrow-tokens"][0]), tmp_path / "page.html"
    words = ["fit-scaling", *runs, "--resamples", "20", "--compute", "1e24", "--out", str(page)]
    for more in ([], ["--json"]):
        with pytest.raises(SystemExit) as ended:
            main([*words, *more])
        assert ended.value.code in {0, None}
    text, _, after = capsys.readouterr().out.partition('{\n "form"')
    plain = json.loads('{\n "form"' + after)
    assert plain["determined"] is False
    assert [(d["name"], d["of_law"]) for d in plain["doubts"]] == [
        ("range of D", True),
        ("forecast for 1e+24 operations", False),
    ]
    assert plain["doubts"][0]["further"] == [[1e7, 1e10], [1e10, 1e10]]
    for place in (" ".join(text.split()), page.read_text()):
        for word in (
            *HEADINGS.values(),
            *(d[k] for d in plain["doubts"] for k in ("name", "found", "expected", "cure")),
        ):
            assert word in place


def test_a_good_fit_is_not_talked_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs that determine their law have no word of doubt, and are said to in JSON."""
    runs, page = folders(tmp_path, runs_at(WIDE)), tmp_path / "page.html"
    for more in ([], ["--json"]):
        with pytest.raises(SystemExit):
            main(["fit-scaling", *runs, "--resamples", "20", "--out", str(page), *more])
    said = capsys.readouterr().out
    assert '"determined": true' in said
    assert '"doubts": []' in said
    for heading in HEADINGS.values():
        assert heading not in said + page.read_text()
