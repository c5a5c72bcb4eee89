"""A laptop or workstation: threads instead of a scheduler, every core for one stage at a time, no container."""

import os
from functools import partial
from pathlib import Path
from typing import Any

from workflows.site import Resource, Site


def parsl_config(run_dir: Path) -> Any:
    """Two stages at once: independent branches of the graph, such as scoring the base model during post-training."""
    from parsl.config import Config
    from parsl.executors import ThreadPoolExecutor

    return Config(
        executors=[ThreadPoolExecutor(label="local", max_threads=2)],
        run_dir=str(run_dir),
        initialize_logging=False,
    )


# Threads that wait must sleep: two stages that spin on the same two cores take 20 times as long.
env = {"BOREALIS_WORKERS": str(len(os.sched_getaffinity(0))), "OMP_WAIT_POLICY": "PASSIVE"}
here = Resource(executor="local", env=env)

root = Path(os.environ.get("BOREALIS_ROOT", "runs")).absolute()

site = Site(
    name="laptop",
    description="this machine",
    root=root,
    resources={"cpu": here, "gpu": here, "gpus": here, "service": here},
    parsl_config=parsl_config,
    container=("apptainer", "exec", "--userns", "--bind", f"{root}", "{image}"),
)

fresh_config = partial(site.parsl_config, site.root / "parsl")  # for parsl-perf --config
