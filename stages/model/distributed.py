"""Which of how many processes this one is, whoever started it, and the group that they talk in.

`stages.base.rank` gives the rank; here are its companions: world size, rank and number on this node, and where rank 0
listens. One process alone needs no port: its group lives in memory. Backend: xccl on Intel GPUs, nccl on NVIDIA, gloo
on CPUs.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch._C._distributed_c10d import HashStore

from stages.base import RANK_VARIABLES, SettingsError, rank

SIZE_VARIABLES = ("WORLD_SIZE", "PALS_SIZE", "PMI_SIZE", "PMIX_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
LOCAL_RANK_VARIABLES = (
    "LOCAL_RANK",
    "PALS_LOCAL_RANKID",
    "PMI_LOCAL_RANK",
    "MPI_LOCALRANKID",
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "SLURM_LOCALID",
)
LOCAL_SIZE_VARIABLES = (
    "LOCAL_WORLD_SIZE",
    "PALS_LOCAL_SIZE",
    "PMI_LOCAL_SIZE",
    "MPI_LOCALNRANKS",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
)
JOB_VARIABLES = ("PBS_JOBID", "SLURM_JOB_ID")
BACKENDS = {"xpu": "xccl", "cuda": "nccl", "cpu": "gloo"}
FIRST_PORT, NUM_PORTS = 20_000, 10_000  # below the ports that Linux hands out by itself (32768 on)


@dataclass(frozen=True)
class World:
    """One process among its peers: all of the run, or those in `group`, where several may share one `rank`'s work."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    device: torch.device
    group: dist.ProcessGroup | None = None

    @property
    def alone(self) -> bool:
        """Whether there is nobody to talk to."""
        return self.size == 1 and self.group is None

    def sum(self, values: Tensor) -> Tensor:
        """Add up a tensor over all ranks, in place."""
        if not self.alone:
            dist.all_reduce(values, group=self.group)
        return values

    def wait(self, work: dist.Work) -> None:
        """Wait for a message that is on its way."""
        work.wait()

    def from_first(self, number: int) -> int:
        """Rank 0's number, on every rank."""
        if self.alone:
            return number
        values = torch.tensor([number], device=self.device)
        dist.broadcast(values, group=self.group, group_src=0)
        return int(values.item())


def said(words: str, group: dist.ProcessGroup, device: torch.device) -> list[str]:
    """What every rank of a group says, in the order of the ranks."""
    own = torch.tensor(list(words.encode()), dtype=torch.uint8, device=device)
    lengths = [torch.empty(1, dtype=torch.int64, device=device) for _ in range(group.size())]
    dist.all_gather(lengths, torch.tensor([len(own)], device=device), group=group)
    every = [own.new_zeros(int(max(lengths))) for _ in lengths]
    dist.all_gather(every, F.pad(own, (0, len(every[0]) - len(own))), group=group)
    return [bytes(e[: int(n)].tolist()).decode() for e, n in zip(every, lengths, strict=True)]


def world_size(environ: Mapping[str, str] = os.environ) -> int:
    """Processes of this run: 1 if no launcher started it; `SettingsError` if one did and does not say how many."""
    found = _first(SIZE_VARIABLES, environ)
    if found is not None:
        return found
    launched = [v for v in RANK_VARIABLES if v in environ and v != "SLURM_PROCID"]  # a batch script has that one too
    if launched:
        names = ", ".join(SIZE_VARIABLES)
        raise SettingsError(f"{launched[0]} is set, but none of {names}: set WORLD_SIZE to the number of processes")
    return 1


def local_rank(environ: Mapping[str, str] = os.environ) -> int:
    """Which of its node's processes this one is."""
    return _first(LOCAL_RANK_VARIABLES, environ) or 0


def local_size(environ: Mapping[str, str] = os.environ) -> int:
    """Processes on this node; all of them where the launcher does not say (fewer threads each, but right)."""
    return _first(LOCAL_SIZE_VARIABLES, environ) or world_size(environ)


def master(environ: Mapping[str, str] = os.environ) -> tuple[str, int]:
    """Host and port where rank 0 listens: as set, else the job's first node and a port of the job's own number."""
    address = environ.get("MASTER_ADDR") or environ.get("SLURM_LAUNCH_NODE_IPADDR")
    if not address and "PBS_NODEFILE" in environ:
        address = Path(environ["PBS_NODEFILE"]).read_text().split()[0]
    if not address:
        raise SettingsError("several processes, but nobody says where rank 0 listens: set MASTER_ADDR")
    job = next((environ[v] for v in JOB_VARIABLES if v in environ), "0")
    own_port = FIRST_PORT + int("".join(filter(str.isdigit, job.split(".")[0])) or 0) % NUM_PORTS
    return address, int(environ.get("MASTER_PORT") or own_port)


def choose_device(index: int) -> torch.device:
    """The accelerator for local rank `index`: Intel, then NVIDIA, then the CPU."""
    for kind in ("xpu", "cuda"):
        module = getattr(torch, kind, None)
        if module is not None and module.is_available():
            device = torch.device(kind, index % module.device_count())  # launchers may show each rank one device only
            module.set_device(device)
            return device
    return torch.device("cpu")


@contextlib.contextmanager
def joined() -> Iterator[World]:
    """Join the other ranks for the time of the block."""
    size = world_size()
    device = choose_device(local_rank())
    world = World(rank(), size, local_rank(), local_size(), device)
    names = {"RANK": str(world.rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(world.local_rank)}
    if device.type == "cpu":
        names["DS_ACCELERATOR"] = os.environ.get("DS_ACCELERATOR", "cpu")
    if size > 1:
        address, port = master()
        names |= {"MASTER_ADDR": address, "MASTER_PORT": str(port)}
    with _environment(names):  # DeepSpeed reads them
        store = HashStore() if size == 1 else None
        dist.init_process_group(BACKENDS[device.type], store=store, rank=world.rank, world_size=size)
        try:
            yield world
        finally:
            _leave()


@contextlib.contextmanager
def _environment(names: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the time of the block: another library takes a leftover RANK for a launcher's."""
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({name: value} if value is not None else {})


def _leave() -> None:
    """Take the group apart, and DeepSpeed's groups of it, so that the process can join another."""
    deepspeed = sys.modules.get("deepspeed")
    if deepspeed is not None and deepspeed.comm.is_initialized():
        deepspeed.comm.destroy_process_group()
    else:
        dist.destroy_process_group()


def _first(names: tuple[str, ...], environ: Mapping[str, str]) -> int | None:
    return next((int(environ[n]) for n in names if n in environ), None)
