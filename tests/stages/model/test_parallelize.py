from dataclasses import replace

import pytest

from stages.model.parallelize import Parallelism
from tests.long import when_asked
from tests.stages.model import ranks
from tests.stages.model.training import SIZES, Way, trained

PLAIN = [Way(), Way(documents=True)]
TWO = [
    Way(Parallelism(zero_stage=0)),
    Way(Parallelism(zero_stage=1)),
    Way(Parallelism(zero_stage=2)),
    Way(Parallelism(zero_stage=3)),
    Way(Parallelism(tensor_parallel=2)),
    Way(Parallelism(sequence_parallel=2)),
    Way(Parallelism(zero_stage=3, checkpoint_activations=True)),
]
FOUR = [
    Way(Parallelism(zero_stage=0)),
    Way(Parallelism(zero_stage=3)),
    Way(Parallelism(zero_stage=0, tensor_parallel=2)),
    Way(Parallelism(zero_stage=2, tensor_parallel=2)),
    Way(Parallelism(zero_stage=1, sequence_parallel=2)),
    Way(Parallelism(zero_stage=3, tensor_parallel=2, sequence_parallel=2), documents=True),
    Way(Parallelism(tensor_parallel=4)),
    Way(Parallelism(sequence_parallel=4), documents=True),
]


COMPILED = [
    Way(Parallelism(compile=True)),
    Way(Parallelism(compile=True, zero_stage=1)),
    Way(Parallelism(compile=True, pipeline_parallel=2)),
    Way(Parallelism(compile=True, checkpoint_activations=True)),
]


@pytest.fixture(scope="module")
def plain() -> dict[bool, list[tuple[float, float]]]:
    """Twenty steps of one process, without and with documents."""
    ((without, with_documents),) = ranks.run(1, trained, PLAIN)
    return {False: without, True: with_documents}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "ways"), [(2, TWO), (4, FOUR), pytest.param(2, COMPILED, marks=when_asked("test-compile"))]
)
def test_every_layout_is_one_process(size: int, ways: list[Way], plain: dict[bool, list[tuple[float, float]]]) -> None:
    """20 steps on 2 and on 4 ranks, under every layout: on all ranks the losses of one process to 1e-6, and the norms."""
    for answer in ranks.run(size, trained, ways):
        for way, steps in zip(ways, answer, strict=True):
            expected = plain[way.documents]
            assert [s[0] for s in steps] == pytest.approx([e[0] for e in expected], rel=1e-6), way
            assert [s[1] for s in steps] == pytest.approx([e[1] for e in expected], rel=1e-4), way


def test_all_that_does_not_fit_is_said_at_once() -> None:
    """A layout that divides neither ranks nor heads nor tokens is refused with a line for each."""
    problems = Parallelism(tensor_parallel=3, sequence_parallel=5).problems(SIZES, 8)
    assert [p.partition(" does not divide ")[2] for p in problems] == [
        "8 ranks",
        "8 query heads and 4 key-value heads",
        "the hidden width 64",
        "the 16 tokens of a sequence",
    ]
    assert Parallelism(tensor_parallel=2, sequence_parallel=2).problems(SIZES, 8) == []


def test_what_is_not_cut_over_heads_is_refused() -> None:
    """Linear attention, and norms that all heads share, are said not to go with what cuts them."""
    (linear,) = Parallelism(sequence_parallel=2).problems(replace(SIZES, layers="attention,deltanet"), 2)
    (norms,) = Parallelism(tensor_parallel=2).problems(replace(SIZES, qk_norm=True), 2)
    assert "linear attention" in linear
    assert "qk_norm" in norms
    assert Parallelism(sequence_parallel=2).problems(replace(SIZES, qk_norm=True), 2) == []
