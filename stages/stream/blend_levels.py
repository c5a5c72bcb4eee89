"""Megatron's blending rule for very many datasets: few of them can win soon, and only those are looked at.

Sample n goes to the dataset with the largest error `weight * max(n, 1) - taken`, see `blend.py`.

- Datasets of equal weight are one *group*: they are served in turn, so only the next of them can win.
- Between two turns of its own a group's error only grows. So a group whose error stays under a threshold up to the last
  sample of a block cannot win in that block while another reaches the threshold. Blocks lie in blocks: of all groups
  those are kept that may win in the next 512 samples, of these those for the next 64, and of these those for the next 8,
  of which alone all errors are computed, in vectors.
- The errors add up to 0, so the largest hardly moves, and the threshold lies just below the least that won lately. Where
  none reaches it, it was too high: it is set anew from all errors.

So the result is exact, whatever the threshold. What it gives up: with thousands of weights that differ by next to
nothing very many groups stay in every list, and it is then only some times faster than computing all errors.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stages.compiled import compiled, inlined

Array = npt.NDArray[Any]

FAN_BITS = 3
FAN = 1 << FAN_BITS  # blocks of a level in a block of the next
RAISE_LEVEL = 2  # the threshold follows the winners with each block of 64 samples
SHRINK, GROW = 0.95, 2.0  # of its distance from them, a block, and where it was too high
LANES = 16  # candidates are compared in vectors: a multiple of these, the rest never wins
LOWEST = float(np.finfo(np.float64).min)
INT64_MIN, INT64_MAX = np.int64(-(1 << 63)), np.int64((1 << 63) - 1)


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


class Choices(NamedTuple):
    """What the rule gives, sample by sample: the dataset, and how many samples that has given before."""

    datasets: Array
    samples: Array


def choose(weights: Array, limits: Array, taken: Array, first: int, found: Choices) -> None:
    """Fill `found`, which begins with sample `first`, before which the K datasets gave `taken`; `limits` end them."""
    groups = _group(weights, limits, taken)
    count, room = len(groups.weights), len(groups.weights) + LANES
    num_rows = max(2, int(np.log2(count) / FAN_BITS) + 1)
    rows = np.tile(np.arange(count + 1, dtype=np.int32), (num_rows, 1))
    levels = Levels(rows, np.full(num_rows, count), np.full(1, np.inf))
    integers = np.zeros((2, room), np.int32)
    candidates = Candidates(integers[0], np.zeros(room), np.zeros(room), integers[1], np.zeros(room, np.int64))
    _fill(groups, levels, candidates, first, found)


def _group(weights: Array, limits: Array, taken: Array) -> Groups:
    values, group_of, sizes = np.unique(weights, return_inverse=True, return_counts=True)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    members = np.argsort(group_of, kind="stable").astype(np.int32)
    rounds, turns = np.divmod(np.bincount(group_of, taken).astype(np.int64), sizes)
    limits = limits[members[starts[:-1]]]
    ended = rounds == limits
    rounds = np.where(ended, np.inf, rounds)
    return Groups(np.where(ended, 0.0, values), rounds, limits, starts[:-1] + turns, starts, members)


@compiled
def _fill(groups: Groups, levels: Levels, candidates: Candidates, first: int, found: Choices) -> None:
    top, slack, lowest, count = len(levels.counts) - 1, 1.0 / len(groups.weights), np.inf, 0
    for n in range(first, first + len(found.datasets)):
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
        found.datasets[n - first] = candidates.members[place]
        found.samples[n - first] = np.int64(candidates.rounds[place])
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
