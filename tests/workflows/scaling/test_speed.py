"""Speeds against ranks: laws with known constants, Amdahl's formula, and another solver."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from workflows.scaling.speed import Speed, fit_speed

RANKS = np.array([1.0, 2, 4, 8, 16, 32, 64])


@settings(deadline=None, max_examples=50)
@given(st.floats(1, 1e6), st.floats(0, 0.2), st.floats(0, 1e-3))
def test_known_constants_are_found(one: float, serial: float, pairwise: float) -> None:
    """Speeds that follow the law exactly give its constants back."""
    found = fit_speed(RANKS, Speed(one, serial, pairwise).at(RANKS), 1, seed=0)
    assert (found.law.one_rank, found.law.serial, found.law.pairwise) == pytest.approx(
        (one, serial, pairwise), rel=1e-6, abs=1e-9
    )
    assert np.abs(found.residuals).max() < 1e-9


def test_without_pairs_it_is_amdahls_law() -> None:
    """A serial share of a tenth: 1 / (s + (1 - s) / p), never more than ten times one rank."""
    law = Speed(1.0, 0.1, 0.0)
    assert law.at(RANKS) == pytest.approx(1 / (0.1 + 0.9 / RANKS))
    assert law.at(np.array([1e9]))[0] == pytest.approx(10, rel=1e-6)
    assert law.most_ranks == np.inf


def test_efficiency_and_the_fastest_number_of_ranks() -> None:
    """Efficiency is 1 on one rank; past the fastest number of ranks, more are slower."""
    law = Speed(500.0, 0.02, 0.0005)
    assert law.efficiency(np.array([1.0]))[0] == 1
    assert law.efficiency(RANKS) == pytest.approx(law.at(RANKS) / (500 * RANKS))
    best = law.most_ranks
    near = law.at(np.array([best * 0.9, best, best * 1.1]))
    assert near[1] > near[0]
    assert near[1] > near[2]


def test_three_numbers_of_ranks_are_amdahls() -> None:
    """Three constants are not fitted to three points: the cost of a pair is left out, and the law says its name."""
    found = fit_speed(RANKS[:3], Speed(100.0, 0.05, 0.01).at(RANKS[:3]), 1, seed=0)
    assert (found.name, found.law.pairwise) == ("Amdahl's law", 0.0)
    assert fit_speed(RANKS[:4], 100 * RANKS[:4], 1, seed=0).name == "universal scalability law"


def test_better_than_perfect_is_no_negative_share() -> None:
    """Caches may make two ranks more than twice as fast; shares of the law stay at 0 and the residuals show it."""
    found = fit_speed(RANKS, 100 * RANKS**1.05, 20, seed=0)
    assert (found.law.serial, found.law.pairwise) == (0.0, 0.0)
    assert found.residuals[-1] > 0.03


def test_it_is_the_least_of_relative_squares() -> None:
    """Another solver, from the true constants, finds no smaller sum of squared relative differences of the time."""
    chance = np.random.default_rng(1)
    speeds = Speed(100.0, 0.03, 0.0002).at(RANKS) * np.exp(chance.normal(0, 0.03, len(RANKS)))
    found = fit_speed(RANKS, speeds, 1, seed=0)

    def objective(p: np.ndarray) -> float:
        return float(((speeds / Speed(*np.abs(p)).at(RANKS) - 1) ** 2).sum())

    ours = objective(np.array([found.law.one_rank, found.law.serial, found.law.pairwise]))
    theirs = minimize(
        objective,
        np.array([100.0, 0.03, 0.0002]),
        method="Nelder-Mead",
        options={"maxiter": 4000, "xatol": 1e-12, "fatol": 1e-15},
    )
    assert ours <= theirs.fun * (1 + 1e-6)


def test_intervals_hold_what_is_true() -> None:
    """Over a hundred noisy sets of runs, the 95 % interval of the serial share holds the true share nearly always."""
    held = 0
    for seed in range(100):
        chance = np.random.default_rng(seed)
        speeds = Speed(100.0, 0.05, 0.001).at(RANKS) * np.exp(chance.normal(0, 0.02, len(RANKS)))
        found = fit_speed(RANKS, speeds, 100, seed)
        low, high = np.percentile([law.serial for law in found.resamples], [2.5, 97.5])
        held += low <= 0.05 <= high
    assert held >= 80
