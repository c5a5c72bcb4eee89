import copy
from collections.abc import Iterator

import pytest
import torch
from torch.nn.functional import cross_entropy

from stages.model.distributed import World, joined
from stages.model.engine import Batch, Engine, Optimization
from stages.model.network import IGNORED, Network, Sizes


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One process alone."""
    with joined() as world:
        yield world


def engine(world: World, micro_batch_sequences: int = 4) -> Engine:
    """A new engine over the same first weights."""
    torch.manual_seed(3)
    wanted = Optimization(
        batch_sequences=4,
        micro_batch_sequences=micro_batch_sequences,
        weight_decay=0.1,
        max_gradient_norm=1.0,
        precision="fp32",
        zero_stage=0,
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
