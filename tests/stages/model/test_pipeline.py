from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.base import SettingsError
from stages.model.checkpoint import INDEX, Index
from stages.model.distributed import World, joined, said
from stages.model.engine import make_engine
from stages.model.network import Network
from stages.model.parallelize import Parallelism, lay_out
from stages.model.pipelined import PipelinedEngine
from tests.stages.model import ranks
from tests.stages.model.torch_pipeline import torch_passes
from tests.stages.model.training import SIZES, VOCABULARY, Way, digest, make, resumed, share, train, trained

DEEP = replace(SIZES, num_layers=4)
UNTIED = replace(DEEP, tie_embeddings=False)
MIXED = replace(DEEP, layers="deltanet,attention")
PLAIN = {
    "tied": Way(sizes=DEEP),
    "untied": Way(sizes=UNTIED, z_loss=1e-2),
    "mixed": Way(sizes=MIXED, documents=True),
    "muon": Way(settings={"optimizer": "muon"}, sizes=DEEP),
}


def over(like: str, pipeline: int = 2, **parallelism: Any) -> tuple[str, Way]:
    """One of the plain ways, over a pipeline."""
    return like, replace(PLAIN[like], parallelism=Parallelism(pipeline_parallel=pipeline, **parallelism))


TWO = [
    over("tied"),
    over("untied", stages_per_rank=2, checkpoint_activations=True),
    over("mixed", stages_per_rank=2),
    over("muon"),
]
FOUR = [
    over("tied", 4),
    over("tied"),
    over("untied", zero_stage=1, stages_per_rank=2),
    over("mixed", zero_stage=3),
    over("untied", tensor_parallel=2),
    over("tied", sequence_parallel=2),
]


@pytest.fixture(scope="module")
def plain() -> dict[str, list[tuple[float, float]]]:
    """Twenty steps of one process."""
    (found,) = ranks.run(1, trained, list(PLAIN.values()))
    return dict(zip(PLAIN, found, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(("size", "ways"), [(2, TWO), (4, FOUR)])
def test_every_pipeline_is_one_process(
    size: int, ways: list[tuple[str, Way]], plain: dict[str, list[tuple[float, float]]]
) -> None:
    """20 steps over pipelines, alone and with each other layout: on all ranks the losses of one process to 1e-6, and the norms."""
    for answer in ranks.run(size, trained, [way for _, way in ways]):
        for (like, way), steps in zip(ways, answer, strict=True):
            assert [s[0] for s in steps] == pytest.approx([e[0] for e in plain[like]], rel=1e-6), way
            assert [s[1] for s in steps] == pytest.approx([e[1] for e in plain[like]], rel=1e-4), way


def beside_torch(world: World, each: int) -> tuple[float, float, float]:
    """Loss by us and by torch's own pipeline on the last stage, and the largest difference of a gradient, on this rank."""
    engine = make(world, replace(over("untied", stages_per_rank=each)[1], z_loss=0.0))
    assert isinstance(engine, PipelinedEngine)
    batch = share(engine, 1)
    taken = engine.measure(batch, 1)
    ours = {name: gradient.clone() for name, gradient in engine._local_gradients().items()}
    engine.discard()
    loss = torch_passes(engine, batch, taken.num_tokens)()
    theirs = engine._local_gradients()
    assert ours.keys() == theirs.keys()
    return taken.loss, loss, max(float((ours[n] - theirs[n]).abs().max()) for n in ours)


@pytest.mark.parametrize("each", [1, 2])
def test_gradients_are_those_of_torchs_pipeline(each: int) -> None:
    """One batch through the same stages by `torch.distributed.pipelining`: the same loss, and gradients to fp32's precision."""
    found = ranks.run(2, beside_torch, each)
    assert found[0][0] == found[1][0] == pytest.approx(found[1][1], rel=1e-6)
    assert max(difference for _, _, difference in found) < 1e-7


@pytest.mark.slow
def test_a_run_goes_on_under_any_pipeline(tmp_path: Path) -> None:
    """Saved by 1, by a pipeline of 2 with ZeRO and by one of 4, and gone on with under another: the unbroken run's losses."""
    (expected,) = ranks.run(1, trained, [PLAIN["tied"]])
    losses = [loss for loss, _ in expected[0]]
    chain = [
        (1, PLAIN["tied"]),
        (4, over("tied", zero_stage=1, stages_per_rank=2)[1]),
        (4, over("tied", 4)[1]),
        (2, over("tied")[1]),
    ]
    done = 0
    for last, (size, way) in zip(range(3, 13, 3), chain, strict=True):
        found = ranks.run(size, resumed, way, tmp_path, last)
        assert all(f[0] == pytest.approx(losses[done:last], rel=1e-6) for f in found), way
        done = last
    index = Index.model_validate_json((tmp_path / "step-000012" / INDEX).read_text())
    assert index.grid == {"pipeline": 2, "data": 1, "tensor": 1}
    assert {n: index.cut(f"weights/{n}").stage for n in ("embedding.weight", "norm.weight")} == {
        "embedding.weight": 0,
        "norm.weight": 1,
    }
    assert index.tensors.keys() == {f"{kind}/{n}" for kind in ("weights", "exp_avg", "exp_avg_sq") for n in names()}


def names() -> list[str]:
    """The parameters of the whole network."""
    return [name for name, _ in Network(DEEP).named_parameters()]


@pytest.mark.slow
def test_what_a_pipeline_saved_is_to_the_bit_what_is_loaded(tmp_path: Path) -> None:
    """A pipeline of 2 without ZeRO that reads the checkpoint of a 2 x 2 with it writes the same numbers."""
    saved = ranks.run(4, resumed, over("tied", zero_stage=1)[1], tmp_path, 2)[0][1]
    ranks.run(2, read_and_saved, over("tied")[1], tmp_path)
    assert digest(tmp_path / "step-000002") == saved


def read_and_saved(world: World, way: Way, folder: Path) -> None:
    """Load the newest checkpoint and save it again."""
    resumed(world, way, folder, 2)


def measured(world: World, way: Way) -> tuple[float, list[float], bool]:
    """The loss of a batch with documents, measured twice without a gradient, and whether shared weights stay alike."""
    engine = make(world, way)
    train(engine, way, 1, 3)
    batch = share(engine, 9, documents=True)
    found = torch.zeros(2, dtype=torch.float64)
    with torch.no_grad():
        for i, size in enumerate((2, 3)):  # another size than that of a micro-batch
            inputs_BT, targets_BT, documents_BT = batch.rows(0, size, torch.device("cpu"))
            found[i] = engine.network(inputs_BT, targets_BT, "sum", documents_BT)
    weights = dict(engine.network.named_parameters())
    tables = said(repr(weights["embedding.weight"].tolist()) if "embedding.weight" in weights else "", *pair(engine))
    alike = len({words for words in tables if words}) == 1
    taken = engine.measure(share(engine, 10), 10)
    engine.discard()
    return taken.loss, engine.world.sum(found).tolist(), alike


def pair(engine: Any) -> tuple[Any, torch.device]:
    """The pipeline's group, or that of one process."""
    return engine.layout.pipeline or torch.distributed.group.WORLD, torch.device("cpu")


@pytest.mark.parametrize("each", [1, 2])
def test_measurements_need_no_schedule(each: int) -> None:
    """A pipeline called as one network gives its losses without a gradient, for any batch; the shared table stays one."""
    (expected,) = ranks.run(1, measured, PLAIN["tied"])
    for found in ranks.run(2, measured, over("tied", stages_per_rank=each)[1]):
        assert found[0] == pytest.approx(expected[0], rel=1e-6)
        assert found[1] == pytest.approx(expected[1], rel=1e-6)
        assert found[2]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"stages_per_rank": 2}, "stages_per_rank 2 belongs to a pipeline: set pipeline_parallel"),
        ({"pipeline_parallel": 2}, "pipeline_parallel 2 does not divide 1 ranks"),
        ({"pipeline_parallel": 4, "stages_per_rank": 2}, "needs a layer each, found 4"),
    ],
)
def test_a_pipeline_that_does_not_fit_is_refused(wanted: dict[str, int], words: str) -> None:
    """Too few ranks or layers are said in words, before anything is made."""
    with joined() as world, pytest.raises(SettingsError, match=words):
        lay_out(world, Parallelism(**wanted), DEEP)


def test_sophia_is_refused() -> None:
    """Its labels need the whole network: a settings error says what to set."""
    with joined() as world:
        layout = replace(lay_out(world, Parallelism(), DEEP), parallelism=Parallelism(pipeline_parallel=2))
        wanted = make(world, Way(settings={"optimizer": "sophia"})).optimization
        with pytest.raises(SettingsError, match="sophia .* set sequence_parallel=1 and pipeline_parallel=1"):
            make_engine(Network(DEEP), wanted, layout)


def test_every_rank_hears_what_all_say() -> None:
    """Words of any length and script come back in the order of the ranks."""
    words = ["", "zwei", "三 " * VOCABULARY]
    assert ranks.run(3, heard, words) == [words] * 3


def heard(world: World, words: list[str]) -> list[str]:
    """What all ranks say, each its own words."""
    group = torch.distributed.group.WORLD
    assert group is not None
    return said(words[world.rank], group, world.device)
