"""Polaris at ALCF: 560 nodes, 4 NVIDIA A100 each; PBS. Sources: polaris.md."""

import os
from pathlib import Path
from typing import Any

from workflows.site import Resource, Site

GPUS = 4
NODES = int(os.environ.get("BOREALIS_NODES", "2"))
QUEUE = os.environ.get("BOREALIS_QUEUE", "debug-scaling" if NODES <= 10 else "prod")
WALLTIME = os.environ.get("BOREALIS_WALLTIME", "01:00:00")
ACCOUNT = os.environ.get("BOREALIS_ACCOUNT", "")
PROJECT = Path("/lus/eagle/projects") / (ACCOUNT or "PROJECT")
FILESYSTEMS = "#PBS -l filesystems=home:eagle\n#PBS -l place=scatter\n#PBS -k doe"
AFFINITY = "list:24-31,56-63:16-23,48-55:8-15,40-47:0-7,32-39"  # GPU 0 hangs on the last NUMA domain
DEVICES = {"BOREALIS_DEVICE": "cuda"}


def worker_init() -> str:
    """Shell lines at the start of every job. Sockets live under TMPDIR, whose path must be short."""
    modules = "module use /soft/modulefiles; module load conda; conda activate"
    return f"{modules}; source {PROJECT}/borealis/.venv/bin/activate; export TMPDIR=/tmp"


def provider(nodes: int, launcher: Any, queue: str) -> Any:
    """A PBS job of so many nodes; or the job that we are in, where `PBS_NODEFILE` says that we are in one."""
    from parsl.providers import LocalProvider, PBSProProvider

    if "PBS_NODEFILE" in os.environ:
        return LocalProvider(nodes_per_block=nodes, launcher=launcher, init_blocks=1, max_blocks=1)
    return PBSProProvider(
        account=ACCOUNT,
        queue=queue,
        walltime=WALLTIME,
        nodes_per_block=nodes,
        cpus_per_node=64,
        select_options=f"ngpus={GPUS}",
        scheduler_options=FILESYSTEMS,
        worker_init=worker_init(),
        launcher=launcher,
        init_blocks=0,
        max_blocks=1,
    )


def parsl_config(run_dir: Path) -> Any:
    """Three executors: whole nodes for CPU work, one worker a GPU, and one task over a job's nodes."""
    from parsl.addresses import address_by_interface
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.launchers import MpiExecLauncher, SimpleLauncher

    from workflows.execute import retries

    per_node = MpiExecLauncher(bind_cmd="--cpu-bind", overrides="--depth=64 --ppn 1")
    address = address_by_interface("bond0")
    cpu = HighThroughputExecutor("cpu", provider(1, per_node, "debug"), address=address, max_workers_per_node=1)
    gpu = HighThroughputExecutor(
        "gpu",
        provider(1, per_node, "debug"),
        address=address,
        max_workers_per_node=GPUS,
        available_accelerators=GPUS,
        cpu_affinity=AFFINITY,
        prefetch_capacity=0,
    )
    # The stage's own mpiexec spans the nodes, so one worker on the first node starts it.
    nodes = HighThroughputExecutor(
        "nodes", provider(NODES, SimpleLauncher(), QUEUE), address=address, max_workers_per_node=1
    )
    return Config(executors=[cpu, gpu, nodes], run_dir=str(run_dir), **retries(2))


mpiexec = ("mpiexec", "-n", "{ranks}", "--ppn", "{per_node}", "--depth=8", "--cpu-bind", "depth")

site = Site(
    name="polaris",
    description="Polaris (ALCF)",
    root=Path(os.environ.get("BOREALIS_ROOT", PROJECT / "borealis" / "runs")),
    python="python3",
    resources={
        "cpu": Resource(executor="cpu", queue="debug", walltime=WALLTIME, env={"BOREALIS_WORKERS": "32"}),
        "gpu": Resource(executor="gpu", queue="debug", walltime=WALLTIME, env=DEVICES, base="cuda"),
        "gpus": Resource(
            executor="nodes",
            nodes=NODES,
            ranks_per_node=GPUS,
            launch=mpiexec,
            env=DEVICES,
            queue=QUEUE,
            walltime=WALLTIME,
            base="cuda",
        ),
        "service": Resource(executor="gpu", queue="debug", walltime=WALLTIME, env=DEVICES, base="cuda"),
    },
    parsl_config=parsl_config,
    container=("apptainer", "exec", "--nv", "--fakeroot", "--bind", "/lus/eagle", "{image}"),
    images=PROJECT / "borealis" / "images",
    needs=("BOREALIS_ACCOUNT",),
)
