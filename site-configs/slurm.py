"""Any Slurm cluster: what differs from one to the next is set by environment variables. The list of them: slurm.md."""

import os
from functools import partial
from pathlib import Path

from workflows.cluster import Cluster, num_nodes, parsl_config
from workflows.facility import NodeShape
from workflows.site import Resource, Site

CPUS = int(os.environ.get("BOREALIS_CPUS_PER_NODE", os.cpu_count() or 1))
GPUS = int(os.environ.get("BOREALIS_GPUS_PER_NODE", "0"))
NODES = num_nodes(1)
PARTITION = os.environ.get("BOREALIS_QUEUE", "")
CPU_PARTITION = os.environ.get("BOREALIS_CPU_QUEUE", PARTITION)
WALLTIME = os.environ.get("BOREALIS_WALLTIME", "01:00:00")
RANKS = GPUS or 1

cluster = Cluster(
    scheduler="slurm",
    node=NodeShape(
        cores=CPUS,
        threads=CPUS,
        memory_gib=int(os.environ.get("BOREALIS_MEMORY_GIB_PER_NODE", "0")),
        devices=GPUS,
        device="NVIDIA GPU",
        device_memory_gib=0,
    ),
    interface=os.environ.get("BOREALIS_INTERFACE", ""),
    source="https://slurm.schedmd.com/sbatch.html",
    account=os.environ.get("BOREALIS_ACCOUNT", ""),
    nodes=NODES,
    queue=PARTITION,
    cpu_queue=CPU_PARTITION,
    gpu_queue=PARTITION,
    walltime=WALLTIME,
    scheduler_options=os.environ.get("BOREALIS_SBATCH", ""),
    worker_init=os.environ.get("BOREALIS_WORKER_INIT", "export TMPDIR=/tmp"),
    launcher_overrides="--ntasks-per-node=1 --overlap",
    devices=tuple(map(str, range(GPUS))),
)

here = {"walltime": WALLTIME}
srun = ("srun", "--overlap", "--nodes", "{nodes}", "--ntasks", "{ranks}", "--ntasks-per-node", "{per_node}")

site = Site(
    name="slurm",
    description="a Slurm cluster",
    root=Path(os.environ.get("BOREALIS_ROOT", "runs")).absolute(),
    python=os.environ.get("BOREALIS_PYTHON", "python3"),
    resources={
        "cpu": Resource(executor="cpu", queue=CPU_PARTITION, env={"BOREALIS_WORKERS": str(CPUS)}, **here),
        "gpu": Resource(executor="gpu", queue=PARTITION, base="cuda", **here),
        "gpus": Resource(
            executor="nodes", nodes=NODES, ranks_per_node=RANKS, launch=srun, queue=PARTITION, base="cuda", **here
        ),
        "service": Resource(executor="gpu", queue=PARTITION, base="cuda", **here),
    },
    cluster=cluster,
    parsl_config=partial(parsl_config, cluster),
    container=("apptainer", "exec", *(["--nv"] if GPUS else []), "--bind", ".", "{image}"),
)

fresh_config = partial(site.parsl_config, site.root / "parsl")  # for parsl-perf --config
