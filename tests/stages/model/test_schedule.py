import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.model.network import Network, Sizes
from stages.model.schedule import Schedule, Shape, hidden_matrices, parameter_groups

SHAPES: tuple[Shape, ...] = ("cosine", "linear", "wsd")


def rates(shape: Shape, peak: float, warmup_steps: int, num_steps: int, first: int = 1) -> list[float]:
    """The rates of steps `first` to the last."""
    schedule = Schedule(shape, peak, warmup_steps, num_steps)
    assert schedule.problems() == []
    return [schedule.rate(step) for step in range(first, num_steps + 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_warm_up_is_a_line_to_the_peak(shape: Shape) -> None:
    """The rate grows by equal steps and is the peak when warm-up ends."""
    assert rates(shape, 1.0, 10, 100)[:10] == pytest.approx([s / 10 for s in range(1, 11)])


@pytest.mark.parametrize("shape", SHAPES)
def test_the_end_is_a_tenth(shape: Shape) -> None:
    """The last step has a tenth of the peak, and the rate never grows after warm-up."""
    found = rates(shape, 2.0, 10, 110, first=10)
    assert found[0] == 2.0
    assert found[-1] == pytest.approx(0.2)
    assert all(a >= b for a, b in pairwise(found))


def test_cosine_is_half_a_cosine() -> None:
    """Half way down the rate is the mean of peak and end, a quarter down it is the cosine of 45 degrees."""
    found = rates("cosine", 2.0, 10, 110, first=10)
    assert found[50] == pytest.approx((2.0 + 0.2) / 2)
    assert found[25] == pytest.approx(0.2 + 1.8 * (1 + math.cos(math.pi / 4)) / 2)


def test_linear_falls_by_equal_steps() -> None:
    """Every step after warm-up is lower by the same amount."""
    found = rates("linear", 2.0, 10, 110, first=10)
    assert [a - b for a, b in pairwise(found)] == pytest.approx([0.018] * 100)


def test_wsd_stays_and_then_falls() -> None:
    """Four fifths of the steps have the peak; then a quarter of the fall's steps take half of the fall."""
    found = rates("wsd", 2.0, 10, 100)
    assert found[9:80] == [2.0] * 71
    assert found[84] == pytest.approx(0.2 + 1.8 * 0.5)
    assert found[99] == pytest.approx(0.2)


def test_a_longer_run_has_the_same_start() -> None:
    """Before it falls, the rate of warmup-stable-decay does not depend on how long the run will be."""
    assert rates("wsd", 1.0, 10, 100)[:80] == rates("wsd", 1.0, 10, 1000)[:80]


def test_no_warm_up_starts_high() -> None:
    """Without warm-up the first step is one step down from the peak, and no step has rate zero."""
    found = rates("cosine", 1.0, 0, 100)
    assert 0.9 < found[0] < 1.0
    assert min(found) == pytest.approx(0.1)


def test_the_batch_doubles() -> None:
    """Quarters until step 10, halves until step 30, then the whole, each at the rate over the root of the parts."""
    schedule = Schedule("linear", 1.0, 0, 1000, final_fraction=1.0, batch_doublings=(10, 30))
    assert [schedule.num_updates(s) for s in (1, 10, 11, 30, 31, 1000)] == [4, 4, 2, 2, 1, 1]
    assert [schedule.rate(s) for s in (1, 11, 31)] == pytest.approx([0.5, 1 / math.sqrt(2), 1.0])


@given(st.lists(st.integers(1, 60), unique=True, max_size=4).map(sorted), st.integers(0, 80))
def test_updates_are_counted(doublings: list[int], step: int) -> None:
    """The updates until a step are the sum of those of its steps, whatever the doublings."""
    schedule = Schedule("cosine", 1.0, 0, 100, batch_doublings=doublings)
    assert schedule.problems() == []
    assert schedule.updates_until(step) == sum(schedule.num_updates(s) for s in range(1, step + 1))


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (Schedule("cosine", 1.0, 12, 12), "warmup_steps 12 must be under index.num_steps 12"),
        (Schedule("wsd", 1.0, 90, 100), "after step 80; set a lower decay_fraction"),
        (Schedule("linear", 1.0, 0, 9, batch_doublings=(5, 5)), r"batch_doublings \(5, 5\) must be steps that grow"),
    ],
)
def test_impossible_schedules_are_named(schedule: Schedule, words: str) -> None:
    """What cannot be is said in words that name the setting."""
    with pytest.raises(ValueError, match=words):
        raise ValueError("; ".join(schedule.problems()))


@pytest.mark.parametrize("tied", [True, False])
def test_norms_and_embeddings_do_not_decay(tied: bool) -> None:
    """Every weight is in one group; the decaying one holds matrices of layers and an untied head, nothing else."""
    network = Network(Sizes.of_depth(2, 50, 8, tie_embeddings=tied, width=32))
    names = {id(p): name for name, p in network.named_parameters()}
    decayed, kept = ({names[id(p)] for p in g["params"]} for g in parameter_groups(network, 0.3))
    assert decayed | kept == set(names.values())
    assert kept == {n for n in names.values() if "norm" in n or n == "embedding.weight"}
    assert ("head.weight" in decayed) is not tied
    assert [g["weight_decay"] for g in parameter_groups(network, 0.3)] == [0.3, 0.0]


@pytest.mark.parametrize("tied", [True, False])
def test_hidden_matrices_are_apart(tied: bool) -> None:
    """With `matrices`, the linear maps of the layers are marked, and neither embeddings, head, norms nor taps are."""
    sizes = Sizes.of_depth(
        2, 50, 8, tie_embeddings=tied, width=32, num_heads=2, qk_norm=True, layers="attention,deltanet"
    )
    network = Network(sizes)
    names = {id(p): name for name, p in network.named_parameters()}
    groups = parameter_groups(network, 0.3, matrices=True)
    assert sorted(names[id(p)] for g in groups for p in g["params"]) == sorted(names.values())
    (marked,) = ({names[id(p)] for p in g["params"]} for g in groups if g["matrices"])
    assert marked == hidden_matrices(network)
    assert {n for n in marked if n.startswith("blocks.0.attention")} == {
        f"blocks.0.attention.{part}.weight" for part in ("query", "key", "value", "output")
    }
    kept = {names[id(p)] for g in groups if not g["weight_decay"] for p in g["params"]}
    assert kept == {n for n, p in network.named_parameters() if p.ndim == 1 or n == "embedding.weight"}
    assert "blocks.1.attention.convolution" not in marked | kept
