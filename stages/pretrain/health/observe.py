"""What a run shows of itself while it trains: rows to query, curves for TensorBoard, a line of progress, times of ranks."""

import os
import resource
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from schemas.health import Heartbeat
from schemas.table import Row
from schemas.training import DomainLoss, TrainStep, Validation
from stages.model.distributed import World
from stages.model.sizes import Sizes
from stages.pretrain.health.flops import training_flops, utilisation
from stages.pretrain.health.heartbeat import Clock
from stages.pretrain.health.live import Live
from stages.pretrain.health.ranks import gathered
from stages.pretrain.health.tensorboard import EventFile
from stages.progress import Progress

HEARTBEAT_EVERY = 20  # steps from one sum over ranks to the next
LIVE, TENSORBOARD = "live", "tensorboard"

Tables = Mapping[str, tuple[type[Row], Sequence[Row]]]


class Observer:
    """Tells what happens, step by step. Every rank calls `step`; only rank 0 writes."""

    def __init__(self, folder: Path, world: World, clock: Clock, sizes: tuple[Sizes, int]) -> None:
        self.folder, self.world, self.clock = folder, world, clock
        self.flops_per_token = training_flops(*sizes)
        self.heartbeats: list[Heartbeat] = []
        self._live: Live | None = None
        self._events: EventFile | None = None
        self._first = 1
        self._memory_bytes = memory_bytes(world.device)

    def begin(self, first: int, tables: Tables) -> None:
        """The run goes on with step `first`, after these rows."""
        self._first = first
        self.clock.take()
        if self.world.rank == 0:
            self._live = Live(self.folder / LIVE, tables)
            self._events = self._events or EventFile(self.folder / TENSORBOARD)

    def step(self, row: TrainStep, progress: Progress) -> None:
        """A step was taken."""
        self.clock.step = row.step
        if row.step % HEARTBEAT_EVERY == 0:
            self.heartbeats += gathered(self._first, row.step, self.clock.take(), self.world)
            self._first = row.step + 1
            self._memory_bytes = memory_bytes(self.world.device)  # 0.1 ms: the kernel walks the process's threads
        if self._live is None or self._events is None:
            return
        used = utilisation(row.tokens_per_second, self.flops_per_token, self.world.size, device_name(self.world.device))
        shown = {"loss": row.loss, "tokens/s": row.tokens_per_second, "GB": self._memory_bytes / 1e9}
        progress.reach(row.step, **shown, **({} if used is None else {"MFU": used}))
        norm = {} if row.gradient_norm is None else {"training/gradient norm": row.gradient_norm}
        rest = {"training/learning rate": row.learning_rate, "training/tokens per second": row.tokens_per_second}
        self._events.write(row.step, {"training/loss": row.loss, **norm, **rest})
        if self._live.due():
            self._live.flush()

    def validated(self, rows: Sequence[Validation], domains: Sequence[DomainLoss] = ()) -> None:
        """The held-out documents were measured."""
        if self._events is not None:
            known = {f"{r.name}/bits per byte": r.bits_per_byte for r in rows if r.bits_per_byte is not None}
            known |= {f"bits per byte by domain/{d.domain}": d.bits_per_byte for d in domains}
            known |= {f"perplexity by domain/{d.domain}": d.perplexity for d in domains}
            self._events.write(rows[0].step, known)

    def done(self) -> None:
        """The run is over, and its rows are where they stay."""
        if self._live is not None:
            shutil.rmtree(self._live.folder)


def device_name(device: torch.device) -> str:
    """What the driver calls the device; `cpu` for that."""
    module = getattr(torch, device.type)
    return "cpu" if device.type == "cpu" else str(module.get_device_name(device))


def memory_bytes(device: torch.device) -> int:
    """The most memory that this process has had: of the accelerator, or of the host where there is none."""
    if device.type == "cpu":
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return int(getattr(torch, device.type).max_memory_allocated(device))


def patience() -> float:
    """By how much a site's phases may take longer than their budgets: `BOREALIS_PATIENCE`, 1 unless it is set."""
    return float(os.environ.get("BOREALIS_PATIENCE", "1"))
