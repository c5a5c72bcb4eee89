"""Every optimizer against its formulas in float64, and against torch where torch has it."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.model.optimizers.adamw import AdamW
from stages.model.optimizers.muon import Muon, orthogonal
from stages.model.optimizers.soap import SOAP
from stages.model.optimizers.sophia import Curvature, Sophia
from tests.stages.model.optimizers import reference
from tests.stages.model.optimizers.reference import Array, Rates, State

RATES = Rates(lr=0.02, decay=0.1)
MATRIX_SHAPES = [(8, 8), (6, 10), (10, 6)]
Step = Callable[[Array, Array, State, int, Rates], tuple[Array, State]]


def one(made: type[AdamW], shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> tuple[AdamW, nn.Parameter]:
    """An optimizer of one parameter, in a group for hidden matrices."""
    weights = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype))
    optimizer = made([{"params": [weights], "weight_decay": RATES.decay, "matrices": True}])
    optimizer.param_groups[0]["lr"] = RATES.lr
    return optimizer, weights


def gradient(shape: tuple[int, ...], step: int) -> Tensor:
    """A gradient of full rank with a common part, so that moments matter."""
    common, own = (torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in (99, step))
    return common + 0.5 * own


def state_of(optimizer: AdamW, parameter: Tensor) -> State:
    """The state in float64, without the count."""
    return {k: v.double().numpy().copy() for k, v in optimizer.state[parameter].items() if k != "step"}


def follow(
    made: type[AdamW], formula: Step, shape: tuple[int, ...], num_steps: int, start: State | None = None
) -> None:
    """Take steps by both, each from its own result, and compare weights and state after each."""
    optimizer, weights = one(made, shape)
    for key, value in (start or {}).items():
        optimizer.state[weights][key].copy_(torch.from_numpy(value))
    w, state = weights.detach().double().numpy(), state_of(optimizer, weights)
    for step in range(1, num_steps + 1):
        weights.grad = gradient(shape, step)
        w, state = formula(w, weights.grad.double().numpy(), state, step, RATES)
        optimizer.step()
        np.testing.assert_allclose(weights.detach().numpy(), w, rtol=2e-5, atol=2e-6)
        for key, found in state_of(optimizer, weights).items():
            np.testing.assert_allclose(found, state[key], rtol=1e-4, atol=1e-5, err_msg=f"{key} after step {step}")


@pytest.mark.parametrize("shape", [(7,), (5, 9), (300, 3)])
def test_adamw_is_the_formula(shape: tuple[int, ...]) -> None:
    """Twenty steps of AdamW stay with the paper's in float64."""
    follow(AdamW, reference.adamw, shape, 20)


def test_adamw_is_that_of_torch() -> None:
    """Our AdamW gives the bits of `torch.optim.AdamW`."""
    optimizer, weights = one(AdamW, (33, 17))
    theirs = nn.Parameter(weights.detach().clone())
    other = torch.optim.AdamW([theirs], RATES.lr, betas=(0.9, 0.95), weight_decay=RATES.decay, fused=True)
    for step in range(1, 6):
        weights.grad, theirs.grad = gradient((33, 17), step), gradient((33, 17), step)
        optimizer.step()
        other.step()
    assert torch.equal(weights, theirs)


@pytest.mark.parametrize("shape", MATRIX_SHAPES)
def test_muon_is_the_formula(shape: tuple[int, ...]) -> None:
    """Ten steps of Muon stay with those through the singular value decomposition in float64."""
    follow(Muon, reference.muon, shape, 10)


@pytest.mark.parametrize("shape", MATRIX_SHAPES)
def test_muon_is_that_of_torch(shape: tuple[int, ...]) -> None:
    """Our Muon takes the steps of `torch.optim.Muon`, whose products are in bf16, but for that rounding."""
    optimizer, weights = one(Muon, shape)
    theirs = nn.Parameter(weights.detach().clone())
    other = torch.optim.Muon([theirs], RATES.lr, RATES.decay, adjust_lr_fn="match_rms_adamw")
    first = weights.detach().clone()
    for step in range(1, 4):
        weights.grad, theirs.grad = gradient(shape, step), gradient(shape, step)
        optimizer.step()
        other.step()
    difference, moved = (weights - theirs).detach().norm(), (weights.detach() - first).norm()
    assert float(difference) < 0.02 * float(moved)


def test_orthogonal_is_nearly_orthogonal() -> None:
    """Singular values between 0.03 and 1 of the largest end between 0.6 and 1.3, with the singular vectors kept."""
    u, _ = torch.linalg.qr(torch.randn(24, 12, generator=torch.Generator().manual_seed(3)))
    v, _ = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(4)))
    found = orthogonal(u @ torch.diag(torch.logspace(-1.5, 0, 12)) @ v.T)
    inside = u.T @ found @ v
    assert ((inside.diagonal() > 0.6) & (inside.diagonal() < 1.3)).all()
    torch.testing.assert_close(inside, torch.diag(inside.diagonal()), rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [(7,), (6, 10)])
def test_sophia_is_the_formula(shape: tuple[int, ...]) -> None:
    """With a curvature that clips some weights and leaves others, ten steps stay with the paper's in float64."""
    curvature = np.geomspace(1e-3, 1e3, int(np.prod(shape))).reshape(shape)
    follow(Sophia, reference.sophia, shape, 10, {"curvature": curvature})


def test_sophias_curvature_is_a_running_mean_of_squares() -> None:
    """Each estimate of g over B tokens adds a hundredth of B g^2."""
    optimizer, weights = one(Sophia, (4, 3))
    assert isinstance(optimizer, Sophia)
    expected = np.zeros((4, 3))
    for step, num_tokens in ((1, 64), (2, 100)):
        g = gradient((4, 3), step)
        optimizer.take(Curvature([weights], [g], num_tokens))
        expected = 0.99 * expected + 0.01 * num_tokens * g.double().numpy() ** 2
    np.testing.assert_allclose(state_of(optimizer, weights)["curvature"], expected, rtol=1e-5)


def test_sophia_estimates_every_tenth_step() -> None:
    """The first step has an estimate, and every tenth after it."""
    optimizer, weights = one(Sophia, (3,))
    assert isinstance(optimizer, Sophia)
    due = []
    for step in range(1, 32):
        due += [step] if optimizer.due else []
        weights.grad = gradient((3,), step)
        optimizer.step()
    assert due == [1, 11, 21, 31]


def orthonormal(size: int, seed: int) -> Array:
    """A random orthogonal matrix."""
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


@pytest.mark.parametrize("shape", MATRIX_SHAPES)
@pytest.mark.parametrize("step", [2, 5, 11])
def test_soap_is_the_formula(shape: tuple[int, int], step: int) -> None:
    """From a random state one step is the paper's in float64, also where the bases turn (step 11), but for their signs."""
    optimizer, weights = one(SOAP, shape)
    chance = np.random.default_rng(5)
    state = {"exp_avg": chance.normal(size=shape), "exp_avg_sq": chance.uniform(0.5, 2, size=shape)}
    for side, size in zip(("left", "right"), shape, strict=True):
        basis = orthonormal(size, size)
        state[f"{side}_basis"] = orthonormal(size, size + 7)
        state[side] = basis @ np.diag(np.linspace(1, 3, size)) @ basis.T
    for key, value in state.items():
        optimizer.state[weights][key].copy_(torch.from_numpy(value))
    optimizer.state[weights]["step"].fill_(step - 1)
    weights.grad = gradient(shape, step)
    started = state_of(optimizer, weights)
    w, expected = reference.soap(weights.detach().double().numpy(), weights.grad.double().numpy(), started, step, RATES)
    optimizer.step()
    np.testing.assert_allclose(weights.detach().numpy(), w, rtol=1e-4, atol=1e-5)
    for key, found in state_of(optimizer, weights).items():
        signs = np.sign((found * expected[key]).sum(0)) if "basis" in key else 1
        np.testing.assert_allclose(found, expected[key] * signs, rtol=1e-3, atol=1e-4, err_msg=key)


def test_soap_from_the_start_is_the_formula() -> None:
    """25 steps from nothing, the first basis and two turns among them, stay with the paper's in float64."""
    optimizer, weights = one(SOAP, (8, 8), torch.float64)
    w = weights.detach().numpy().copy()
    state = state_of(optimizer, weights)
    for step in range(1, 26):
        weights.grad = gradient((8, 8), step).double()
        w, state = reference.soap(w, weights.grad.numpy(), state, step, RATES)
        optimizer.step()
        np.testing.assert_allclose(weights.detach().numpy(), w, rtol=1e-6, atol=1e-8)


def test_soaps_first_step_only_looks() -> None:
    """No weight moves before there is a basis, which then is that of the first gradient's covariances."""
    optimizer, weights = one(SOAP, (6, 10))
    first = weights.detach().clone()
    weights.grad = gradient((6, 10), 1)
    optimizer.step()
    assert torch.equal(weights, first)
    state = state_of(optimizer, weights)
    turned = state["left_basis"].T @ state["left"] @ state["left_basis"]
    np.testing.assert_allclose(turned, np.diag(np.diag(turned)), atol=1e-5)
    assert (np.diff(np.diag(turned)) <= 1e-6).all()


def test_a_long_side_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A side that is too long for a square has no basis, and the other still has."""
    monkeypatch.setattr("stages.model.optimizers.soap.MAX_SIDE", 8)
    optimizer, weights = one(SOAP, (20, 5))
    assert sorted(state_of(optimizer, weights)) == ["exp_avg", "exp_avg_sq", "right", "right_basis"]
    first = weights.detach().clone()
    for step in range(1, 13):
        weights.grad = gradient((20, 5), step)
        optimizer.step()
    assert torch.isfinite(weights).all()
    assert not torch.equal(weights, first)
