import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch.nn.functional import cross_entropy

from stages.base import SettingsError
from stages.model.distributed import World, joined
from stages.model.engine import Batch, Engine, EngineName, Optimization, TrainingError, make_engine
from stages.model.network import IGNORED, Network, Sizes
from stages.model.optimizers import OptimizerName
from stages.model.parallelize import Parallelism, lay_out
from tests.stages.model import ranks
from tests.stages.model.training import Way, make, resumed, share, train, trained


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One process alone."""
    with joined() as world:
        yield world


SIZES = Sizes.of_depth(1, 40, 16, width=32)
DEEPSPEEDS_OWN = [  # it imports its Muon, compiled, and calls what torch has another name for
    "ignore:.torch.jit.script_method. is deprecated:DeprecationWarning",
    "ignore:`torch.distributed.(all_gather_into_tensor|reduce_scatter_tensor)` is deprecated:FutureWarning",
]
both = pytest.mark.parametrize("name", ["native", "deepspeed"])


def engine(
    world: World, micro_batch_sequences: int = 4, name: EngineName = "native", zero_stage: int = 0, **given: Any
) -> Engine:
    """A new engine over the same first weights."""
    torch.manual_seed(3)
    wanted = Optimization(
        batch_sequences=4,
        micro_batch_sequences=micro_batch_sequences,
        weight_decay=0.1,
        max_gradient_norm=1.0,
        precision="fp32",
        engine=name,
        **given,
    )
    return make_engine(Network(SIZES), wanted, lay_out(world, Parallelism(zero_stage=zero_stage), SIZES))


def weights(ours: Engine) -> torch.Tensor:
    """All weights in one row, whatever the network holds of them while it rests."""
    found = {name: piece.local for name, piece in ours.state().items() if name.startswith("weights/")}
    return torch.cat([found[f"weights/{name}"].flatten().clone() for name, _ in ours.network.named_parameters()])


def batch(*scored: int) -> Batch:
    """Sequences of 16 tokens of which the first `scored` count."""
    chance = torch.Generator().manual_seed(7)
    windows_BT = torch.randint(0, 40, (len(scored), 17), generator=chance)
    targets_BT = windows_BT[:, 1:].clone()
    for row, count in enumerate(scored):
        targets_BT[row, count:] = IGNORED
    return Batch(windows_BT[:, :-1], targets_BT)


@both
def test_every_scored_token_weighs_the_same(name: EngineName, world: World) -> None:
    """Where sequences are filled to different lengths, loss and gradient are those of the mean over all scored tokens."""
    ours, some = engine(world, 1, name), batch(16, 2, 9, 0)
    twin = copy.deepcopy(ours.network)
    logits = twin.logits(some.inputs_BT).flatten(0, 1)
    expected = cross_entropy(logits, some.targets_BT.flatten(), ignore_index=IGNORED)
    expected.backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in twin.parameters() if p.grad is not None])
    taken = ours.step(some, 0.01, 1)
    assert taken.loss == pytest.approx(float(expected.detach()), rel=1e-6)
    assert taken.gradient_norm == pytest.approx(float(norm), rel=1e-5)
    assert taken.num_tokens == 27


def test_micro_batches_with_empty_places_are_the_batch(world: World) -> None:
    """One sequence at a time or all at once: the same weights after two steps but for rounding."""
    found = []
    for micro in (1, 4):
        ours = engine(world, micro)
        for step in (1, 2):
            ours.step(batch(16, 5, 9, 1), 0.01, step)
        found.append(weights(ours))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


@both
def test_documents_reach_the_network(name: EngineName, world: World) -> None:
    """With documents given, the loss is that of a mask, and another than without."""
    ours, some = engine(world, name=name), batch(16, 16, 16, 16)
    documents_BT = (torch.arange(16) // 4).expand(4, 16)
    with torch.no_grad():
        masked = ours.network(some.inputs_BT, some.targets_BT, "mean", documents_BT)
        causal = ours.network(some.inputs_BT, some.targets_BT)
    assert ours.step(some._replace(documents_BT=documents_BT), 0.0, 1).loss == pytest.approx(float(masked), rel=1e-6)
    assert float(masked) != pytest.approx(float(causal), rel=1e-6)


@both
@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
def test_a_restored_engine_goes_on_to_the_same_bits(optimizer: OptimizerName, name: EngineName, world: World) -> None:
    """Under every optimizer, a new engine with the state after 11 steps takes the steps that the first one takes."""
    first, second = (engine(world, name=name, optimizer=optimizer) for _ in range(2))
    for step in range(1, 12):
        first.step(batch(16, 5, 9, 16), 0.01, step)
    state = second.state()
    for key, piece in first.state().items():
        assert piece.local.dtype == torch.float32
        state[key].local.copy_(piece.local)
    second.restore(state, 11)
    for step in range(12, 24):
        taken, again = (e.step(batch(16, 16, 3, 16), 0.01, step) for e in (first, second))
        assert taken == again
    assert all(torch.equal(piece.local, second.state()[key].local) for key, piece in first.state().items())


@both
@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
def test_every_optimizer_learns(optimizer: OptimizerName, name: EngineName, world: World) -> None:
    """Forty steps on one batch more than halve its loss."""
    ours = engine(world, name=name, optimizer=optimizer)
    losses = [ours.step(batch(16, 16, 16, 16), 0.01, step).loss for step in range(1, 41)]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("name", ["muon", "sophia", "soap"])
def test_optimizers_that_need_whole_weights_refuse_shards(name: OptimizerName, world: World) -> None:
    """ZeRO 1 with any optimizer but AdamW is a settings error that says what to set."""
    with pytest.raises(SettingsError, match=f"pretrain.optimizer {name} .* set zero_stage=0 .*, found 1 and 1"):
        engine(world, optimizer=name, zero_stage=1)


def test_the_curvature_is_that_of_drawn_labels(world: World) -> None:
    """Sophia's first estimate is a hundredth of B g^2, g the gradient of the mean loss on labels of the network's own."""
    ours, some = engine(world, micro_batch_sequences=2, optimizer="sophia"), batch(16, 3, 16, 16)
    twin = copy.deepcopy(ours.network)
    inputs_BT, targets_BT = some.inputs_BT[:2], some.targets_BT[:2]
    drawn_BT = twin.draw(inputs_BT, None, torch.Generator().manual_seed(0))
    logits = twin.logits(inputs_BT)[targets_BT != IGNORED]
    cross_entropy(logits, drawn_BT[targets_BT != IGNORED]).backward()
    ours.step(some, 0.0, 1)
    for name, parameter in twin.named_parameters():
        assert parameter.grad is not None
        found = ours.state()[f"curvature/{name}"].local
        torch.testing.assert_close(found, 0.01 * 19 * parameter.grad.square(), rtol=1e-3, atol=1e-9)


@both
def test_an_estimate_of_a_discarded_step_leaves_no_trace(name: EngineName, world: World) -> None:
    """Sophia's curvature is taken in when the step is applied, once, however often it was measured before."""
    ours, other = engine(world, name=name, optimizer="sophia"), engine(world, name=name, optimizer="sophia")
    for _ in range(2):
        ours.measure(batch(4, 4, 4, 4), 1)
        ours.discard()
    for one in (ours, other):
        one.step(batch(16, 16, 16, 16), 0.01, 1)
    assert all(torch.equal(piece.local, other.state()[key].local) for key, piece in ours.state().items())


def test_a_batch_in_parts_is_several_updates(world: World) -> None:
    """Two halves learned from one after the other are the two updates, whatever the micro-batch; parts that do not split are refused."""
    whole = batch(16, 5, 9, 1)
    parts = [Batch(whole.inputs_BT[rows], whole.targets_BT[rows]) for rows in (slice(0, 2), slice(2, 4))]
    weights = []
    for micro in (1, 4):
        ours = engine(world, micro, batch_parts=2)
        assert ours.micro == min(micro, 2)
        for part in parts:
            ours.step(part, 0.01, 1)
        weights.append(torch.cat([p.detach().flatten() for p in ours.network.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-4, atol=1e-5)
    with pytest.raises(SettingsError, match="4 sequences a rank do not split into 8 equal updates"):
        engine(world, batch_parts=8)


def test_a_step_is_adamw_on_the_mean_loss(world: World) -> None:
    """Three steps are those of AdamW in float64, moments, decay and clipping included, to fp32's precision."""
    ours = engine(world)
    twin = copy.deepcopy(ours.network).double()
    decayed = [p for n, p in twin.named_parameters() if p.ndim == 2 and n != "embedding.weight"]
    rest = [p for n, p in twin.named_parameters() if p.ndim < 2 or n == "embedding.weight"]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    theirs = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.95), eps=1e-8, foreach=False)
    for step in (1, 2, 3):
        some = batch(16, 16, 7, step)
        logits = twin.logits(some.inputs_BT).flatten(0, 1)
        theirs.zero_grad()
        cross_entropy(logits, some.targets_BT.flatten(), ignore_index=IGNORED).backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
        theirs.step()
        ours.step(some, 0.01, step)
    expected = torch.cat([p.detach().flatten() for p in twin.parameters()])
    torch.testing.assert_close(weights(ours).double(), expected, rtol=1e-3, atol=2e-5)


@both
@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
@pytest.mark.filterwarnings(*DEEPSPEEDS_OWN)
def test_a_measured_gradient_can_be_left(name: EngineName, zero_stage: int, world: World) -> None:
    """`measure` changes no weight; after `discard` the next step is what it would have been; a tighter clip moves less."""
    ours, other = engine(world, 2, name, zero_stage), engine(world, 2, name, zero_stage)
    before = weights(ours)
    for _ in range(2):
        assert ours.measure(batch(4, 4, 4, 4), 1).loss > 0
        assert torch.equal(weights(ours), before)
        ours.discard()
    assert ours.step(batch(16, 5, 9, 1), 0.01, 1) == other.step(batch(16, 5, 9, 1), 0.01, 1)
    assert torch.equal(weights(ours), weights(other))
    moments = {}
    for one, limit in ((ours, 1e-3), (other, 1e-1)):
        one.measure(batch(16, 5, 9, 1), 2)
        one.apply(0.01, limit)
        moments[limit] = sum(float(p.local.norm()) for n, p in one.state().items() if n.startswith("exp_avg/"))
    assert moments[1e-3] < moments[1e-1]


@both
def test_what_is_not_finite_changes_nothing(name: EngineName, world: World) -> None:
    """A NaN in the weights is an error that names the step, before any other weight is spoiled."""
    ours = engine(world, name=name)
    with torch.no_grad():
        ours.network.norm.weight[0] = float("nan")
    before = weights(ours).nan_to_num(7.0)
    with pytest.raises(TrainingError, match="step 9: the loss is nan"):
        ours.step(batch(16, 16, 16, 16), 0.01, 9)
    assert torch.equal(weights(ours).nan_to_num(7.0), before)


@pytest.mark.parametrize("name", ["native", "deepspeed"])
def test_engines_go_on_from_each_other(name: EngineName, world: World) -> None:
    """State is named by parameter in both: after two steps of one engine the other takes the third as it would."""
    first, second = engine(world), engine(world, name=name)
    for step in (1, 2):
        first.step(batch(16, 16, 16, step), 0.01, step)
    state = second.state()
    assert state.keys() == first.state().keys()
    for key, piece in first.state().items():
        state[key].local.copy_(piece.local)
    second.restore(state, 2)
    first.step(batch(16, 16, 16, 3), 0.01, 3)
    second.step(batch(16, 16, 16, 3), 0.01, 3)
    torch.testing.assert_close(weights(second), weights(first), rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_two_ranks_of_deepspeed_are_one_process() -> None:
    """ZeRO 0 to 3 on two ranks give the losses of the native engine alone, to 1e-6, and measure as it does between steps."""
    ways = [Way(Parallelism(zero_stage=stage), {"engine": "deepspeed"}) for stage in range(4)]
    (expected,) = ranks.run(1, measured_between, [Way()])
    for answer in ranks.run(2, measured_between, ways):
        for way, (losses, norms) in zip(ways, answer, strict=True):
            assert losses == pytest.approx(expected[0][0], rel=1e-6), way
            assert norms == pytest.approx(expected[0][1], rel=1e-4), way


def measured_between(world: World, ways: list[Way]) -> list[tuple[list[float], list[float]]]:
    """Losses and norms of twenty steps in each way; before every fifth, the loss of a batch without a gradient, too."""
    found = []
    for way in ways:
        ours, losses, norms = make(world, way), [], []
        for step in range(1, 21):
            if step % 5 == 0:
                some = share(ours, 99)
                with torch.no_grad():
                    losses.append(float(ours.world.sum(ours.network(some.inputs_BT, some.targets_BT, "sum").double())))
            ((loss, norm),) = train(ours, way, step, step)
            losses.append(loss)
            norms.append(norm)
        found.append((losses, norms))
    return found


@pytest.mark.slow
def test_a_run_goes_on_under_another_engine(tmp_path: Path) -> None:
    """Two ranks of DeepSpeed with ZeRO 3, one native process, then ZeRO 2: each goes on from the one before, as one run."""
    ((steps,),) = ranks.run(1, trained, [Way()])
    chain = [(2, 3), (1, 0), (2, 2)]
    for last, (size, stage) in zip(range(3, 10, 3), chain, strict=True):
        way = Way(Parallelism(zero_stage=stage), {"engine": "deepspeed" if size > 1 else "native"})
        for losses, _ in ranks.run(size, resumed, way, tmp_path, last):
            assert losses == pytest.approx([loss for loss, _ in steps[last - 3 : last]], rel=1e-6), way


def test_deepspeed_says_what_it_does_not_do(world: World) -> None:
    """Cutting layers or heads is the native engine's: a settings error that says so."""
    layout = replace(lay_out(world, Parallelism(), SIZES), parallelism=Parallelism(tensor_parallel=2))
    with pytest.raises(SettingsError, match="data ranks only .* set pretrain.engine=native"):
        make_engine(Network(SIZES), replace(engine(world).optimization, engine="deepspeed"), layout)
