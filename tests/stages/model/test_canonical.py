from pathlib import Path

import pytest
import torch

from stages.base import SettingsError
from stages.model.canonical import Subtrees
from stages.model.distributed import World, joined
from stages.model.parallelize import Parallelism
from tests.stages.model import ranks
from tests.stages.model.training import Way, make, resumed, trained

CANONICAL = Way(settings={"canonical_ranks": 4, "micro_batch_sequences": 1})
SHARDED = Way(Parallelism(zero_stage=3, tensor_parallel=2))


@pytest.mark.slow
def test_processes_come_and_go_and_the_bits_stay(tmp_path: Path) -> None:
    """1 process, then 2, then 4, then 1 again: losses, weights and moments are those of one process, to the bit."""
    ((expected, digest),) = ranks.run(1, resumed, CANONICAL, tmp_path / "unbroken", 8)
    found: list[float] = []
    last = ""
    for number, size in enumerate((1, 2, 4, 1), 1):
        (losses, last), *others = ranks.run(size, resumed, CANONICAL, tmp_path / "elastic", 2 * number)
        assert all(other[0] == losses for other in others)
        found += losses
    assert found == expected
    assert last == digest


@pytest.mark.slow
def test_a_layout_goes_on_from_any_other(tmp_path: Path) -> None:
    """Four ranks (ZeRO 3 x tensor), then two (ZeRO 1), then one, each from the other's checkpoint: one process's losses."""
    ((expected, _),) = ranks.run(1, resumed, Way(), tmp_path / "unbroken", 6)
    found: list[float] = []
    for last, size, way in ((2, 4, SHARDED), (4, 2, Way(Parallelism(zero_stage=1))), (6, 1, Way())):
        found += ranks.run(size, resumed, way, tmp_path / "resharded", last)[0][0]
    assert found == pytest.approx(expected, rel=1e-6)


def test_it_is_the_native_engine_but_for_rounding() -> None:
    """Canonical order changes losses in the last digits only; the micro-batch of the settings changes nothing."""
    other = Way(settings={"canonical_ranks": 4, "micro_batch_sequences": 8})
    with joined() as world:
        native, canonical, again = trained(world, [Way(), CANONICAL, other])
    assert [s[0] for s in canonical] == pytest.approx([s[0] for s in native], rel=1e-6)
    assert again == canonical


@pytest.mark.parametrize("leaves", [1, 2, 4, 8, 16])
def test_leaves_are_added_as_a_tree(leaves: int) -> None:
    """The sum of the leaves is that of halves, each summed so, all the way down, to the bit."""

    def tree(numbers: list[torch.Tensor]) -> torch.Tensor:
        half = len(numbers) // 2
        return tree(numbers[:half]) + tree(numbers[half:]) if half else numbers[0]

    numbers = list(torch.randn(leaves, 5, generator=torch.Generator().manual_seed(leaves)) * 1e3)
    subtrees = Subtrees()
    for number in numbers:
        subtrees.add([number.clone()])
    assert torch.equal(subtrees.root()[0], tree(numbers))


@pytest.mark.parametrize(
    ("virtual", "parallelism", "words"),
    [
        (3, Parallelism(), "must be powers of two"),
        (16, Parallelism(), "does not divide index.batch_sequences 8"),
        (4, Parallelism(zero_stage=1), "goes with no ZeRO"),
    ],
)
def test_what_has_no_canonical_order_is_refused(virtual: int, parallelism: Parallelism, words: str) -> None:
    """Other numbers of ranks, and layouts that cut tensors, are settings errors."""
    with joined() as world, pytest.raises(SettingsError, match=words):
        make(world, Way(parallelism, {"canonical_ranks": virtual}))


@pytest.fixture(autouse=True)
def _as_before() -> object:
    """Deterministic kernels are asked for in these tests only."""
    yield
    torch.use_deterministic_algorithms(mode=False)


def test_a_world_alone_hears_itself() -> None:
    """One process sums and broadcasts without a group."""
    alone = World(0, 1, 0, 1, torch.device("cpu"))
    assert alone.sum(torch.tensor([2.0])).tolist() == [2.0]
    assert alone.from_first(3) == 3
