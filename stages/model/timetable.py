"""Who computes what when in a pipeline: stages of about equal work, and one-forward-one-backward over micro-batches.

A network of G = P x C stages lies on P ranks, stage g on rank g mod P. With one stage a rank (C = 1) the order is 1F1B
(Narayanan et al. 2019, PipeDream-Flush): after a warm-up rank r takes one micro-batch forward and one backward in turn,
and keeps the activations of at most P - r of them. With C stages a rank it is the interleaved order of Narayanan et al.
2021 (Megatron-LM): micro-batches go round by P at a time (or a few more), the bubble is C times smaller, messages are C
times more. Every rank knows the whole timetable, so that it knows without asking when a message comes. What it gives up:
zero-bubble orders, which keep weight gradients for later.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple


class Action(NamedTuple):
    """One micro-batch through one stage, forward or backward."""

    forward: bool
    micro: int
    stage: int


Tick = tuple[Action | None, ...]  # what each rank does


class Turn(NamedTuple):
    """A tick of one rank: what it does, who needs what it makes, and what others make for it (rank, for which action)."""

    action: Action | None
    receiver: int | None
    arriving: tuple[tuple[int, Action], ...]


def layers_of(costs: Sequence[int], head: int, num_stages: int) -> list[range]:
    """The layers of each stage: neighbours, at least one, such that the most costly stage costs least.

    `costs` are of the layers, `head` is what comes on top of the last stage's (the embedding computes nothing). Of
    stages that could be cut in several ways the first ones get more layers.
    """
    sums = [0, *itertools.accumulate(costs)]

    @functools.cache
    def best(first: int, left: int) -> tuple[int, int]:
        """The least that the most costly of the `left` last stages can cost, and where the first of them ends."""
        if left == 1:
            return sums[-1] - sums[first] + head, len(costs)
        ends = range(len(costs) - left + 1, first, -1)
        return min(((max(sums[end] - sums[first], best(end, left - 1)[0]), end) for end in ends), key=lambda c: c[0])

    found, first = [], 0
    for left in range(num_stages, 0, -1):
        end = best(first, left)[1]
        found.append(range(first, end))
        first = end
    return found


@functools.cache
def timetable(num_ranks: int, stages_per_rank: int, num_micro: int) -> tuple[Tick, ...]:
    """Each rank's next action as soon as what it needs was made in an earlier tick, until all is done."""
    todo = [_order(rank, num_ranks, stages_per_rank, num_micro) for rank in range(num_ranks)]
    done: set[Action] = set()
    ticks: list[Tick] = []
    num_stages = num_ranks * stages_per_rank
    while any(todo):
        tick = tuple(o[0] if o and _needs(o[0], num_stages) <= done else None for o in todo)
        made = {action for action in tick if action}
        assert made, "every action waits for another"
        for order, action in zip(todo, tick, strict=True):
            if action:
                order.pop(0)
        done |= made
        ticks.append(tick)
    return tuple(ticks)


@functools.cache
def turns(rank: int, num_ranks: int, stages_per_rank: int, num_micro: int) -> tuple[Turn, ...]:
    """The timetable as one rank sees it."""
    found = []
    for tick in timetable(num_ranks, stages_per_rank, num_micro):
        uses = [_use(action, num_ranks * stages_per_rank) if action else None for action in tick]
        own = uses[rank]
        arriving = tuple((r, use) for r, use in enumerate(uses) if use and use.stage % num_ranks == rank)
        found.append(Turn(tick[rank], own.stage % num_ranks if own else None, arriving))
    return tuple(found)


def _use(action: Action, num_stages: int) -> Action | None:
    """The action that needs what this one makes, in the next stage or the one before."""
    stage = action.stage + (1 if action.forward else -1)
    return action._replace(stage=stage) if 0 <= stage < num_stages else None


def _needs(action: Action, num_stages: int) -> set[Action]:
    """The actions that come before: the same micro-batch in the stage before, and for a backward pass its forward pass."""
    if action.forward:
        return {action._replace(stage=action.stage - 1)} if action.stage else set()
    before = {action._replace(forward=True)}
    return before | ({action._replace(stage=action.stage + 1)} if action.stage < num_stages - 1 else set())


def _order(rank: int, num_ranks: int, stages_per_rank: int, num_micro: int) -> list[Action]:
    """One rank's actions: forward ones to warm up, then one forward and one backward, then the backward ones left."""
    num_rounds = max(1, num_micro // num_ranks)  # of as many micro-batches as ranks, or a few more
    ends = [-(-num_micro * i // num_rounds) for i in range(num_rounds + 1)]
    rounds = [range(first, end) for first, end in itertools.pairwise(ends)]
    own = range(rank, num_ranks * stages_per_rank, num_ranks)
    forward = [Action(True, m, g) for micro in rounds for g in own for m in micro]  # noqa: FBT003
    backward = [Action(False, m, g) for micro in rounds for g in reversed(own) for m in micro]  # noqa: FBT003
    after = num_ranks - rank - 1
    ahead = min(
        len(forward), after if stages_per_rank == 1 else 2 * after + (stages_per_rank - 1) * max(map(len, rounds))
    )
    turns = zip(forward[ahead:], backward, strict=False)
    return [*forward[:ahead], *itertools.chain.from_iterable(turns), *backward[len(forward) - ahead :]]
