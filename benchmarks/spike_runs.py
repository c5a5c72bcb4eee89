"""Tiny training runs with planted faults: a decoder of one layer on Markov chains, on four ranks that are parts of a batch.

A fault is planted from a step on. Data: garbage, another tokenizer's ids, one n-gram over and over. Numeric: a flipped bit in
a weight or a moment, an infinity. Hardware: a rank's gradient scaled, once or from then on. Schedule: a learning rate of many
times what it should be, once or from then on. `TinyRun` answers what a diagnosis asks (`stages.pretrain.health.diagnose`).
"""

import copy
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from stages.model.network import IGNORED, Network
from stages.model.schedule import Schedule
from stages.model.sizes import Sizes
from stages.pretrain.health.detect import Reading
from stages.pretrain.health.diagnose import Cause, Measured
from stages.pretrain.health.state import Tensors, impossible

VOCAB, TOKENS, SEQUENCES, RANKS = 96, 32, 8, 4
PEAK, WARMUP_STEPS = 1e-2, 20
BETAS = (0.9, 0.95)
EXPONENT, SIGN = 30, 31  # bits of an fp32 number


def chains(seed: int, num_steps: int) -> Tensor:
    """Steps x sequences x (tokens + 1): walks through one of three chains, which differ in how much they leave to chance."""
    chance = np.random.default_rng(seed)
    logits = np.random.default_rng(0).normal(size=(VOCAB, VOCAB))
    tables = np.stack([np.exp(logits * sharp) for sharp in (2.2, 2.5, 2.8)])
    sums = np.cumsum(tables / tables.sum(-1, keepdims=True), -1)
    count = num_steps * SEQUENCES
    which, at = chance.integers(0, len(tables), count), chance.integers(0, VOCAB, count)
    walks = [at]
    for _ in range(TOKENS):
        at = np.minimum((sums[which, at] < chance.random(count)[:, None]).sum(-1), VOCAB - 1)
        walks.append(at)
    return torch.from_numpy(np.stack(walks, 1).reshape(num_steps, SEQUENCES, TOKENS + 1))


class Fault(NamedTuple):
    """What is planted, of which class, and what it does: to the data, to the state before a step, to gradients, to rates."""

    name: str
    cause: Cause
    spoil: Callable[["TinyRun", int], None] | None = None
    gradient: Callable[[int, int], float] | None = None  # factor of a rank's gradient at a step
    rate: Callable[[int], float | None] | None = None  # of a step, in peaks, where it is not the schedule's


@dataclass
class TinyRun:
    """A run of `num_steps` steps that can be copied, looked at and set back."""

    seed: int
    num_steps: int
    data: Tensor = field(init=False)
    fault: Fault | None = None
    planted: int = 0

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self._measured: tuple[int, bool, tuple[int, ...]] | None = None  # whose gradients are there
        self.data = chains(self.seed, self.num_steps + 1)
        self.network = Network(Sizes.of_depth(1, VOCAB, TOKENS, width=32))
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=0.0, betas=BETAS, weight_decay=0.1, fused=True)

    def branch(self, state: dict[str, Any], planted: int, fault: Fault) -> "TinyRun":
        """Another run that goes on from a state of this one, with a fault at step `planted`."""
        other = copy.copy(self)
        other.data, other.fault, other.planted = self.data.clone(), fault, planted
        other._measured = None  # noqa: SLF001 - it is one of these
        other.network = copy.deepcopy(self.network)
        other.optimizer = torch.optim.AdamW(
            other.network.parameters(), lr=0.0, betas=BETAS, weight_decay=0.1, fused=True
        )
        other.load(state)
        return other

    def state(self) -> dict[str, Any]:
        """Weights and moments, copied."""
        return copy.deepcopy({"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()})

    def load(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self._measured = None
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))

    def rate(self, step: int) -> float:
        """The step's learning rate, as it is used."""
        factor = self.fault.rate(step) if self.fault and self.fault.rate else None
        return Schedule("cosine", PEAK, WARMUP_STEPS, self.num_steps).rate(step) if factor is None else factor * PEAK

    def read(self, step: int) -> Reading:
        """Forward and backward; the update is not made yet."""
        if self.fault and self.fault.spoil and step == self.planted:
            self.fault.spoil(self, step)
        return Reading(step, *self.measured(step), self.rate(step))

    def update(self, reading: Reading) -> None:
        """AdamW on gradients of at most norm 1."""
        if self._measured != (reading.step, False, ()):
            self.measured(reading.step)
        self._measured = None
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = reading.learning_rate
        self.optimizer.step()

    def measured(self, step: int, *, moved: bool = False, without: Sequence[int] = ()) -> Measured:
        """Loss and gradient norm of a step's batch."""
        batch = self.data[step - 1].clone()
        batch[list(without), 1:] = IGNORED
        loss = self._gradients(batch, step, moved=moved)
        self._measured = (step, moved, tuple(without))
        return Measured(loss, float(torch.nn.utils.get_total_norm([_gradient(p) for p in self.network.parameters()])))

    def losses(self, step: int) -> list[float]:
        """Each sequence's loss."""
        with torch.no_grad():
            each = [float(self.network(row[None, :-1], row[None, 1:])) for row in self.data[step - 1]]
        return [v if math.isfinite(v) else math.inf for v in each]

    def impossible(self) -> str | None:
        """What weights and moments cannot be."""
        return impossible(self.tensors(), BETAS)

    def tensors(self) -> list[Tensors]:
        """Weights and moments by name."""
        found = []
        for name, weight in self.network.named_parameters():
            moments = self.optimizer.state.get(weight, {})
            found.append(Tensors(name, weight.detach(), moments.get("exp_avg"), moments.get("exp_avg_sq")))
        return found

    def _gradients(self, batch: Tensor, step: int, *, moved: bool) -> float:
        """The mean over ranks of their gradients, each over its own part of the batch and with its own fault."""
        self.optimizer.zero_grad()
        scored = int((batch[:, 1:] != IGNORED).sum())
        total = 0.0
        faulty = self.fault is not None and self.fault.gradient is not None
        for rank, part in enumerate(batch.chunk(RANKS if faulty else 1)):  # without a fault it is one sum
            inputs = part[:, :-1].clamp(min=0)
            loss = self.network(inputs, part[:, 1:], "sum") / scored
            device = (rank + 1) % RANKS if moved else rank
            factor = self.fault.gradient(step, device) if self.fault and self.fault.gradient else 1.0
            (loss * factor).backward()
            total += float(loss.detach())
        return total


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None, "every parameter has a gradient"
    return parameter.grad


def faults(chance: random.Random, step: int) -> dict[Cause, Fault]:
    """One fault of each class, drawn by chance, to be planted at `step`."""
    return {
        "data": _data(chance),
        "numeric": _numeric(chance),
        "hardware": _hardware(chance, step),
        "schedule": _schedule(chance, step),
    }


def _data(chance: random.Random) -> Fault:
    kind, count, seed = (
        chance.choice(("garbage", "other ids", "n-gram")),
        chance.randint(4, SEQUENCES),
        chance.randrange(1 << 30),
    )

    def spoil(run: TinyRun, step: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        rows = torch.randperm(SEQUENCES, generator=draw)[:count]
        batch = run.data[step - 1]
        if kind == "garbage":
            batch[rows] = torch.randint(0, VOCAB, (count, TOKENS + 1), generator=draw)
        elif kind == "other ids":
            batch[rows] = torch.randperm(VOCAB, generator=draw)[batch[rows]]
        else:
            gram = torch.randint(0, VOCAB, (1 + count % 4,), generator=draw)
            batch[:] = gram.repeat(TOKENS + 1)[: TOKENS + 1]

    return Fault(kind, "data", spoil)


def _numeric(chance: random.Random) -> Fault:
    kind, draw = (
        chance.choice(("bit of a weight", "bit of a moment", "sign of a variance", "infinity")),
        chance.random(),
    )

    def spoil(run: TinyRun, step: int) -> None:  # noqa: ARG001 - it is the same at every step
        matrices = [t for t in run.tensors() if t.weight.ndim == 2]
        tensors = matrices[int(draw * len(matrices))]
        target = {"bit of a moment": tensors.first, "sign of a variance": tensors.second}.get(kind, tensors.weight)
        assert target is not None, "AdamW has moments after its first step"
        small = (target.abs() < 1).flatten().nonzero()[:, 0]  # the top bit of the exponent is not set
        place = int(small[int(draw * 7919) % len(small)])
        if kind == "infinity":
            target.view(-1)[place] = math.inf
        else:
            target.view(torch.int32).view(-1)[place] ^= 1 << EXPONENT if kind != "sign of a variance" else -1 << SIGN

    return Fault(kind, "numeric", spoil)


def _hardware(chance: random.Random, planted: int) -> Fault:
    bad, factor, lasting = chance.randrange(RANKS), 2.0 ** chance.choice((5, 6, 8, 10, 12)), chance.random() < 0.5
    left = [1]  # a fault of a moment is gone when the step is looked at again

    def gradient(step: int, rank: int) -> float:
        if step < planted or rank != bad:
            return 1.0
        if lasting:
            return factor
        left[0] -= 1
        return factor if left[0] >= 0 else 1.0

    return Fault("lasting factor" if lasting else "factor", "hardware", gradient=gradient)


def _schedule(chance: random.Random, planted: int) -> Fault:
    factor, num_steps = chance.choice((30.0, 100.0, 300.0)), chance.choice((1, 3, 1000))
    name = f"{factor:g} peak rates for {num_steps} steps"
    return Fault(name, "schedule", rate=lambda step: factor if planted <= step < planted + num_steps else None)
