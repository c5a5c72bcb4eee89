"""Which dataset gives each sample of a blend, byte for byte as Megatron's `build_blending_indices` chooses, much faster.

The rule (megatron-core 0.16, `datasets/helpers.cpp`): sample n goes to the dataset with the largest error
`weight * max(n, 1) - taken`, in doubles, to the first of several. Megatron computes all K errors a sample. Here:

- Datasets of equal weight are one *group*: they are served in turn, so only the next of them can win.
- Between two turns of its own a group's error only grows. So a group whose error stays under a threshold up to the last
  sample of a block cannot win in that block while another reaches the threshold. Blocks lie in blocks: of all groups
  those are kept that may win in the next 512 samples, of these those for the next 64, and of these those for the next 8,
  of which alone all errors are computed, in vectors.
- The errors add up to 0, so the largest hardly moves, and the threshold lies just below the least that won lately. Where
  none reaches it, it was too high: it is set anew from all errors.

So the result is exact, whatever the threshold. Memory is about 100 bytes a dataset. What it gives up: with thousands of
weights that differ by next to nothing very many groups stay in every list, and it is then only some times faster.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stages.base import SettingsError
from stages.stream.compiled import compiled, inlined

Array = npt.NDArray[Any]

MAX_DATASETS = 32_766  # the dataset index is int16, and Megatron takes fewer than 32,767
FEW_DATASETS = 24  # up to here computing all errors is as fast
PART_SAMPLES = 1 << 16  # a thread's least work
JOIN_SAMPLES = 256
FAN_BITS = 3
FAN = 1 << FAN_BITS  # blocks of a level in a block of the next
RAISE_LEVEL = 2  # the threshold follows the winners with each block of 64 samples
SHRINK, GROW = 0.95, 2.0  # of its distance from them, a block, and where it was too high
LANES = 16  # candidates are compared in vectors: a multiple of these, the rest never wins
LOWEST = float(np.finfo(np.float64).min)
INT64_MIN, INT64_MAX = np.int64(-(1 << 63)), np.int64((1 << 63) - 1)


class Blend(NamedTuple):
    """Per sample: its dataset (int16), and how many samples that has given before (int64)."""

    dataset_index: Array
    dataset_sample_index: Array


class Plain(NamedTuple):
    """Datasets as they are: weights, samples that end each, samples taken; 0 and infinity when they are used up."""

    weights: Array
    limits: Array
    taken: Array


class Groups(NamedTuple):
    """Datasets of equal weight: `members[turns[g]]`, of `starts[g] : starts[g + 1]`, is the next of group g."""

    weights: Array  # 0 when its datasets are used up
    rounds: Array  # how often all its members were served; infinite when they are used up
    limits: Array  # rounds that end it
    turns: Array
    starts: Array
    members: Array


class Levels(NamedTuple):
    """Row `l`: the groups that may come next within a block of `FAN ** (l + 1)` samples; the last row: all groups."""

    groups: Array
    counts: Array
    threshold: Array  # one number


class Candidates(NamedTuple):
    """The groups of level 0, and of each the weight, the rounds, the next member and its error's rank."""

    groups: Array
    weights: Array
    rounds: Array
    members: Array
    ranks: Array


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
        """Choose side by side from the beginning and from guesses; then go on from each end until it meets the next."""
        found = Blend(np.zeros(num_samples, np.int16), np.zeros(num_samples, np.int64))
        num_parts = max(1, min(num_threads, num_samples // PART_SAMPLES))
        bounds = [num_samples * part // num_parts for part in range(num_parts + 1)]
        guesses = [self._guess(first) for first in bounds[:-1]]
        with ThreadPoolExecutor(num_parts) as pool:
            list(pool.map(self._choose, guesses, bounds, [_part(found, *ends) for ends in pairwise(bounds)]))
        taken = guesses[0]
        for before, first, last, guess in zip(bounds, bounds[1:], bounds[2:], guesses[1:], strict=False):
            taken = taken + self._count(found.dataset_index[before:first])
            self._join(found, (first, last), guess, taken)
        return found

    def _guess(self, first: int) -> Array:
        """What each dataset has probably given before sample `first`: its share, rounded so that the sum is right."""
        taken: Array = np.floor(self.weights * first)
        missing = first - int(taken.sum())
        taken[np.argsort(taken - self.weights * first, kind="stable")[:missing]] += 1
        return taken

    def _join(self, found: Blend, ends: tuple[int, int], guess: Array, taken: Array) -> None:
        """Choose again from the exact `taken` on until the choices from the guess have led to the same; soon, as a rule."""
        first, last = ends
        length = JOIN_SAMPLES
        while first < last and not np.array_equal(guess, taken):
            stop = min(first + length, last)
            guess = guess + self._count(found.dataset_index[first:stop])
            self._choose(taken, first, _part(found, first, stop))
            taken = taken + self._count(found.dataset_index[first:stop])
            first, length = stop, 2 * length

    def _count(self, datasets: Array) -> Array:
        counts: Array = np.bincount(datasets, minlength=len(self.weights))
        return counts

    def _choose(self, taken: Array, first: int, found: Blend) -> None:
        """Fill `found`, which begins with sample `first`, before which the datasets have given `taken`."""
        if len(self.weights) <= FEW_DATASETS:
            weights, taken = (
                np.where(taken < self.limits, self.weights, 0.0),
                np.where(taken < self.limits, taken, np.inf),
            )
            _fill_plainly(Plain(weights, self.limits, taken), first, found)
            return
        groups = self._groups(taken)
        count, room = len(groups.weights), len(groups.weights) + LANES
        num_rows = max(2, int(np.log2(count) / FAN_BITS) + 1)
        rows = np.tile(np.arange(count + 1, dtype=np.int32), (num_rows, 1))
        levels = Levels(rows, np.full(num_rows, count), np.full(1, np.inf))
        integers = np.zeros((2, room), np.int32)
        candidates = Candidates(integers[0], np.zeros(room), np.zeros(room), integers[1], np.zeros(room, np.int64))
        _fill(groups, levels, candidates, first, found)

    def _groups(self, taken: Array) -> Groups:
        values, group_of, sizes = np.unique(self.weights, return_inverse=True, return_counts=True)
        starts = np.concatenate([[0], np.cumsum(sizes)])
        members = np.argsort(group_of, kind="stable").astype(np.int32)
        rounds, turns = np.divmod(np.bincount(group_of, taken).astype(np.int64), sizes)
        limits = self.limits[members[starts[:-1]]]
        ended = rounds == limits
        rounds = np.where(ended, np.inf, rounds)
        return Groups(np.where(ended, 0.0, values), rounds, limits, starts[:-1] + turns, starts, members)


def _part(found: Blend, first: int, last: int) -> Blend:
    return Blend(found.dataset_index[first:last], found.dataset_sample_index[first:last])


@compiled
def _fill_plainly(datasets: Plain, first: int, found: Blend) -> None:
    """Fill by the rule itself; a dataset that is used up has an error of minus infinity."""
    weights, limits, taken = datasets
    for n in range(len(found.dataset_index)):
        time, largest, leader = float(max(first + n, 1)), -np.inf, 0
        for dataset in range(len(weights)):
            error = weights[dataset] * time - taken[dataset]
            larger = error > largest
            largest, leader = (error, dataset) if larger else (largest, leader)
        found.dataset_index[n] = leader
        found.dataset_sample_index[n] = np.int64(taken[leader])
        taken[leader] += 1.0
        if taken[leader] == limits[leader]:
            weights[leader], taken[leader] = 0.0, np.inf


@compiled
def _fill(groups: Groups, levels: Levels, candidates: Candidates, first: int, found: Blend) -> None:
    top, slack, lowest, count = len(levels.counts) - 1, 1.0 / len(groups.weights), np.inf, 0
    for n in range(first, first + len(found.dataset_index)):
        time = float(max(n, 1))
        if n % FAN == 0:
            level = _highest(n, top)
            if level >= min(RAISE_LEVEL, top) and lowest < np.inf:
                threshold = lowest - slack  # lists stay right if it rises; only a new one of all groups lets it fall
                levels.threshold[0] = threshold if level == top else max(threshold, levels.threshold[0])
                slack, lowest = SHRINK * slack, np.inf
            count = _narrow(groups, levels, candidates, n, level)
        place = _leader(candidates, count, time)
        error = candidates.weights[place] * time - candidates.rounds[place]
        if not count or error < levels.threshold[0]:
            levels.threshold[0], slack = _largest(groups, time) - slack, GROW * slack
            count = _narrow(groups, levels, candidates, n, top)
            place = _leader(candidates, count, time)
            error = candidates.weights[place] * time - candidates.rounds[place]
        lowest = min(lowest, error)
        found.dataset_index[n - first] = candidates.members[place]
        found.dataset_sample_index[n - first] = np.int64(candidates.rounds[place])
        _serve(groups, candidates, place)


@inlined
def _highest(n: int, top: int) -> int:
    """The highest level of which a block starts with sample n, and one more."""
    level = 1
    while level < top and n & ((1 << FAN_BITS * (level + 1)) - 1) == 0:
        level += 1
    return min(level, top)


@compiled
def _narrow(groups: Groups, levels: Levels, candidates: Candidates, n: int, highest: int) -> int:
    """Choose again below the level `highest`, for the blocks that sample n is in; return the number of candidates."""
    for level in range(highest - 1, -1, -1):
        bits = FAN_BITS * (level + 1)
        time = float((((n >> bits) + 1) << bits) - 1)  # errors only grow until the block's last sample
        count = 0
        for place in range(levels.counts[level + 1]):
            group = levels.groups[level + 1, place]
            levels.groups[level, count] = group
            count += groups.weights[group] * time - groups.rounds[group] >= levels.threshold[0]
        levels.counts[level] = count
    for place in range(levels.counts[0]):
        group = levels.groups[0, place]
        candidates.groups[place] = group
        candidates.weights[place], candidates.rounds[place] = groups.weights[group], groups.rounds[group]
        candidates.members[place] = groups.members[groups.turns[group]]
    count = int(levels.counts[0])
    candidates.weights[count : count + LANES] = 0.0
    candidates.rounds[count : count + LANES] = np.inf  # an error of minus infinity
    return count


@compiled
def _largest(groups: Groups, time: float) -> float:
    largest = LOWEST
    for group in range(len(groups.weights)):
        largest = max(largest, float(groups.weights[group] * time - groups.rounds[group]))
    return largest


@inlined
def _leader(candidates: Candidates, count: int, time: float) -> int:
    """The place of the candidate of the largest error; of several, of the one with the first member."""
    largest, first, padded = INT64_MIN, INT64_MAX, -(-count // LANES) * LANES
    for place in range(padded):
        bits = np.float64(candidates.weights[place] * time - candidates.rounds[place]).view(np.int64)
        rank = np.int64(bits ^ ((bits >> 63) & INT64_MAX))  # integers in the order of the doubles: compared in vectors
        candidates.ranks[place] = rank
        largest = max(largest, rank)
    for place in range(padded):
        name = (np.int64(candidates.members[place]) << 32) | place
        first = min(first, name if candidates.ranks[place] == largest else INT64_MAX)
    return int(first & 0xFFFFFFFF) if count else 0


@inlined
def _serve(groups: Groups, candidates: Candidates, place: int) -> None:
    """Move a group on by one sample."""
    group = candidates.groups[place]
    turn = groups.turns[group] + 1
    if turn == groups.starts[group + 1]:
        turn = groups.starts[group]
        groups.rounds[group] += 1.0
        if groups.rounds[group] == groups.limits[group]:
            groups.weights[group], groups.rounds[group] = 0.0, np.inf
            candidates.weights[place] = 0.0
        candidates.rounds[place] = groups.rounds[group]
    groups.turns[group] = turn
    candidates.members[place] = groups.members[turn]
