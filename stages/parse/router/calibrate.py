"""Predicted gains made true on average: isotonic regression by pooling adjacent violators (Ayer et al., 1955), and a line."""

from typing import Any

import numpy as np

from stages.parse.router.trees import Floats

MAX_KNOTS = 40


class Calibration:
    """A rising line through `knots` (predicted, true); level beyond its ends."""

    def __init__(self, predicted: Floats, true: Floats) -> None:
        self.predicted, self.true = predicted, true

    def __call__(self, predicted: Floats) -> Floats:
        """What a prediction is worth."""
        return np.interp(predicted, self.predicted, self.true)

    def plain(self) -> list[list[float]]:
        """As JSON can hold it."""
        return [[round(float(v), 6) for v in side] for side in (self.predicted, self.true)]

    @classmethod
    def of(cls, plain: Any) -> "Calibration":
        """The inverse of `plain`."""
        return cls(np.asarray(plain[0], dtype=float), np.asarray(plain[1], dtype=float))


def isotonic(predicted: Floats, true: Floats) -> Calibration:
    """The rising step function nearest to `true` in squares, as a line through its steps' middles."""
    order = np.argsort(predicted, kind="stable")
    blocks: list[tuple[float, float, int]] = []  # sum of predictions, sum of truths, rows
    for x, y in zip(predicted[order], true[order], strict=True):
        blocks.append((float(x), float(y), 1))
        while len(blocks) > 1 and blocks[-2][1] * blocks[-1][2] >= blocks[-1][1] * blocks[-2][2]:
            last, before = blocks.pop(), blocks.pop()
            blocks.append((before[0] + last[0], before[1] + last[1], before[2] + last[2]))
    knots = np.array([(x / n, y / n) for x, y, n in blocks])
    chosen = np.unique(np.linspace(0, len(knots) - 1, min(len(knots), MAX_KNOTS)).astype(int))
    return Calibration(knots[chosen, 0], knots[chosen, 1])


def calibrated(predicted: Floats, true: Floats) -> Calibration:
    """The mean of the isotonic line and the least-squares one, which rises where the first is level.

    A level step ties pages whose predictions still tell them apart: with a tenth of the seconds that cost a twentieth of the
    gain on pages that were left out.
    """
    steps = isotonic(predicted, true)
    slope = max(float(np.cov(predicted, true, bias=True)[0, 1]) / max(float(predicted.var()), 1e-9), 0.0)
    knots = np.unique([*steps.predicted, predicted.min(), predicted.max()])
    line = float(true.mean()) + slope * (knots - float(predicted.mean()))
    return Calibration(knots, (steps(knots) + line) / 2)


def reliability(predicted: Floats, true: Floats, num_bins: int = 8) -> list[tuple[float, float, int]]:
    """Mean prediction, mean truth and rows of `num_bins` equally full bins: a calibration plot's points."""
    order = np.argsort(predicted, kind="stable")
    parts = [p for p in np.array_split(order, num_bins) if len(p)]
    return [(float(predicted[p].mean()), float(true[p].mean()), len(p)) for p in parts]
