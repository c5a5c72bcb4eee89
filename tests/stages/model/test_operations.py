"""Each operation and its gradient against the formula in float64."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from stages.model import operations
from stages.model.network import RMSNorm
from stages.model.operations import IGNORED, linear_cross_entropy, rms_norm, rotate


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Numbers to learn from."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def gradients(value: Tensor, *of: Tensor) -> tuple[Tensor, ...]:
    """Of a weighted sum, so that every element counts differently."""
    weights = torch.randn(value.shape, generator=torch.Generator().manual_seed(9)).to(value.dtype)
    return torch.autograd.grad((value * weights).sum(), of)


@pytest.mark.parametrize("shape", [(5, 16), (2, 3, 4, 8)])
def test_rms_norm_is_the_formula(shape: tuple[int, ...]) -> None:
    """RMSNorm and its gradient are those of x / sqrt(mean(x^2) + eps) * weight in float64."""
    x, weight = normal(*shape), normal(shape[-1], seed=1)
    ours = rms_norm(x * 3, weight, 1e-5)
    wide, wide_weight = (t.detach().double().requires_grad_() for t in (x, weight))
    y = wide * 3
    expected = y / (y.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * wide_weight
    torch.testing.assert_close(ours.double(), expected, rtol=1e-6, atol=1e-6)
    for found, right in zip(gradients(ours, x, weight), gradients(expected, wide, wide_weight), strict=True):
        torch.testing.assert_close(found.double(), right, rtol=1e-5, atol=1e-5)


def test_rms_norm_of_transposed_heads() -> None:
    """Heads that are a view of the width are normalised one by one, and so is their gradient."""
    x, weight = normal(2, 5, 12), normal(4, seed=1)
    heads = rms_norm(x.view(2, 5, 3, 4).transpose(1, 2), weight, 1e-5)
    plain = torch.nn.functional.rms_norm(x.view(2, 5, 3, 4).transpose(1, 2), (4,), weight, 1e-5)
    torch.testing.assert_close(heads, plain)
    for found, right in zip(gradients(heads, x, weight), gradients(plain, x, weight), strict=True):
        torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-6)


def test_rms_norm_gives_what_products_take() -> None:
    """A bf16 stream stays bf16; under autocast an fp32 stream gives bf16, rounded once; else fp32 stays fp32."""
    norm, x = RMSNorm(64, 1e-5), torch.randn(4, 64)
    assert norm(x.bfloat16()).dtype == torch.bfloat16
    exact = norm(x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = norm(x)
    assert (exact.dtype, rounded.dtype) == (torch.float32, torch.bfloat16)
    assert torch.equal(exact.bfloat16(), rounded)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_of_a_rotation_is_that_of_autograd(dtype: torch.dtype) -> None:
    """Forward and backward are what autograd makes of x cos + (-x2, x1) sin, in the type of the input."""
    x_BHTS = normal(2, 3, 6, 8).detach().to(dtype).requires_grad_()
    angles_TS = torch.rand(6, 4).repeat(1, 2) * 6
    ours = rotate(x_BHTS, angles_TS.cos(), angles_TS.sin())
    first, second = x_BHTS.float().chunk(2, -1)
    plain = (x_BHTS.float() * angles_TS.cos() + torch.cat((-second, first), -1) * angles_TS.sin()).to(dtype)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, plain)
    (found,), (right,) = gradients(ours, x_BHTS), gradients(plain, x_BHTS)
    atol = 1e-6 if dtype == torch.float32 else 0.02  # autograd rounds each of two terms to bf16, ours their sum
    torch.testing.assert_close(found, right, rtol=0, atol=atol)


@pytest.mark.parametrize("z_loss", [0.0, 0.1])
@pytest.mark.parametrize("rows", [1000, 10, 1])
def test_the_head_and_its_loss_are_the_formula(rows: int, z_loss: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows at a time, the loss is the cross entropy and the gradient that of it and the z-loss, in float64."""
    monkeypatch.setitem(operations.LOGITS_BYTES, "cpu", 4 * 23 * rows)
    hidden, weight = normal(33, 12), normal(23, 12, seed=1)
    targets = torch.randint(0, 23, (33,), generator=torch.Generator().manual_seed(2))
    targets[[3, 20, 32]] = IGNORED
    loss = linear_cross_entropy(hidden, weight, targets, z_loss) / 7
    wide, wide_weight = (t.detach().double().requires_grad_() for t in (hidden, weight))
    logits = wide @ wide_weight.T
    entropy = cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum") / 7
    held = z_loss / 7 * logits[targets != IGNORED].logsumexp(-1).square().sum()
    assert float(loss.detach()) == pytest.approx(float(entropy.detach()), rel=1e-6)
    expected = torch.autograd.grad(entropy + held, (wide, wide_weight))
    for found, right in zip(torch.autograd.grad(loss, (hidden, weight)), expected, strict=True):
        torch.testing.assert_close(found.double(), right, rtol=1e-5, atol=1e-6)


def test_bf16_products_of_the_head() -> None:
    """Under autocast loss and gradient follow those in fp32 to a percent, and are fp32 like the weights."""
    hidden, weight = normal(64, 32), normal(50, 32, seed=1)
    targets = torch.randint(0, 50, (64,), generator=torch.Generator().manual_seed(2))
    exact = linear_cross_entropy(hidden, weight, targets)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = linear_cross_entropy(hidden, weight, targets)
    assert float(rounded.detach()) == pytest.approx(float(exact.detach()), rel=0.01)
    pairs = zip(*(torch.autograd.grad(x, (hidden, weight)) for x in (exact, rounded)), strict=True)
    for right, found in pairs:
        assert found.dtype == torch.float32
        assert float((found - right).norm()) < 0.02 * float(right.norm())


def test_a_target_of_no_chance_has_a_finite_loss() -> None:
    """A logit a thousand below the others is a loss of a thousand, and a gradient without a NaN."""
    hidden = torch.tensor([[1000.0, 0.0]], requires_grad=True)
    weight = torch.eye(2, requires_grad=True)
    loss = linear_cross_entropy(hidden, weight, torch.tensor([1]))
    assert float(loss.detach()) == pytest.approx(1000.0)
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, (hidden, weight)))
