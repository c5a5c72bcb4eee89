"""What a machine of others allows: queues with their limits, the shape of a node, its filesystems, its proxy."""

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

MIN_WALLTIME = "00:05:00"


class Queue(BaseModel):
    """A queue as its facility's page gives it. Counts are of jobs; None where the page names no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    min_nodes: int
    max_nodes: int
    max_walltime: str
    min_walltime: str = MIN_WALLTIME
    per_user: int | None = None  # queued and running together
    running_per_user: int | None = None
    per_project: int | None = 100  # queued
    running_per_project: int | None = 10
    routes_to: tuple[str, ...] = ()  # a routing queue runs nothing itself
    direct: bool = True  # False where only a routing queue puts jobs in
    by_request: bool = False
    preemptible: bool = False

    def misfits(self, nodes: int, walltime: str) -> list[str]:
        """Why a job of so many nodes and so long cannot be in this queue; empty if it can."""
        found = []
        if not self.min_nodes <= nodes <= self.max_nodes:
            found.append(f"{nodes} node(s), where {self.name} takes {self.min_nodes} to {self.max_nodes}")
        if not seconds(self.min_walltime) <= seconds(walltime) <= seconds(self.max_walltime):
            found.append(f"walltime {walltime}, where {self.name} takes {self.min_walltime} to {self.max_walltime}")
        return found


class NodeShape(BaseModel):
    """One node. Logical processors are numbered as the machine does; `numa` and `reserved` are lists of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cores: int
    threads: int  # logical processors
    memory_gib: int
    devices: int  # as programs see them: on Aurora tiles
    device: str
    device_memory_gib: int
    device_tflops: float = 0  # of a bf16 matrix product, 0 where it is not known
    accelerator: str = ""  # a name in workflows/plan/machine.py, whose rates and links predict layouts
    network_gbytes: float = 0  # GB/s of a node to the others, all its adapters together
    numa: tuple[str, ...] = ()
    reserved: str = ""  # kept for the system


class Filesystem(NamedTuple):
    """A filesystem that a job must ask for by name, and where it is mounted."""

    name: str
    mounts: tuple[str, ...]


HOME = Filesystem("home", ("/home",))
FLARE = Filesystem("flare", ("/lus/flare", "/flare"))
EAGLE = Filesystem("eagle", ("/lus/eagle", "/eagle"))
KNOWN = (FLARE, EAGLE)


def seconds(walltime: str) -> int:
    """Seconds of `HH:MM:SS`, `MM:SS` or `SS`. PBS reads `30:00` as half an hour."""
    total = 0
    for part in walltime.split(":"):
        total = total * 60 + int(part)
    return total


def clock(duration: int) -> str:
    """`HH:MM:SS` of seconds."""
    return f"{duration // 3600:02d}:{duration // 60 % 60:02d}:{duration % 60:02d}"


def processors(text: str) -> set[int]:
    """The logical processors of `1-8,105-112`."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        low, _, high = part.partition("-")
        found |= set(range(int(low), int(high or low) + 1))
    return found


def destination(queues: Sequence[Queue], name: str, nodes: int, walltime: str) -> Queue | None:
    """The queue in which such a job runs: the named one, or the first that a routing queue finds; None if there is none."""
    by_name = {q.name: q for q in queues}
    queue = by_name.get(name)
    if queue is None or queue.misfits(nodes, walltime):
        return None
    if not queue.routes_to:
        return queue
    return next((by_name[r] for r in queue.routes_to if not by_name[r].misfits(nodes, walltime)), None)
