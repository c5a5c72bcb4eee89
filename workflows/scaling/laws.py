"""Power laws with a floor, fitted to the losses of several runs: L = E + sum of K_t / x_t^p_t.

With the weights N and the training tokens D as x it is the third approach of Hoffmann et al. 2022 ("Training
compute-optimal large language models"); with the compute C alone it is what Henighan et al. 2020 fit. As there, the
sum of Huber's loss of the difference of logarithms is minimised (threshold 1e-3), by BFGS from the best of a grid of starts.
Two things differ: x are centred in logarithms, so that constants do not compensate each other, and differences are in units
of the threshold, so that the search does not end early (Besiroglu et al. 2024, "Chinchilla scaling: a replication attempt").

Intervals are a bootstrap's (percentiles). With ten runs a constant or more, runs are drawn; with fewer, the residuals are,
widened by sqrt(n / (n - constants)), on the sizes and lengths that were chosen (Davison and Hinkley 1997, section 6.2).

Shapes: T terms, n runs, K = 1 + 2 T constants: ln E, then ln K_t with x centred, then p_t.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

THRESHOLD = 1e-3  # of Huber's loss, in ln L
FLOORS, SHARES, POWERS = (0.1, 0.3, 0.5, 0.7, 0.9), (0.2, 0.5, 0.8), (0.1, 0.3, 0.5, 0.8)
NUM_STARTS = 12
MANY = 10  # runs a constant, from which on runs are drawn instead of residuals


@dataclass(frozen=True)
class Law:
    """A law: `constants` K, of x whose mean logarithms are `centre` T."""

    constants: Numbers
    centre: Numbers

    @property
    def floor(self) -> float:
        """E, the loss that no x brings down."""
        return float(np.exp(self.constants[0]))

    @property
    def powers(self) -> Numbers:
        """p_t."""
        return self.constants[1 + len(self.centre) :]

    @property
    def factors(self) -> Numbers:
        """K_t, of x as they are."""
        with np.errstate(over="ignore"):  # a resample may have a power that nothing holds
            found: Numbers = np.exp(self.constants[1 : 1 + len(self.centre)] + self.powers * self.centre)
        return found

    def loss(self, x: Numbers) -> Numbers:
        """L at x, T x n."""
        found: Numbers = np.exp(_log_loss(self.constants, np.log(x) - self.centre[:, None])[0])
        return found


@dataclass(frozen=True)
class Fit:
    """The best law, those of the resamples, the relative residual of each run, and how the resamples were drawn."""

    law: Law
    resamples: list[Law]
    residuals: Numbers
    drawn: str

    def interval(self, values: list[float]) -> tuple[float, float]:
        """The middle 95 % of a number that each resample has."""
        held = np.minimum(values, np.finfo(float).max)  # of two infinities there is no middle
        low, high = np.percentile(held, [2.5, 97.5])
        return float(low), float(high)


def num_constants(num_terms: int) -> int:
    """Constants of a law."""
    return 1 + 2 * num_terms


def fit(x: Numbers, losses: Numbers, num_resamples: int, seed: int) -> Fit:
    """The law of runs at x, T x n, whose losses are n numbers above 0; the same one for the same seed."""
    logs, targets = np.log(x), np.log(losses)
    centre = logs.mean(axis=1)
    inputs = logs - centre[:, None]
    best = min((_descend(s, inputs, targets) for s in _starts(inputs, targets)), key=lambda found: found[1])[0]
    expected = _log_loss(best, inputs)[0]
    residuals = targets - expected
    chance = np.random.default_rng(seed)
    count, many = len(targets), len(targets) >= MANY * len(best)
    spread = (residuals - residuals.mean()) * np.sqrt(count / (count - len(best)))
    resamples = []
    for _ in range(num_resamples):
        rows = chance.integers(0, count, count)
        sample = (inputs[:, rows], targets[rows]) if many else (inputs, expected + spread[rows])
        resamples.append(Law(_descend(best, *sample)[0], centre))
    return Fit(Law(best, centre), resamples, np.expm1(residuals), "runs" if many else "residuals")


def noise(found: Fit, seed: int) -> Numbers:
    """A relative deviation of a new run from the law for each resample, drawn from those of the runs."""
    count = len(found.residuals)
    scale = np.sqrt(count / (count - len(found.law.constants)))
    drawn: Numbers = np.random.default_rng(seed + 1).choice(found.residuals, len(found.resamples)) * scale
    return drawn


def optimum(law: Law, compute: float) -> tuple[float, float]:
    """Weights and tokens with the least loss for a compute of 6 N D; the law's terms are of N and D."""
    (a, b), (alpha, beta) = law.factors, law.powers
    scale = (alpha * a / (beta * b)) ** (1 / (alpha + beta))
    weights = scale * (compute / 6) ** (beta / (alpha + beta))
    return float(weights), float(compute / 6 / weights)


def jacobian(law: Law, x: Numbers) -> Numbers:
    """Slopes of ln L at x, T x n, by each constant, n x K; the Gauss-Newton matrix is its square."""
    logs = np.log(x) - law.centre[:, None]
    shares = _log_loss(law.constants, logs)[1]
    return np.vstack([shares, -shares[1:] * logs]).T


def _log_loss(constants: Numbers, inputs: Numbers) -> tuple[Numbers, Numbers]:
    """The logarithm of L, n, and the share that floor and terms have in L, 1 + T x n."""
    num_terms = len(inputs)
    terms = constants[1 : 1 + num_terms, None] - constants[1 + num_terms :, None] * inputs
    logs = np.vstack([np.full(inputs.shape[1], constants[0]), terms])
    top = logs.max(axis=0)
    parts = np.exp(logs - top)
    total = parts.sum(axis=0)
    return top + np.log(total), parts / total


def _objective(constants: Numbers, inputs: Numbers, targets: Numbers) -> tuple[float, Numbers]:
    """The sum of Huber's loss, in units of the squared threshold, and its gradient."""
    logs, shares = _log_loss(constants, inputs)
    away = (logs - targets) / THRESHOLD
    slope = np.clip(away, -1, 1) / THRESHOLD
    value = np.where(np.abs(away) <= 1, away**2 / 2, np.abs(away) - 0.5).sum()
    terms = shares[1:] * slope
    gradient = np.concatenate([[shares[0] @ slope], terms.sum(axis=1), -(terms * inputs).sum(axis=1)])
    return float(value), gradient


def _descend(start: Numbers, inputs: Numbers, targets: Numbers) -> tuple[Numbers, float]:
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    found = minimize(_objective, start, (inputs, targets), method="BFGS", jac=True, options={"gtol": 1e-6})
    return found.x, float(found.fun)


def _starts(inputs: Numbers, targets: Numbers) -> list[Numbers]:
    """The best points of a grid: floors below the least loss, the rest of the mean loss shared by the terms, powers."""
    num_terms, lowest, middle = len(inputs), float(np.exp(targets.min())), float(np.exp(targets.mean()))
    shares = [s for s in itertools.product(SHARES, repeat=num_terms) if num_terms == 1 or abs(sum(s) - 1) < 1e-9]
    grid = []
    for floor, share, powers in itertools.product(FLOORS, shares, itertools.product(POWERS, repeat=num_terms)):
        rest = np.array(share) / sum(share) * max(middle - floor * lowest, 1e-9)
        grid.append(np.concatenate([[np.log(floor * lowest)], np.log(rest), powers]))
    grid.sort(key=lambda start: _objective(start, inputs, targets)[0])
    return grid[:NUM_STARTS]
