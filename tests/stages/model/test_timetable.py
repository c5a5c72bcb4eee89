import itertools
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed.pipelining.schedules import FORWARD, ScheduleInterleaved1F1B

from stages.model.sizes import Sizes
from stages.model.timetable import Action, layers_of, timetable, turns

RANKS, EACH, MICRO = st.integers(2, 6), st.integers(1, 3), st.integers(1, 15)


def cuts(num_layers: int, num_stages: int) -> Iterator[list[range]]:
    """Every way to cut layers into stages."""
    for inner in itertools.combinations(range(1, num_layers), num_stages - 1):
        yield [range(a, b) for a, b in itertools.pairwise([0, *inner, num_layers])]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(0, 20), st.integers(1, 5))
def test_no_other_cut_has_a_cheaper_costliest_stage(costs: list[int], head: int, num_stages: int) -> None:
    """Every layer is on one stage, no stage is without, and of all cuts this is one of the best."""

    def most(stages: list[range]) -> int:
        return max(sum(costs[i] for i in s) + head * (s.stop == len(costs)) for s in stages)

    num_stages = min(num_stages, len(costs))
    found = layers_of(costs, head, num_stages)
    assert most(found) == min(most(stages) for stages in cuts(len(costs), num_stages))
    assert [layer for stage in found for layer in stage] == list(range(len(costs)))
    assert all(found)


def test_the_head_counts_as_the_layers_that_it_costs() -> None:
    """Of Llama 3's 8B, whose head is two and a half layers of work, the last of four stages has fewer layers."""
    sizes = Sizes.of_preset("llama3-8b", 128_256, 8192)
    head = 6 * sizes.vocab_size * sizes.width
    assert [len(s) for s in layers_of(sizes.layer_operations, head, 4)] == [9, 9, 8, 6]
    assert sum(sizes.layer_operations) + head + 6 * sizes.width == sizes.operations_per_token


@settings(max_examples=150, deadline=None)
@given(RANKS, EACH, MICRO)
def test_nothing_is_done_before_what_it_needs(num_ranks: int, each: int, num_micro: int) -> None:
    """Every micro-batch goes once through every stage and back, on the stage's own rank, in the order of the stages."""
    found = timetable(num_ranks, each, num_micro)
    when = {action: t for t, tick in enumerate(found) for action in tick if action}
    assert len(when) == 2 * num_micro * num_ranks * each == sum(a is not None for tick in found for a in tick)
    assert all(a is None or a.stage % num_ranks == rank for tick in found for rank, a in enumerate(tick))
    last = num_ranks * each - 1
    for action, tick in when.items():
        before = action.stage - 1 if action.forward else action.stage + 1
        if 0 <= before <= last:
            assert when[action._replace(stage=before)] < tick
        if not action.forward:
            assert when[action._replace(forward=True)] < tick


@pytest.mark.parametrize("num_ranks", [2, 3, 4, 8])
@pytest.mark.parametrize("each", [1, 2, 4])
def test_the_bubble_is_that_of_the_papers(num_ranks: int, each: int) -> None:
    """With whole rounds of micro-batches, P - 1 actions forward and as many backward are waited for, whatever the rounds."""
    for num_micro in (num_ranks, 3 * num_ranks):
        assert len(timetable(num_ranks, each, num_micro)) == 2 * (num_micro * each + num_ranks - 1)


@pytest.mark.parametrize(("num_ranks", "num_micro"), [(4, 8), (4, 2), (8, 32)])
def test_a_rank_keeps_few_micro_batches(num_ranks: int, num_micro: int) -> None:
    """Rank r of P holds the activations of at most P - r micro-batches, as a plan's memory has it."""
    found = timetable(num_ranks, 1, num_micro)
    for rank in range(num_ranks):
        steps = [(1 if tick[rank].forward else -1) for tick in found if tick[rank]]  # type: ignore[union-attr]
        assert max(itertools.accumulate(steps)) == min(num_micro, num_ranks - rank)


@pytest.mark.parametrize(("num_ranks", "each", "num_micro"), [(2, 2, 4), (4, 2, 8), (4, 3, 6), (3, 2, 9), (4, 2, 4)])
def test_the_interleaved_order_is_that_of_torch(num_ranks: int, each: int, num_micro: int) -> None:
    """Each rank's actions come in the order that `torch.distributed.pipelining` gives them."""
    rounds = max(1, num_micro // num_ranks)
    like = SimpleNamespace(n_local_stages=each, microbatches_per_round=num_micro // rounds)
    like.pp_group_size, like._n_microbatches = num_ranks, num_micro
    found = timetable(num_ranks, each, num_micro)
    for rank in range(num_ranks):
        theirs = ScheduleInterleaved1F1B._calculate_single_rank_operations(like, rank)  # type: ignore[arg-type]
        ours = [tick[rank] for tick in found if tick[rank]]
        expected = [(a.computation_type == FORWARD, a.microbatch_index, a.stage_index) for a in theirs if a]
        assert [tuple(action) for action in ours if action] == expected


@settings(max_examples=100, deadline=None)
@given(RANKS, EACH, MICRO)
def test_what_one_rank_sends_another_expects(num_ranks: int, each: int, num_micro: int) -> None:
    """In every tick, each message has one sender, who is right, and one receiver, who makes room for it in the same tick."""
    views = [turns(rank, num_ranks, each, num_micro) for rank in range(num_ranks)]
    expected: set[Action] = set()
    for tick in zip(*views, strict=True):
        sent = sorted((rank, turn.receiver) for rank, turn in enumerate(tick) if turn.receiver is not None)
        assert sent == sorted((source, rank) for rank, turn in enumerate(tick) for source, _ in turn.arriving)
        for turn in tick:
            expected |= {use for _, use in turn.arriving}
    ends = {Action(True, m, 0) for m in range(num_micro)}
    ends |= {Action(False, m, num_ranks * each - 1) for m in range(num_micro)}
    assert expected | ends == {turn.action for view in views for turn in view if turn.action}
