import copy
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import torch
from torch.nn.functional import cross_entropy

from stages.base import SettingsError
from stages.model.distributed import World, joined
from stages.model.engine import Batch, Engine, Optimization
from stages.model.network import IGNORED, Network, Sizes
from stages.model.optimizers import OptimizerName


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One process alone."""
    with joined() as world:
        yield world


def engine(world: World, micro_batch_sequences: int = 4, **given: Any) -> Engine:
    """A new engine over the same first weights."""
    torch.manual_seed(3)
    wanted = Optimization(
        batch_sequences=4,
        micro_batch_sequences=micro_batch_sequences,
        weight_decay=0.1,
        max_gradient_norm=1.0,
        precision="fp32",
        **{"zero_stage": 0, **given},
    )
    return Engine(Network(Sizes.of_depth(1, 40, 16, width=32)), wanted, world)


def batch(*scored: int) -> Batch:
    """Sequences of 16 tokens of which the first `scored` count."""
    chance = torch.Generator().manual_seed(7)
    windows_BT = torch.randint(0, 40, (len(scored), 17), generator=chance)
    targets_BT = windows_BT[:, 1:].clone()
    for row, count in enumerate(scored):
        targets_BT[row, count:] = IGNORED
    return Batch(windows_BT[:, :-1], targets_BT)


def test_every_scored_token_weighs_the_same(world: World) -> None:
    """Where sequences are filled to different lengths, loss and gradient are those of the mean over all scored tokens."""
    ours, some = engine(world, micro_batch_sequences=1), batch(16, 2, 9, 0)
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
    weights = []
    for micro in (1, 4):
        ours = engine(world, micro)
        for step in (1, 2):
            ours.step(batch(16, 5, 9, 1), 0.01, step)
        weights.append(torch.cat([p.detach().flatten() for p in ours.network.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-4, atol=1e-5)


def test_documents_reach_the_network(world: World) -> None:
    """With documents given, the loss is that of a mask, and another than without."""
    ours, some = engine(world), batch(16, 16, 16, 16)
    documents_BT = (torch.arange(16) // 4).expand(4, 16)
    with torch.no_grad():
        masked = ours.network(some.inputs_BT, some.targets_BT, "mean", documents_BT)
        causal = ours.network(some.inputs_BT, some.targets_BT)
    assert ours.step(some._replace(documents_BT=documents_BT), 0.0, 1).loss == pytest.approx(float(masked), rel=1e-6)
    assert float(masked) != pytest.approx(float(causal), rel=1e-6)


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_a_restored_engine_goes_on_to_the_same_bits(name: OptimizerName, world: World) -> None:
    """Under every optimizer, a new engine with the state after 11 steps takes the steps that the first one takes."""
    first, second = (engine(world, optimizer=name) for _ in range(2))
    for step in range(1, 12):
        first.step(batch(16, 5, 9, 16), 0.01, step)
    state = {key: value.clone() for key, value in first.state().items()}
    assert all(value.dtype == torch.float32 for value in state.values())
    second.restore(state, 11)
    for step in range(12, 24):
        taken, again = (e.step(batch(16, 16, 3, 16), 0.01, step) for e in (first, second))
        assert taken == again
    assert all(torch.equal(value, second.state()[key]) for key, value in first.state().items())


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_every_optimizer_learns(name: OptimizerName, world: World) -> None:
    """Forty steps on one batch more than halve its loss."""
    ours = engine(world, optimizer=name)
    losses = [ours.step(batch(16, 16, 16, 16), 0.01, step).loss for step in range(1, 41)]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("name", ["muon", "sophia", "soap"])
def test_optimizers_that_need_whole_weights_refuse_shards(name: OptimizerName, world: World) -> None:
    """ZeRO 1 with any optimizer but AdamW is a settings error that says what to set."""
    with pytest.raises(SettingsError, match=f"pretrain.optimizer {name} .* set pretrain.zero_stage=0, found 1"):
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
        found = ours.state()[f"curvature/{name}"]
        torch.testing.assert_close(found, 0.01 * 19 * parameter.grad.square(), rtol=1e-3, atol=1e-9)


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
