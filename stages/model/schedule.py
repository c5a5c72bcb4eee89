"""Learning rate and number of updates by step, and which weights decay.

All are pure functions of the step, so that a resumed run needs no state of them. Shapes of the rate after a linear
warm-up: half a cosine (Loshchilov and Hutter 2017), a line, or the peak until a last part that falls with the square
root of what is done of it (warmup-stable-decay: Hu et al. 2024, with the "1 - sqrt" of Hägele et al. 2024), which can be
gone on from before it. While the batch grows, a step's samples are learned from in several updates, so the order of
samples is the same with and without. Norms and embeddings do not decay; tied embeddings are embeddings.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from torch import nn

from stages.model.network import Network

Shape = Literal["cosine", "linear", "wsd"]


@dataclass(frozen=True)
class Schedule:
    """The learning rate of every step from 1 to `num_steps`, and into how many updates the step's batch is divided.

    The rate grows to `peak` in `warmup_steps`, and ends at `final_fraction` of it; `decay_fraction` of all steps are the
    last part of "wsd". The batch doubles after each of `batch_doublings`, and is whole after the last of them.
    """

    shape: Shape
    peak: float
    warmup_steps: int
    num_steps: int
    decay_fraction: float = 0.2
    final_fraction: float = 0.1
    batch_doublings: Sequence[int] = ()

    def rate(self, step: int) -> float:
        """The learning rate of `step`: for a part of the batch less by the root of it (Malladi et al. 2022)."""
        return self._rate_of_batch(step) / math.sqrt(self.num_updates(step))

    def num_updates(self, step: int) -> int:
        """Updates in `step`: 1, or 2, 4, ... while the batch is a half, a quarter, ... of what the index says."""
        return 1 << sum(step <= last for last in self.batch_doublings)

    def updates_until(self, step: int) -> int:
        """Updates in all steps up to and with `step`."""
        borders = sorted({0, step, *(min(step, last) for last in self.batch_doublings)})
        return sum((b - a) * self.num_updates(b) for a, b in pairwise(borders))

    def problems(self) -> list[str]:
        """What keeps this from being a schedule, each beginning with the name of a setting."""
        found = []
        if self.warmup_steps >= self.num_steps:
            found.append(f"warmup_steps {self.warmup_steps} must be under index.num_steps {self.num_steps}")
        if self.shape == "wsd" and self.warmup_steps > self._decays_after:
            words = (
                f"warmup_steps {self.warmup_steps} must end before the rate falls, after step {self._decays_after:g}"
            )
            found.append(f"{words}; set a lower decay_fraction")
        if any(a >= b for a, b in pairwise([0, *self.batch_doublings])):
            found.append(f"batch_doublings {tuple(self.batch_doublings)} must be steps that grow")
        return found

    @property
    def _decays_after(self) -> float:
        return self.num_steps * (1 - self.decay_fraction) if self.shape == "wsd" else self.warmup_steps

    def _rate_of_batch(self, step: int) -> float:
        if step <= self.warmup_steps:
            return self.peak * step / self.warmup_steps
        done = (step - self._decays_after) / max(1.0, self.num_steps - self._decays_after)
        done = min(1.0, max(0.0, done))
        left = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "wsd": 1 - math.sqrt(done)}
        return self.peak * (self.final_fraction + (1 - self.final_fraction) * left[self.shape])


def parameter_groups(network: Network, weight_decay: float, *, matrices: bool = False) -> list[dict[str, Any]]:
    """Groups of weights: matrices of the layers (and an untied head) decay, norms and embeddings do not.

    With `matrices`, those of linear maps inside the layers are a group of their own, so marked.
    """
    named, hidden = dict(network.named_parameters()), hidden_matrices(network) if matrices else set()
    kept = [p for name, p in named.items() if p.ndim < 2 or name == "embedding.weight"]
    decayed = [p for name, p in named.items() if p.ndim >= 2 and name != "embedding.weight" and name not in hidden]
    groups: list[dict[str, Any]] = [
        {"params": [p for name, p in named.items() if name in hidden], "weight_decay": weight_decay, "matrices": True},
        {"params": decayed, "weight_decay": weight_decay, "matrices": False},
        {"params": kept, "weight_decay": 0.0, "matrices": False},
    ]
    return [group for group in groups if group["params"]]


def hidden_matrices(network: Network) -> set[str]:
    """Names of the weights of linear maps from activations to activations."""
    return {f"blocks.{name}.weight" for name, m in network.blocks.named_modules() if isinstance(m, nn.Linear)}
