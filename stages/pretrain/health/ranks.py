"""The times of all ranks, side by side: who does what for how long, and who waits for whom."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import torch
import torch.distributed as dist

from schemas.health import Heartbeat, Work
from stages.model.distributed import World
from stages.pretrain.health.heartbeat import WORK, Clock, Spent


@dataclass(frozen=True)
class TimedWorld(World):
    """A rank whose sums over all ranks, and waits for messages, count as exchange."""

    clock: Clock = field(default_factory=Clock, kw_only=True)

    @classmethod
    def of(cls, world: World, clock: Clock) -> "TimedWorld":
        """The same rank, timed."""
        return cls(**{f.name: getattr(world, f.name) for f in fields(World)}, clock=clock)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Add up a tensor over all ranks, in place."""
        with self.clock.phase("exchange"):
            return super().sum(values)

    def wait(self, work: dist.Work) -> None:
        """Wait for a message that is on its way."""
        with self.clock.phase("exchange"):
            super().wait(work)


def gathered(first_step: int, step: int, spent: Mapping[Work, Spent], world: World) -> list[Heartbeat]:
    """Every rank's times since the last call, on every rank: one small sum."""
    table = torch.zeros(world.size, len(WORK), 2, dtype=torch.float64, device=world.device)
    own = [[spent[work].seconds, spent[work].longest] for work in WORK]
    table[world.rank] = torch.tensor(own, dtype=torch.float64, device=world.device)
    return [
        Heartbeat(
            phase="pretrain",
            first_step=first_step,
            step=step,
            rank=rank,
            work=work,
            seconds=seconds,
            longest_seconds=longest,
        )
        for rank, works in enumerate(world.sum(table).tolist())
        for work, (seconds, longest) in zip(WORK, works, strict=True)
        if seconds
    ]
