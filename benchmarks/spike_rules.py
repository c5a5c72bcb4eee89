"""Rules of others for loss spikes, written anew from their published definitions, to be fed step by step.

- OLMo-core's skip-step optimizer (src/olmo_core/optim/skip_step_optimizer.py): loss or gradient norm more than 6 standard
  deviations over the mean of the last 128 steps, from 64 steps on.
- ZClip (Kumar et al. 2025, arXiv 2504.02507; github.com/bluorion-com/ZClip): the gradient norm's z-score against its moving
  mean and variance (decay 0.97) over 2.5, from 25 steps on; a clipped norm enters as it was clipped.
- llm-foundry's KillLossSpike (llmfoundry/callbacks/kill_loss_spike_callback.py): 5 losses in a row of at least twice the mean
  of the last 100, or half of the last 100 over the largest of the first 100 (at most 10).
"""

import math
import statistics
from collections import deque
from typing import Protocol


class Rule(Protocol):
    """A rule that is told every step in order."""

    def alarms(self, loss: float, gradient_norm: float) -> bool:
        """Whether this step is a spike."""


class SixSigma:
    """OLMo-core. A value that is not finite is not within any bound."""

    def __init__(self) -> None:
        self._losses: deque[float] = deque(maxlen=128)
        self._norms: deque[float] = deque(maxlen=128)

    def alarms(self, loss: float, gradient_norm: float) -> bool:
        """Compare with the steps before this one."""
        found = len(self._losses) >= 63 and not (_within(loss, self._losses) and _within(gradient_norm, self._norms))
        self._losses.append(loss)
        self._norms.append(gradient_norm)
        return found


def _within(value: float, before: deque[float]) -> bool:
    if not all(map(math.isfinite, before)):
        return False
    return value - statistics.fmean(before) <= 6 * statistics.stdev(before)


class ZClip:
    """Kumar et al., adaptive scaling."""

    def __init__(self) -> None:
        self._warm: list[float] = []
        self._mean = self._variance = 0.0

    def alarms(self, loss: float, gradient_norm: float) -> bool:  # noqa: ARG002 - it looks at gradients only
        """Compare with the moving mean, then move it."""
        if len(self._warm) < 25:
            self._warm.append(gradient_norm)
            self._mean, self._variance = statistics.fmean(self._warm), statistics.pvariance(self._warm)
            return False
        spread = math.sqrt(self._variance)
        z = (gradient_norm - self._mean) / (spread + 1e-6)
        if not z <= 2.5:
            gradient_norm = self._mean + 2.5 * spread / (z / 2.5) if math.isfinite(z) else self._mean
        self._mean = 0.97 * self._mean + 0.03 * gradient_norm
        self._variance = 0.97 * self._variance + 0.03 * (gradient_norm - self._mean) ** 2
        return not z <= 2.5


class KillLossSpike:
    """llm-foundry, with its settings for a run of at most 2,000 steps."""

    def __init__(self) -> None:
        self._losses: deque[float] = deque(maxlen=100)
        self._cap: float | None = None
        self._outliers = self._steps = 0

    def alarms(self, loss: float, gradient_norm: float) -> bool:  # noqa: ARG002 - it looks at losses only
        """Compare with a full window."""
        found = len(self._losses) == 100 and self._spike(loss)
        self._losses.append(loss)
        self._steps += 1
        return found

    def _spike(self, loss: float) -> bool:
        if self._cap is None:
            self._cap = min(max(self._losses), 10.0)
        self._outliers = self._outliers + 1 if loss >= 2 * statistics.fmean(self._losses) else 0
        high = self._steps >= 200 and sum(v > self._cap for v in self._losses) >= 50
        return self._outliers > 4 or high
