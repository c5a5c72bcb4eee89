"""Polaris at ALCF: 560 nodes, 4 NVIDIA A100 each; PBS. Sources: polaris.md."""

import os
from functools import partial
from pathlib import Path

from workflows.pbs import Cluster, parsl_config
from workflows.site import Resource, Site

GPUS = 4
NODES = int(os.environ.get("BOREALIS_NODES", "2"))
QUEUE = os.environ.get("BOREALIS_QUEUE", "debug-scaling" if NODES <= 10 else "prod")
WALLTIME = os.environ.get("BOREALIS_WALLTIME", "01:00:00")
ACCOUNT = os.environ.get("BOREALIS_ACCOUNT", "")
PROJECT = Path("/lus/eagle/projects") / (ACCOUNT or "PROJECT")
FILESYSTEMS = "#PBS -l filesystems=home:eagle\n#PBS -l place=scatter\n#PBS -k doe"
AFFINITY = "list:24-31,56-63:16-23,48-55:8-15,40-47:0-7,32-39"  # GPU 0 hangs on the last NUMA domain

MODULES = "module use /soft/modulefiles; module load conda; conda activate"

cluster = Cluster(
    account=ACCOUNT,
    nodes=NODES,
    queue=QUEUE,
    small_queue="debug",
    walltime=WALLTIME,
    interface="bond0",
    cpus_per_node=64,
    devices_per_node=GPUS,
    scheduler_options=FILESYSTEMS,
    # Sockets live under TMPDIR, whose path must be short.
    worker_init=f"{MODULES}; source {PROJECT}/borealis/.venv/bin/activate; export TMPDIR=/tmp",
    launcher_overrides="--depth=64 --ppn 1",
    select_options=f"ngpus={GPUS}",
    cpu_affinity=AFFINITY,
)

mpiexec = ("mpiexec", "-n", "{ranks}", "--ppn", "{per_node}", "--depth=8", "--cpu-bind", "depth")

site = Site(
    name="polaris",
    description="Polaris (ALCF)",
    root=Path(os.environ.get("BOREALIS_ROOT", PROJECT / "borealis" / "runs")),
    python="python3",
    resources={
        "cpu": Resource(executor="cpu", queue="debug", walltime=WALLTIME, env={"BOREALIS_WORKERS": "32"}),
        "gpu": Resource(executor="gpu", queue="debug", walltime=WALLTIME, base="cuda"),
        "gpus": Resource(
            executor="nodes",
            nodes=NODES,
            ranks_per_node=GPUS,
            launch=mpiexec,
            queue=QUEUE,
            walltime=WALLTIME,
            base="cuda",
        ),
        "service": Resource(executor="gpu", queue="debug", walltime=WALLTIME, base="cuda"),
    },
    parsl_config=partial(parsl_config, cluster),
    container=("apptainer", "exec", "--nv", "--fakeroot", "--bind", "/lus/eagle", "{image}"),
    images=PROJECT / "borealis" / "images",
    needs=("BOREALIS_ACCOUNT",),
)
