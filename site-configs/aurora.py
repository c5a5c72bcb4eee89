"""Aurora at ALCF: 10,624 nodes, 6 Intel Data Center GPU Max each, seen as 12 tiles; PBS. Sources: aurora.md."""

import os
from pathlib import Path
from typing import Any

from workflows.site import Resource, Site

TILES = 12
NODES = int(os.environ.get("BOREALIS_NODES", "2"))
QUEUE = os.environ.get("BOREALIS_QUEUE", "debug-scaling" if NODES <= 256 else "prod")
WALLTIME = os.environ.get("BOREALIS_WALLTIME", "01:00:00")
ACCOUNT = os.environ.get("BOREALIS_ACCOUNT", "")
PROJECT = Path("/lus/flare/projects") / (ACCOUNT or "PROJECT")
FILESYSTEMS = "#PBS -l filesystems=home:flare\n#PBS -l place=scatter\n#PBS -k doe"
# Cores 0 and 52 are reserved for the system; eight cores a tile, none of them over two sockets.
BIND = "list:1-8:9-16:17-24:25-32:33-40:41-48:53-60:61-68:69-76:77-84:85-92:93-100"
# With `frameworks` loaded the hierarchy is FLAT, so that tiles are named 0 to 11, never 0.0 to 5.1.
DEVICES = {"ZE_FLAT_DEVICE_HIERARCHY": "FLAT", "BOREALIS_DEVICE": "xpu"}
ONECCL = {
    "CCL_PROCESS_LAUNCHER": "pmix",
    "CCL_ATL_TRANSPORT": "mpi",
    "CCL_KVS_MODE": "mpi",
    "FI_MR_CACHE_MONITOR": "userfaultfd",
}


def worker_init() -> str:
    """Shell lines at the start of every job. Sockets live under TMPDIR, whose path must be short."""
    return f"module load frameworks; source {PROJECT}/borealis/.venv/bin/activate; export TMPDIR=/tmp"


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
        cpus_per_node=208,
        scheduler_options=FILESYSTEMS,
        worker_init=worker_init(),
        launcher=launcher,
        init_blocks=0,
        max_blocks=1,
    )


def parsl_config(run_dir: Path) -> Any:
    """Three executors: whole nodes for CPU work, one worker a tile, and one task over a job's nodes."""
    from parsl.addresses import address_by_interface
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.launchers import MpiExecLauncher, SimpleLauncher

    from workflows.execute import retries

    per_node = MpiExecLauncher(bind_cmd="--cpu-bind", overrides="--ppn 1")
    address = address_by_interface("hsn0")
    cpu = HighThroughputExecutor("cpu", provider(1, per_node, "debug"), address=address, max_workers_per_node=1)
    tile = HighThroughputExecutor(
        "tile",
        provider(1, per_node, "debug"),
        address=address,
        max_workers_per_node=TILES,
        available_accelerators=TILES,
        prefetch_capacity=0,
    )
    # The stage's own mpiexec spans the nodes, so one worker on the first node starts it.
    nodes = HighThroughputExecutor(
        "nodes", provider(NODES, SimpleLauncher(), QUEUE), address=address, max_workers_per_node=1
    )
    return Config(executors=[cpu, tile, nodes], run_dir=str(run_dir), **retries(2))


mpiexec = ("mpiexec", "-n", "{ranks}", "-ppn", "{per_node}", "--cpu-bind", BIND)

site = Site(
    name="aurora",
    description="Aurora (ALCF)",
    root=Path(os.environ.get("BOREALIS_ROOT", PROJECT / "borealis" / "runs")),
    python="python3",
    resources={
        "cpu": Resource(executor="cpu", queue="debug", walltime=WALLTIME, env={"BOREALIS_WORKERS": "102"}),
        "gpu": Resource(executor="tile", queue="debug", walltime=WALLTIME, env=DEVICES, base="xpu"),
        "gpus": Resource(
            executor="nodes",
            nodes=NODES,
            ranks_per_node=TILES,
            launch=mpiexec,
            env={**DEVICES, **ONECCL},
            queue=QUEUE,
            walltime=WALLTIME,
            base="xpu",
        ),
        "service": Resource(executor="tile", queue="debug", walltime=WALLTIME, env=DEVICES, base="xpu"),
    },
    parsl_config=parsl_config,
    container=("apptainer", "exec", "--pwd", "/", "--bind", "/lus/flare", "{image}"),
    images=PROJECT / "borealis" / "images",
    needs=("BOREALIS_ACCOUNT",),
)
