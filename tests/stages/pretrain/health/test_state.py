import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.pretrain.health.state import Tensors, impossible, reach

BETAS = (0.9, 0.95)


def trained(gradients: list[torch.Tensor]) -> Tensors:
    """A tensor and AdamW's moments of it after these gradients."""
    weight = torch.nn.Parameter(torch.zeros_like(gradients[0]))
    optimizer = torch.optim.AdamW([weight], lr=1e-3, betas=BETAS)
    for gradient in gradients:
        weight.grad = gradient
        optimizer.step()
    state = optimizer.state[weight]
    return Tensors("block.weight", weight.detach(), state["exp_avg"], state["exp_avg_sq"])


def noise(num_steps: int = 20) -> Tensors:
    """After gradients of pure chance."""
    chance = torch.Generator().manual_seed(0)
    return trained([torch.randn(64, 32, generator=chance) for _ in range(num_steps)])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=4, max_size=4), min_size=1, max_size=30))
def test_no_gradients_make_an_impossible_state(gradients: list[list[float]]) -> None:
    """Whatever the gradients were, sparse or of any size, AdamW's own state passes."""
    assert impossible([trained([torch.tensor(g) for g in gradients])], BETAS) is None


def test_the_reach_is_the_largest_ratio_and_can_be_reached() -> None:
    """Gradients in proportion to (b1/b2)^age, where Cauchy and Schwarz have equality, come to the bound and no further."""
    age = np.arange(400, dtype=np.float64)
    gradients = (BETAS[0] / BETAS[1]) ** age
    first = (1 - BETAS[0]) * (BETAS[0] ** age * gradients).sum()
    second = (1 - BETAS[1]) * (BETAS[1] ** age * gradients**2).sum()
    assert first / math.sqrt(second) == pytest.approx(reach(BETAS), rel=1e-9)


def test_healthy_state_is_possible() -> None:
    """Twenty steps of noise leave nothing to complain of, and tensors without moments are judged by their weights."""
    assert impossible([noise(), noise()._replace(first=None, second=None)], BETAS) is None


@pytest.mark.parametrize(
    ("which", "bit", "words"),
    [
        ("weight", 30, "a weight"),
        ("first", 30, "first moment"),
        ("second", 31, "negative"),
        ("second", 29, "first moment"),
    ],
)
def test_a_flipped_bit_is_found(which: str, bit: int, words: str) -> None:
    """The top bit of an exponent, the sign of a variance, or a variance made tiny, in one element of 2,048."""
    tensors = noise()
    flat = getattr(tensors, which).view(torch.int32).view(-1)
    flat[777] ^= 1 << bit if bit < 31 else -(1 << 31)
    found = impossible([noise()._replace(name="other"), tensors], BETAS)
    assert found is not None
    assert found.startswith("block.weight")
    assert words in found


@pytest.mark.parametrize("which", ["weight", "first", "second"])
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_what_is_not_finite_is_found(which: str, value: float) -> None:
    """In a weight or in a moment."""
    tensors = noise()
    getattr(tensors, which)[3, 5] = value
    assert "not finite" in (impossible([tensors], BETAS) or "")
