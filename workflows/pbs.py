"""Parsl on a PBS machine: one executor for whole nodes, one with a worker a device, one for tasks over many nodes."""

import os
from pathlib import Path
from typing import Any, NamedTuple


class Cluster(NamedTuple):
    """What a site file says of a PBS machine; its page of sources says where each value is from."""

    account: str
    nodes: int  # of the jobs in which many-node tasks run
    queue: str  # of these jobs
    small_queue: str  # of one-node jobs
    walltime: str
    interface: str  # the network interface at which workers reach the login node
    cpus_per_node: int
    devices_per_node: int
    scheduler_options: str
    worker_init: str
    launcher_overrides: str
    select_options: str = ""
    cpu_affinity: str = "none"


def parsl_config(cluster: Cluster, run_dir: Path) -> Any:
    """The executors `cpu`, `gpu` and `nodes`. In the last the stage's own mpiexec spans the job, started by one worker."""
    from parsl.addresses import address_by_interface
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.launchers import MpiExecLauncher, SimpleLauncher

    from workflows.execute import retries

    address = address_by_interface(cluster.interface)
    per_node = MpiExecLauncher(bind_cmd="--cpu-bind", overrides=cluster.launcher_overrides)
    small = provider(cluster, 1, per_node, cluster.small_queue)
    cpu = HighThroughputExecutor("cpu", small, address=address, max_workers_per_node=1)
    gpu = HighThroughputExecutor(
        "gpu",
        provider(cluster, 1, per_node, cluster.small_queue),
        address=address,
        max_workers_per_node=cluster.devices_per_node,
        available_accelerators=cluster.devices_per_node,
        cpu_affinity=cluster.cpu_affinity,
        prefetch_capacity=0,
    )
    large = provider(cluster, cluster.nodes, SimpleLauncher(), cluster.queue)
    nodes = HighThroughputExecutor("nodes", large, address=address, max_workers_per_node=1)
    return Config(executors=[cpu, gpu, nodes], run_dir=str(run_dir), **retries(2))


def provider(cluster: Cluster, nodes: int, launcher: Any, queue: str) -> Any:
    """A PBS job of so many nodes; or the job that we are in, where `PBS_NODEFILE` says that we are in one."""
    from parsl.providers import LocalProvider, PBSProProvider

    if "PBS_NODEFILE" in os.environ:
        return LocalProvider(nodes_per_block=nodes, launcher=launcher, init_blocks=1, max_blocks=1)
    return PBSProProvider(
        account=cluster.account,
        queue=queue,
        walltime=cluster.walltime,
        nodes_per_block=nodes,
        cpus_per_node=cluster.cpus_per_node,
        select_options=cluster.select_options,
        scheduler_options=cluster.scheduler_options,
        worker_init=cluster.worker_init,
        launcher=launcher,
        init_blocks=0,
        max_blocks=1,
    )
