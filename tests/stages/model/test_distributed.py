import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from stages.base import SettingsError
from stages.model import distributed
from stages.model.distributed import joined, local_rank, local_size, master, world_size

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_SIZE": "8",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}
PALS = {"PALS_RANKID": "3", "PMI_SIZE": "8", "PALS_LOCAL_RANKID": "1", "PALS_LOCAL_SIZE": "2"}
MPICH = {"PMI_RANK": "3", "PMI_SIZE": "8", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}


@pytest.fixture
def _same_environment() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize("environ", [TORCHRUN, OPEN_MPI, PALS, MPICH])
def test_every_launcher_is_understood(environ: dict[str, str]) -> None:
    """Size, local rank and local size come from whichever launcher set them."""
    assert (world_size(environ), local_rank(environ), local_size(environ)) == (8, 1, 2)


def test_no_launcher_is_one_process() -> None:
    """Without a launcher there is one process, also in a Slurm batch script, which has a rank but no step."""
    assert world_size({}) == local_size({}) == 1
    assert world_size({"SLURM_PROCID": "0", "SLURM_NTASKS": "64"}) == 1
    assert world_size({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "64"}) == 64


def test_a_rank_without_a_size_is_refused() -> None:
    """Eight processes that each think they are alone would write over each other: an error names the variables."""
    with pytest.raises(SettingsError, match="PALS_RANKID is set, but none of WORLD_SIZE"):
        world_size({"PALS_RANKID": "0"})


def test_rank_0_listens_where_the_job_says(tmp_path: Path) -> None:
    """MASTER_ADDR wins; else the first node of the PBS job, on a port of the job's own."""
    nodes = tmp_path / "nodes"
    nodes.write_text("x1.example\nx2.example\n")
    pbs = {"PBS_NODEFILE": str(nodes), "PBS_JOBID": "1234567.aurora-pbs"}
    assert master(pbs) == ("x1.example", 20_000 + 4567)
    assert master({**pbs, "MASTER_ADDR": "y", "MASTER_PORT": "5"}) == ("y", 5)
    with pytest.raises(SettingsError, match="set MASTER_ADDR"):
        master({})


@pytest.mark.usefixtures("_same_environment")
def test_one_process_needs_no_port() -> None:
    """Alone, the group lives in memory, sums are what they were, and it can be joined again."""
    for _ in range(2):
        with joined() as world:
            assert (world.rank, world.size, world.device.type) == (0, 1, "cpu")
            assert world.sum(torch.tensor([1.5, 2.0])).tolist() == [1.5, 2.0]
            assert world.from_first(17) == 17
            assert dist.get_backend() == "gloo"
        assert not dist.is_initialized()
    assert "MASTER_PORT" not in os.environ


@pytest.mark.usefixtures("_same_environment")
def test_the_group_ends_with_an_error() -> None:
    """An exception inside leaves no group behind."""
    with pytest.raises(RuntimeError, match="inside"), joined():
        raise RuntimeError("inside")
    assert not dist.is_initialized()


def test_every_accelerator_has_a_backend() -> None:
    """Intel GPUs talk xccl, NVIDIA nccl, CPUs gloo."""
    assert distributed.BACKENDS == {"xpu": "xccl", "cuda": "nccl", "cpu": "gloo"}
