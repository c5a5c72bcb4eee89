"""One step of each optimizer in float64, from the papers' formulas: (weights, gradient, state, step) in, new ones out."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
State = dict[str, Array]


class Rates(NamedTuple):
    """Learning rate and decay."""

    lr: float
    decay: float


def adamw(w: Array, g: Array, state: State, step: int, rates: Rates) -> tuple[Array, State]:
    """Kingma and Ba 2015, algorithm 1, with decay as in Loshchilov and Hutter 2019, algorithm 2."""
    m = 0.9 * state["exp_avg"] + 0.1 * g
    v = 0.95 * state["exp_avg_sq"] + 0.05 * g**2
    unbiased_m, unbiased_v = m / (1 - 0.9**step), v / (1 - 0.95**step)
    w = w - rates.lr * (unbiased_m / (np.sqrt(unbiased_v) + 1e-8) + rates.decay * w)
    return w, {"exp_avg": m, "exp_avg_sq": v}


def muon(w: Array, g: Array, state: State, step: int, rates: Rates) -> tuple[Array, State]:
    """Jordan et al. 2024 through the singular values, on which the iteration acts as p(s) = a s + b s^3 + c s^5."""
    m = 0.95 * state["momentum"] + 0.05 * g
    u, s, vt = np.linalg.svd(0.05 * g + 0.95 * m, full_matrices=False)
    s = s / np.sqrt((s**2).sum())
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    size = 0.2 * np.sqrt(max(w.shape))
    return w - rates.lr * (size * (u * s) @ vt + rates.decay * w), {"momentum": m}


def sophia(w: Array, g: Array, state: State, step: int, rates: Rates) -> tuple[Array, State]:
    """Liu et al. 2023, algorithm 3, between two estimates of the curvature."""
    m = 0.965 * state["exp_avg"] + 0.035 * g
    update = np.clip(m / np.maximum(0.05 * state["curvature"], 1e-15), -1, 1)
    return w - rates.lr * (update + rates.decay * w), {"exp_avg": m, "curvature": state["curvature"]}


def soap(w: Array, g: Array, state: State, step: int, rates: Rates) -> tuple[Array, State]:
    """Vyas et al. 2024, algorithms 3 and 4, with their code's first step, which only finds the bases."""
    left, right, q_left, q_right = (state[k] for k in ("left", "right", "left_basis", "right_basis"))
    m, v, taken = state["exp_avg"], state["exp_avg_sq"], step - 1
    if taken:
        m = 0.95 * m + 0.05 * g
        v = 0.95 * v + 0.05 * (q_left.T @ g @ q_right) ** 2
        turned = (q_left.T @ m @ q_right / (1 - 0.95**taken)) / (np.sqrt(v / (1 - 0.95**taken)) + 1e-8)
        w = w - rates.lr * (q_left @ turned @ q_right.T + rates.decay * w)
    left, right = 0.95 * left + 0.05 * g @ g.T, 0.95 * right + 0.05 * g.T @ g
    if not taken:
        q_left, q_right = np.linalg.eigh(left)[1][:, ::-1], np.linalg.eigh(right)[1][:, ::-1]
    elif taken % 10 == 0:
        q_left, rows = _iterate(left, q_left)
        q_right, columns = _iterate(right, q_right)
        v = v[rows][:, columns]
    bases = {"left_basis": q_left, "right_basis": q_right}
    return w, {"exp_avg": m, "exp_avg_sq": v, "left": left, "right": right, **bases}


def _iterate(covariance: Array, basis: Array) -> tuple[Array, npt.NDArray[np.int64]]:
    """Columns by falling Rayleigh quotient, then one power iteration, made orthogonal."""
    order = np.argsort(-np.diag(basis.T @ covariance @ basis), kind="stable")
    return np.linalg.qr(covariance @ basis[:, order])[0], order
