"""Aurora at ALCF: 10,624 nodes, 6 Intel Data Center GPU Max each, seen as 12 tiles; PBS. Sources: aurora.md."""

import os
from functools import partial
from pathlib import Path

from workflows.pbs import Cluster, parsl_config
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
DEVICES = {"ZE_FLAT_DEVICE_HIERARCHY": "FLAT"}
ONECCL = {
    "CCL_PROCESS_LAUNCHER": "pmix",
    "CCL_ATL_TRANSPORT": "mpi",
    "CCL_KVS_MODE": "mpi",
    "FI_MR_CACHE_MONITOR": "userfaultfd",
}

cluster = Cluster(
    account=ACCOUNT,
    nodes=NODES,
    queue=QUEUE,
    small_queue="debug",
    walltime=WALLTIME,
    interface="hsn0",
    cpus_per_node=208,
    devices_per_node=TILES,
    scheduler_options=FILESYSTEMS,
    # Sockets live under TMPDIR, whose path must be short.
    worker_init=f"module load frameworks; source {PROJECT}/borealis/.venv/bin/activate; export TMPDIR=/tmp",
    launcher_overrides="--ppn 1",
)

mpiexec = ("mpiexec", "-n", "{ranks}", "-ppn", "{per_node}", "--cpu-bind", BIND)

site = Site(
    name="aurora",
    description="Aurora (ALCF)",
    root=Path(os.environ.get("BOREALIS_ROOT", PROJECT / "borealis" / "runs")),
    python="python3",
    resources={
        "cpu": Resource(executor="cpu", queue="debug", walltime=WALLTIME, env={"BOREALIS_WORKERS": "102"}),
        "gpu": Resource(executor="gpu", queue="debug", walltime=WALLTIME, env=DEVICES, base="xpu"),
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
        "service": Resource(executor="gpu", queue="debug", walltime=WALLTIME, env=DEVICES, base="xpu"),
    },
    parsl_config=partial(parsl_config, cluster),
    container=("apptainer", "exec", "--pwd", "/", "--bind", "/lus/flare", "{image}"),
    images=PROJECT / "borealis" / "images",
    needs=("BOREALIS_ACCOUNT",),
)
