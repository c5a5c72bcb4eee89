import math

import numpy as np
import pytest
import torch
from torch import nn

from stages.pretrain.health.monitors import compared, complaints, first_not_finite, parameters, sampled


def stepped(weight: torch.Tensor, update: float) -> list[tuple[str, torch.Tensor]]:
    """The tensor after an update of all its elements, in its own format."""
    return [("norm.weight", weight + torch.full_like(weight, update))]


def test_bf16_norms_at_one_stand_still() -> None:
    """An update of 1e-5 changes no bf16 weight of 1.0 and all fp32 ones: the first is complained of."""
    for kind, changed in ((torch.bfloat16, 0.0), (torch.float32, 1.0)):
        weight = torch.ones(300, dtype=kind)
        rows = compared(7, sampled([("norm.weight", weight)]), sampled(stepped(weight, 1e-5)))
        assert rows[0].changed_fraction == changed
        assert len(list(complaints(rows))) == (changed == 0.0)


def test_the_last_place_is_numpys_spacing() -> None:
    """The median update in last places is what NumPy's spacing gives, from tiny weights to large ones."""
    chance = np.random.default_rng(0)
    before = (chance.normal(size=500) * 10.0 ** chance.integers(-38, 6, 500)).astype(np.float32)
    after = (before * np.float32(1.001)).astype(np.float32)
    expected = np.median(np.abs(after.astype(np.float64) - before) / np.spacing(np.abs(before)).astype(np.float64))
    row = compared(1, sampled([("w", torch.from_numpy(before))]), sampled([("w", torch.from_numpy(after))]))[0]
    assert row.ulp_ratio == pytest.approx(expected, rel=0.02)  # Torch takes the lower of two middle values


def test_rows_that_stay_are_dead_embeddings() -> None:
    """Of an embedding of which a quarter of the rows is updated, three quarters are dead; other tensors have no such number."""
    table = torch.randn(400, 16)
    after = table.clone()
    after[::4] += 0.1
    rows = compared(
        1, sampled([("embedding.weight", table), ("w", table)]), sampled([("embedding.weight", after), ("w", after)])
    )
    assert rows[0].dead_fraction == pytest.approx(0.75)
    assert rows[1].dead_fraction is None
    assert rows[0].num_sampled == 400 * 8


def test_a_sample_is_small_and_a_copy() -> None:
    """Of a matrix of millions no more than 4,096 elements are kept, and they do not change with it."""
    network = nn.Linear(3000, 2000, bias=True)
    one, two = sampled(parameters(network))
    assert one.values.numel() <= 4096
    assert two.values.numel() == 2000
    before = one.values.clone()
    with torch.no_grad():
        network.weight.zero_()
    assert torch.equal(one.values, before)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_first_tensor_that_is_not_finite(value: float) -> None:
    """The first in the order given, with how many of its elements; none where all are finite, however large."""
    fine, large, bad = torch.ones(5), torch.full((5,), 3e38), torch.ones(5)
    bad[2] = value
    assert first_not_finite([("a", fine), ("b", large)]) is None
    assert first_not_finite([("a", fine), ("b", bad), ("c", bad)]) == "b: 1 of 5 elements are not finite"
