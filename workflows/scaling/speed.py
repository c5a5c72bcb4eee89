"""Tokens a second against ranks: the universal scalability law, X(p) = X1 p / (1 + s (p - 1) + k p (p - 1)).

Gunther 2007, "Guerrilla capacity planning", chapter 4: X1 is the speed of one rank, s the share of the work that ranks
queue for, k what each pair of ranks costs. With k = 0 it is Amdahl's law with a serial share s. The time of a token, p / X, is
linear in 1/X1, s/X1 and k/X1, none of which is below 0, so the least squares of relative differences have one
solution and need no start (non-negative least squares, Lawson and Hanson 1974). What it gives up: ranks that share a
node and ranks that do not are alike to it.
"""

from dataclasses import dataclass

import numpy as np

from workflows.scaling.laws import Numbers

MIN_AMDAHL, MIN_UNIVERSAL = 3, 4  # different numbers of ranks


@dataclass(frozen=True)
class Speed:
    """A law of speed: tokens a second of one rank, the serial share, the cost of a pair."""

    one_rank: float
    serial: float
    pairwise: float

    def at(self, ranks: Numbers) -> Numbers:
        """Tokens a second on so many ranks."""
        found: Numbers = self.one_rank * ranks / (1 + self.serial * (ranks - 1) + self.pairwise * ranks * (ranks - 1))
        return found

    def efficiency(self, ranks: Numbers) -> Numbers:
        """The share of perfect scaling that is reached."""
        found: Numbers = self.at(ranks) / (self.one_rank * ranks)
        return found

    @property
    def most_ranks(self) -> float:
        """How many ranks are the fastest; infinite where more are always faster."""
        return float(np.sqrt((1 - self.serial) / self.pairwise)) if self.pairwise > 0 and self.serial < 1 else np.inf


@dataclass(frozen=True)
class SpeedFit:
    """The best law, those of the resamples, the relative residual of each run, and the law's name."""

    law: Speed
    resamples: list[Speed]
    residuals: Numbers
    name: str


def fit_speed(ranks: Numbers, tokens_per_second: Numbers, num_resamples: int, seed: int) -> SpeedFit:
    """The law of runs on so many ranks; Amdahl's below `MIN_UNIVERSAL` different numbers of ranks."""
    universal = len(np.unique(ranks)) >= MIN_UNIVERSAL
    law = _solve(ranks, tokens_per_second, universal=universal)
    expected = law.at(ranks)
    residuals = np.log(tokens_per_second / expected)
    free = len(ranks) - 2 - universal
    spread = (residuals - residuals.mean()) * np.sqrt(len(ranks) / max(free, 1))
    chance = np.random.default_rng(seed)
    resamples = [
        _solve(ranks, expected * np.exp(chance.choice(spread, len(ranks))), universal=universal)
        for _ in range(num_resamples)
    ]
    return SpeedFit(law, resamples, np.expm1(residuals), "universal scalability law" if universal else "Amdahl's law")


def _solve(ranks: Numbers, tokens_per_second: Numbers, *, universal: bool) -> Speed:
    from scipy.optimize import nnls  # type: ignore[import-untyped]

    seconds = ranks / tokens_per_second
    columns = [np.ones_like(ranks), ranks - 1, ranks * (ranks - 1)][: 2 + universal]
    (one, *rest), _ = nnls(np.stack(columns, axis=1) / seconds[:, None], np.ones_like(ranks))
    serial, pairwise = [*(r / one for r in rest), 0.0][:2]
    return Speed(float(1 / one), float(serial), float(pairwise))
