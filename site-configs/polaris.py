"""Polaris at ALCF: 560 nodes, 4 NVIDIA A100 each; PBS. Sources: polaris.md."""

import os
from functools import partial
from pathlib import Path

from workflows.cluster import Cluster, num_nodes, num_spares, parsl_config, with_spares, worker_lines
from workflows.facility import EAGLE, HOME, NodeShape, Queue
from workflows.site import Resource, Site

GPUS = 4
NODES = num_nodes(2)
ASKED = NODES + num_spares()  # of a job
QUEUE = os.environ.get("BOREALIS_QUEUE", "debug-scaling" if ASKED <= 10 else "prod")
WALLTIME = os.environ.get("BOREALIS_WALLTIME", "01:00:00")
ACCOUNT = os.environ.get("BOREALIS_ACCOUNT", "")
PROJECT = Path("/lus/eagle/projects") / (ACCOUNT or "PROJECT")
PROXY = "http://proxy.alcf.anl.gov:3128"
CORES = ("24-31", "16-23", "8-15", "0-7")  # GPU 0 hangs on the last NUMA domain
TWINS = ("56-63", "48-55", "40-47", "32-39")  # the other logical processors of the same cores

queues = (
    Queue(name="debug", min_nodes=1, max_nodes=2, max_walltime="01:00:00"),
    Queue(name="debug-scaling", min_nodes=1, max_nodes=10, max_walltime="01:00:00", per_user=1),
    Queue(name="capacity", min_nodes=1, max_nodes=4, max_walltime="168:00:00", per_user=2, running_per_user=1),
    Queue(
        name="prod",
        min_nodes=10,
        max_nodes=496,
        max_walltime="24:00:00",
        routes_to=("small", "medium", "large"),
    ),
    Queue(name="small", min_nodes=10, max_nodes=24, max_walltime="03:00:00", direct=False),
    Queue(name="medium", min_nodes=25, max_nodes=99, max_walltime="06:00:00", direct=False),
    Queue(name="large", min_nodes=100, max_nodes=496, max_walltime="24:00:00", direct=False),
    Queue(
        name="preemptable",
        min_nodes=1,
        max_nodes=10,
        max_walltime="72:00:00",
        per_project=20,
        preemptible=True,
    ),
    Queue(name="demand", min_nodes=1, max_nodes=56, max_walltime="01:00:00", by_request=True),
)

node = NodeShape(
    cores=32,
    threads=64,
    memory_gib=512,
    devices=GPUS,
    device="NVIDIA A100",
    device_memory_gib=40,
    device_tflops=312,
    accelerator="a100-40",
    network_gbytes=50,
    numa=("0-7,32-39", "8-15,40-47", "16-23,48-55", "24-31,56-63"),
)

cluster = Cluster(
    queues=queues,
    node=node,
    filesystems=(HOME, EAGLE),
    interface="bond0",
    proxy=PROXY,
    source="https://docs.alcf.anl.gov/polaris/running-jobs/",
    account=ACCOUNT,
    nodes=ASKED,
    queue=QUEUE,
    cpu_queue="debug",
    gpu_queue="debug",
    walltime=WALLTIME,
    scheduler_options="#PBS -l filesystems=home:eagle\n#PBS -l place=scatter\n#PBS -k doe",
    select_options=f"ngpus={GPUS}",
    worker_init=worker_lines(
        ["module use /soft/modulefiles", "module load conda", "conda activate"],
        PROJECT / "borealis" / ".venv",
        {
            "TMPDIR": "/tmp",  # noqa: S108 - sockets live under it, so that its path must be short
            "http_proxy": PROXY,
            "https_proxy": PROXY,
            "no_proxy": "localhost,127.0.0.1,*.polaris.alcf.anl.gov,*.alcf.anl.gov",
        },
    ),
    launcher_overrides="--depth=64 --ppn 1",
    cpu_affinity="list:" + ":".join(f"{core},{twin}" for core, twin in zip(CORES, TWINS, strict=True)),
    devices=tuple(map(str, range(GPUS))),
)

here = {"walltime": WALLTIME}
mpiexec = ("mpiexec", "-n", "{ranks}", "--ppn", "{per_node}", "--cpu-bind", "list:" + ":".join(CORES))

site = Site(
    name="polaris",
    description="Polaris (ALCF)",
    root=Path(os.environ.get("BOREALIS_ROOT", PROJECT / "borealis" / "runs")),
    python="python3",
    resources={
        "cpu": Resource(executor="cpu", queue=cluster.cpu_queue, env={"BOREALIS_WORKERS": "32"}, **here),
        "gpu": Resource(executor="gpu", queue=cluster.gpu_queue, base="cuda", **here),
        "gpus": Resource(
            executor="nodes",
            nodes=NODES,
            ranks_per_node=GPUS,
            launch=with_spares(mpiexec, GPUS),
            queue=QUEUE,
            base="cuda",
            **here,
        ),
        "service": Resource(executor="gpu", queue=cluster.gpu_queue, base="cuda", **here),
    },
    cluster=cluster,
    parsl_config=partial(parsl_config, cluster),
    container=("apptainer", "exec", "--nv", "--fakeroot", "--bind", "/lus/eagle", "{image}"),
    images=PROJECT / "borealis" / "images",
    needs=("BOREALIS_ACCOUNT",),
)

fresh_config = partial(site.parsl_config, site.root / "parsl")  # for parsl-perf --config
