"""Aurora at ALCF: 10,624 nodes, 6 Intel Data Center GPU Max each, seen as 12 tiles; PBS. Sources: aurora.md."""

import os
from functools import partial
from pathlib import Path

from workflows.cluster import Cluster, num_nodes, num_spares, parsl_config, with_spares, worker_lines
from workflows.facility import FLARE, HOME, NodeShape, Queue
from workflows.site import Resource, Site

TILES = 12
NODES = num_nodes(2)
ASKED = NODES + num_spares()  # of a job
QUEUE = os.environ.get("BOREALIS_QUEUE", "debug-scaling" if ASKED <= 256 else "prod")
WALLTIME = os.environ.get("BOREALIS_WALLTIME", "01:00:00")
ACCOUNT = os.environ.get("BOREALIS_ACCOUNT", "")
PROJECT = Path("/lus/flare/projects") / (ACCOUNT or "PROJECT")
PROXY = "http://proxy.alcf.anl.gov:3128"
# Eight cores a tile, none of them over two sockets; cores 0 and 52 are the system's.
CORES = ("1-8", "9-16", "17-24", "25-32", "33-40", "41-48", "53-60", "61-68", "69-76", "77-84", "85-92", "93-100")
# The other logical processor of core c is c + 104.
TWINS = [f"{int(low) + 104}-{int(high) + 104}" for low, high in (c.split("-") for c in CORES)]
# With `frameworks` loaded the hierarchy is FLAT, so that tiles are named 0 to 11, never 0.0 to 5.1.
DEVICES = {"ZE_FLAT_DEVICE_HIERARCHY": "FLAT"}
ONECCL = {
    "CCL_PROCESS_LAUNCHER": "pmix",
    "CCL_ATL_TRANSPORT": "mpi",
    "CCL_KVS_MODE": "mpi",
    "FI_MR_CACHE_MONITOR": "userfaultfd",
}

queues = (
    Queue(name="debug", min_nodes=1, max_nodes=2, max_walltime="01:00:00", per_user=1),
    Queue(name="debug-scaling", min_nodes=2, max_nodes=256, max_walltime="01:00:00", per_user=1),
    Queue(name="capacity", min_nodes=1, max_nodes=16, max_walltime="168:00:00", per_user=5, running_per_user=2),
    Queue(
        name="prod",
        min_nodes=256,
        max_nodes=10_624,
        max_walltime="24:00:00",
        routes_to=("small", "medium", "large"),
    ),
    Queue(name="small", min_nodes=256, max_nodes=1024, max_walltime="12:00:00", direct=False),
    Queue(name="medium", min_nodes=1025, max_nodes=1999, max_walltime="18:00:00", direct=False),
    Queue(name="large", min_nodes=2000, max_nodes=10_624, max_walltime="24:00:00", direct=False),
    Queue(name="visualization", min_nodes=1, max_nodes=32, max_walltime="08:00:00", by_request=True),
)

node = NodeShape(
    cores=104,
    threads=208,
    memory_gib=1024,
    devices=TILES,
    device="tile of an Intel Data Center GPU Max 1550",
    device_memory_gib=64,
    device_tflops=207,
    accelerator="max1550",
    network_gbytes=200,
    numa=("0-51,104-155", "52-103,156-207"),
    reserved="0,52,104,156",
)

cluster = Cluster(
    queues=queues,
    node=node,
    filesystems=(HOME, FLARE),
    interface="hsn0",
    proxy=PROXY,
    source="https://docs.alcf.anl.gov/aurora/running-jobs-aurora/",
    account=ACCOUNT,
    nodes=ASKED,
    queue=QUEUE,
    cpu_queue="capacity",  # `debug` takes one job of a user, and that is the gpu executor's
    gpu_queue="debug",
    walltime=WALLTIME,
    scheduler_options="#PBS -l filesystems=home:flare\n#PBS -l place=scatter\n#PBS -k doe",
    worker_init=worker_lines(
        ["module load frameworks"],
        PROJECT / "borealis" / ".venv",
        {
            "TMPDIR": "/tmp",  # noqa: S108 - sockets live under it, so that its path must be short
            "http_proxy": PROXY,
            "https_proxy": PROXY,
            "no_proxy": "localhost,127.0.0.1,*.hostmgmt.cm.aurora.alcf.anl.gov,*.alcf.anl.gov",
        },
    ),
    cpu_affinity="list:" + ":".join(f"{core},{twin}" for core, twin in zip(CORES, TWINS, strict=True)),
    devices=tuple(map(str, range(TILES))),
)

here = {"walltime": WALLTIME}
mpiexec = ("mpiexec", "-n", "{ranks}", "-ppn", "{per_node}", "--cpu-bind", "list:" + ":".join(CORES))

site = Site(
    name="aurora",
    description="Aurora (ALCF)",
    root=Path(os.environ.get("BOREALIS_ROOT", PROJECT / "borealis" / "runs")),
    python="python3",
    resources={
        "cpu": Resource(executor="cpu", queue=cluster.cpu_queue, env={"BOREALIS_WORKERS": "102"}, **here),
        "gpu": Resource(executor="gpu", queue=cluster.gpu_queue, env=DEVICES, base="xpu", **here),
        "gpus": Resource(
            executor="nodes",
            nodes=NODES,
            ranks_per_node=TILES,
            launch=with_spares(mpiexec, TILES),
            env={**DEVICES, **ONECCL},
            queue=QUEUE,
            base="xpu",
            **here,
        ),
        "service": Resource(executor="gpu", queue=cluster.gpu_queue, env=DEVICES, base="xpu", **here),
    },
    cluster=cluster,
    parsl_config=partial(parsl_config, cluster),
    container=("apptainer", "exec", "--pwd", "/", "--bind", "/lus/flare", "{image}"),
    images=PROJECT / "borealis" / "images",
    needs=("BOREALIS_ACCOUNT",),
)

fresh_config = partial(site.parsl_config, site.root / "parsl")  # for parsl-perf --config
