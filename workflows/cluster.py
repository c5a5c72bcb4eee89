"""Parsl on a machine with a scheduler: an executor for whole nodes, one with a worker a device, one for tasks over many nodes.

On a login node each executor submits jobs; inside a job (`PBS_NODEFILE` or `SLURM_JOB_NODELIST` is set) all use its nodes.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from workflows.facility import Filesystem, NodeShape, Queue, seconds

IN_JOB = ("PBS_NODEFILE", "SLURM_JOB_NODELIST")


class Cluster(BaseModel):
    """What a site file says of a machine and asks of it; its page of sources says where each value is from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheduler: Literal["pbs", "slurm"] = "pbs"
    queues: tuple[Queue, ...] = ()
    node: NodeShape
    filesystems: tuple[Filesystem, ...] = ()
    interface: str  # the network interface at which workers reach the node that runs Parsl; "" lets them try all
    address: str = ""  # the address there, where it is known without asking the interface
    proxy: str = ""  # the way out of the compute nodes
    source: str  # the facility's page on running jobs

    account: str
    nodes: int  # of the jobs in which many-node tasks run
    queue: str  # of these jobs
    cpu_queue: str  # of the one-node jobs of either kind
    gpu_queue: str
    walltime: str
    grace: str = "00:10:00"  # before the walltime is over no task is started for so long
    worker_init: str  # run before the workers start, on the first node of a job
    scheduler_options: str = ""
    select_options: str = ""
    bind_cmd: str = "--cpu-bind"
    launcher_overrides: str = "--ppn 1"  # one manager a node
    cpu_affinity: str = "none"
    devices: tuple[str, ...]  # names, as the variable that masks devices takes them
    encrypted: bool = True
    heartbeat_seconds: int = 120  # a node that says nothing for so long is lost
    poll_seconds: int = 60  # between two questions to the scheduler

    def drain_seconds(self) -> int:
        """How long after a job's start its workers take no more tasks."""
        return seconds(self.walltime) - seconds(self.grace)


def worker_lines(modules: Sequence[str], environment: Path, exports: Mapping[str, str]) -> str:
    """Commands before the workers: modules, the Python environment, variables."""
    return "; ".join(
        [*modules, f"source {environment}/bin/activate", *(f"export {k}='{v}'" for k, v in exports.items())]
    )


def in_job() -> bool:
    """Whether this is a node of a job, where nothing is submitted."""
    return any(name in os.environ for name in IN_JOB)


def job_nodes() -> int:
    """Nodes of the job that we are in; 0 on a login node."""
    if file := os.environ.get("PBS_NODEFILE"):
        return len(set(Path(file).read_text().split()))
    return int(os.environ.get("SLURM_JOB_NUM_NODES", "0"))


def num_nodes(default: int) -> int:
    """Nodes for many-node tasks: the job's own but its spares where we are in one, else `BOREALIS_NODES`, else a default."""
    if here := job_nodes():
        return max(1, here - num_spares())
    return int(os.environ.get("BOREALIS_NODES", default))


def num_spares() -> int:
    """Nodes that a job for many-node tasks has beyond those, in place of any that fails: `BOREALIS_SPARES`."""
    return int(os.environ.get("BOREALIS_SPARES", "0"))


def with_spares(launch: tuple[str, ...], devices: int) -> tuple[str, ...]:
    """A launch line of mpiexec, behind the command that replaces failed nodes if the job has spares."""
    if not num_spares():
        return launch
    return ("python3", "-m", "workflows.spares", "--nodes", "{nodes}", "--devices", str(devices), "--", *launch)


def parsl_config(cluster: Cluster, run_dir: Path) -> Any:
    """The executors `cpu`, `gpu` and `nodes`. In the last the stage's own launch line spans the job, started by one worker."""
    from parsl.config import Config
    from parsl.launchers import SimpleLauncher

    workers = max(1, len(cluster.devices))
    cpu = executor(cluster, "cpu", provider(cluster, 1, per_node(cluster), cluster.cpu_queue), max_workers_per_node=1)
    gpu = executor(
        cluster,
        "gpu",
        provider(cluster, 1, per_node(cluster), cluster.gpu_queue, len(cluster.devices)),
        max_workers_per_node=workers,
        available_accelerators=list(cluster.devices),
        cpu_affinity=cluster.cpu_affinity,
        prefetch_capacity=0,
    )
    large = provider(cluster, cluster.nodes, SimpleLauncher(), cluster.queue, len(cluster.devices))
    nodes = executor(cluster, "nodes", large, max_workers_per_node=1)
    return Config(executors=[cpu, gpu, nodes], run_dir=str(run_dir))


def executor(cluster: Cluster, label: str, jobs: Any, **settings: Any) -> Any:
    """A high-throughput executor whose workers stop taking tasks a grace before their job ends."""
    from parsl.addresses import address_by_interface
    from parsl.executors import HighThroughputExecutor

    from workflows.failures.refusal import patient_error_handler

    return HighThroughputExecutor(
        label,
        jobs,
        address=cluster.address or (address_by_interface(cluster.interface) if cluster.interface else None),
        encrypted=cluster.encrypted,
        interchange_launch_cmd=[str(Path(sys.executable).with_name("interchange.py"))],  # activated or not
        drain_period=None if in_job() else cluster.drain_seconds(),  # a job that we are in began at another time
        heartbeat_threshold=cluster.heartbeat_seconds,
        heartbeat_period=cluster.heartbeat_seconds // 4,
        block_error_handler=patient_error_handler,  # one refused job is not the end
        **settings,
    )


def per_node(cluster: Cluster) -> Any:
    """One manager on every node of a job."""
    from parsl.launchers import MpiExecLauncher, SrunLauncher

    if cluster.scheduler == "slurm":
        return SrunLauncher(overrides=cluster.launcher_overrides)
    return MpiExecLauncher(bind_cmd=cluster.bind_cmd, overrides=cluster.launcher_overrides)


def provider(cluster: Cluster, nodes: int, launcher: Any, queue: str, devices: int = 0) -> Any:
    """A job of so many nodes; or the job that we are in. Slurm gives a job no more devices a node than it asks for."""
    from parsl.providers import LocalProvider, PBSProProvider, SlurmProvider

    if in_job():
        return LocalProvider(
            nodes_per_block=nodes, launcher=launcher, init_blocks=1, max_blocks=1, worker_init=_in_job_init(cluster)
        )
    asked = {
        "account": cluster.account,
        "walltime": cluster.walltime,
        "nodes_per_block": nodes,
        "scheduler_options": cluster.scheduler_options,
        "worker_init": cluster.worker_init,
        "launcher": launcher,
        "init_blocks": 0,
        "max_blocks": 1,
    }
    if cluster.scheduler == "slurm":
        slurm = polling(SlurmProvider, cluster.poll_seconds)
        return slurm(partition=queue or None, exclusive=True, gpus_per_node=devices or None, **asked)
    pbs, threads = polling(PBSProProvider, cluster.poll_seconds), cluster.node.threads
    return pbs(queue=queue, cpus_per_node=threads, select_options=cluster.select_options, **asked)


def polling(provider: Any, seconds: int) -> Any:
    """A kind of provider that asks its scheduler every so many seconds; Parsl has that number in the class."""
    return type(provider.__name__, (provider,), {"status_polling_interval": seconds})


def _in_job_init(cluster: Cluster) -> str:
    """Workers of the job that we are in run in our own Python, activated or not."""
    lines = [f"export PATH='{Path(sys.executable).parent}':\"$PATH\""]
    if cluster.scheduler == "slurm":  # Parsl's launcher names a script after the job, and all executors share this one
        lines.append("export SLURM_JOB_NAME=parsl.$$")
    return "; ".join(lines)
