"""Which dataset gives each sample of a blend, byte for byte as Megatron's `build_blending_indices` chooses, much faster.

The rule (megatron-core 0.16, `datasets/helpers.cpp`): sample n goes to the dataset with the largest error
`weight * max(n, 1) - taken`, in doubles, to the first of several. Megatron computes all K errors a sample, in a chain in
which each choice waits for the one before. Here the samples are cut into parts that are chosen side by side:

- A part begins from a guess of what was taken before it: each dataset's share, rounded so that the sum is right.
- The rule forgets: from a slightly wrong beginning it serves what it owes and goes on with the very same choices, as a
  rule after some hundred samples. So the samples after each seam are chosen again, from where the part before ended,
  until what was taken is equal; from there on all later choices are. If it never is, the whole part is chosen again.

Parts are the lanes of vectors, and threads. Of very many datasets few can win soon: `blend_levels.py`. The result is
exact in any case; what a bad guess costs is time.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stages.base import SettingsError
from stages.compiled import compiled, inlined
from stages.stream.blend_levels import Choices, choose

Array = npt.NDArray[Any]

MAX_DATASETS = 32_766  # the dataset index is int16, and Megatron takes fewer than 32,767
MANY_DATASETS = 400  # from here on choosing by levels is faster than computing all errors in vectors
LANES = 32  # parts of a thread that are chosen side by side; of 16 and more the errors are computed in vectors
PART_SAMPLES = 1 << 12  # the least length of a part
JOIN_SAMPLES = 256  # that are chosen again at first


class Blend(NamedTuple):
    """Per sample: its dataset (int16), and how many samples that has given before (int64)."""

    dataset_index: Array
    dataset_sample_index: Array


def blend(weights: Array, num_samples: int, num_threads: int = 1) -> Blend:
    """Blend so that each dataset gives its share: `weights` (K doubles that sum to 1) as `normalize` leaves them."""
    weights = np.asarray(weights, np.float64)
    _refuse(weights)
    return Rule(weights, np.full(len(weights), np.inf)).blend(num_samples, num_threads)


def blend_exhaustively(sizes: Array, num_threads: int = 1) -> Blend:
    """Blend all samples of datasets of these sizes, each in proportion to its size, until all are used up."""
    sizes = np.asarray(sizes, np.int64)
    _refuse(sizes)
    return Rule(sizes / float(sizes.sum()), sizes.astype(np.float64)).blend(int(sizes.sum()), num_threads)


def normalize(weights: Array) -> Array:
    """Divide by the sum, as Megatron does (more than once: the quotients' sum need not be 1)."""
    quotients: Array = np.asarray(weights, np.float64) / np.sum(np.asarray(weights, np.float64))
    return quotients


def _refuse(weights: Array) -> None:
    problems = []
    if not 1 <= len(weights) <= MAX_DATASETS:
        limit = f"1 to {MAX_DATASETS} datasets (its index is int16)"
        problems.append(f"a blend takes {limit}, found {len(weights)}: merge some (python -m stages.stream.merge)")
    if bad := np.flatnonzero(~((weights > 0) & np.isfinite(weights)))[:5].tolist():
        problems.append(f"a weight must be above 0, found {weights[bad].tolist()} for datasets {bad}: leave them out")
    if problems:
        raise SettingsError("; ".join(problems))


@dataclass(frozen=True)
class Rule:
    """Weights (K), and samples after which each dataset is used up (K doubles)."""

    weights: Array
    limits: Array

    def blend(self, num_samples: int, num_threads: int) -> Blend:
        """Choose all parts side by side, and join each to those before it."""
        found = Blend(np.zeros(num_samples, np.int16), np.zeros(num_samples, np.int64))
        lanes = LANES if len(self.weights) < MANY_DATASETS else 1
        num_parts = max(1, min(num_threads * lanes, num_samples // PART_SAMPLES))
        bounds = [num_samples * part // num_parts for part in range(num_parts + 1)]
        guesses = [self._guess(first) for first in bounds[:-1]]
        shares = [slice(first, first + lanes) for first in range(0, num_parts, lanes)]

        def choose_share(share: slice) -> list[Array]:
            return self._choose(guesses[share], bounds[share.start : share.stop + 1], found)

        with ThreadPoolExecutor(num_threads) as pool:
            ends = [end for share in pool.map(choose_share, shares) for end in share]
        taken = ends[0]
        for part in range(1, num_parts):
            taken = self._join(found, bounds[part : part + 2], guesses[part], taken, ends[part])
        return found

    def _guess(self, first: int) -> Array:
        """What each dataset has probably given before sample `first`: its share, rounded so that the sum is right."""
        taken: Array = np.floor(self.weights * first)
        missing = first - int(taken.sum())
        taken[np.argsort(taken - self.weights * first, kind="stable")[:missing]] += 1
        return taken

    def _join(self, found: Blend, bounds: Sequence[int], guess: Array, taken: Array, end: Array) -> Array:
        """Choose a part again from the exact `taken` on, until it meets what the guess led to; what is taken at its end."""
        (first, last), length = bounds, JOIN_SAMPLES
        while not np.array_equal(guess, taken):
            if first == last:
                return taken
            stop = min(first + length, last)
            guess = guess + self._count(found, first, stop)
            (taken,) = self._choose([taken], [first, stop], found)
            first, length = stop, 2 * length
        return end

    def _count(self, found: Blend, first: int, last: int) -> Array:
        counts: Array = np.bincount(found.dataset_index[first:last], minlength=len(self.weights))
        return counts

    def _choose(self, taken: Sequence[Array], bounds: Sequence[int], found: Blend) -> list[Array]:
        """Fill the parts between the bounds, before which the datasets gave `taken`; what they have given at their ends."""
        if len(self.weights) < MANY_DATASETS:
            lanes = np.where(np.array(taken) < self.limits, taken, np.inf).T.copy()
            _fill(self.weights, self.limits, lanes, np.array(bounds), found)
            return list(np.minimum(lanes, self.limits[:, None]).T.copy())
        ((first, last), (start,)) = bounds, taken
        choices = Choices(found.dataset_index[first:last], found.dataset_sample_index[first:last])
        choose(self.weights, self.limits, start, first, choices)
        return [start + self._count(found, first, last)]


@compiled
def _fill(weights: Array, limits: Array, taken: Array, bounds: Array, found: Blend) -> None:
    """Fill the parts between the bounds, one a lane; `taken` (K x lanes) is moved on, to infinity for what is used up."""
    num_lanes = len(bounds) - 1
    longest = np.diff(bounds).max()
    times, largest, leaders = np.empty(num_lanes), np.empty(num_lanes), np.zeros(num_lanes)
    for n in range(longest):
        for lane in range(num_lanes):
            times[lane] = max(bounds[lane] + n, 1)
        _lead(weights, taken, times, largest, leaders)
        for lane in range(num_lanes):
            sample, leader = bounds[lane] + n, np.int64(leaders[lane])
            if sample < bounds[lane + 1]:
                found.dataset_index[sample] = leader
                found.dataset_sample_index[sample] = np.int64(taken[leader, lane])
                taken[leader, lane] += 1.0
                if taken[leader, lane] == limits[leader]:
                    taken[leader, lane] = np.inf  # its error is minus infinity from here on


@inlined
def _lead(weights: Array, taken: Array, times: Array, largest: Array, leaders: Array) -> None:
    """The dataset of the largest error in each lane, as a double: lanes of one type are computed in vectors."""
    largest[:] = -np.inf
    for dataset in range(len(weights)):
        weight, number, row = weights[dataset], float(dataset), taken[dataset]
        for lane in range(len(times)):
            error = weight * times[lane] - row[lane]
            larger = error > largest[lane]
            largest[lane] = error if larger else largest[lane]
            leaders[lane] = number if larger else leaders[lane]
