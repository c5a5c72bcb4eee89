"""The site for Slurm on a real one: controller, daemons, `sbatch`, `srun` and Parsl's own provider; only the nodes are names."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from stages.base import PACKAGE_ROOT
from tests import slurm
from tests.long import when_asked
from workflows.base import load_recipe

RECIPE = PACKAGE_ROOT / "workflows" / "pretrain.py"
RUN = [sys.executable, "-m", "workflows", "run", str(RECIPE), "--site", "slurm", "--stub"]

pytestmark = [
    pytest.mark.slow,
    when_asked("test-slurm"),
    pytest.mark.skipif(bool(slurm.missing()), reason=f"no {', '.join(slurm.missing())} here: {slurm.CURE}"),
]


@pytest.fixture
def login() -> Iterator[dict[str, str]]:
    """A login node's environment, of a Slurm for this test alone."""
    with slurm.running() as variables:
        yield {k: v for k, v in variables.items() if not k.startswith("PYTEST_")}


def do(words: list[str], variables: Mapping[str, str], folder: Path) -> str:
    """Run a command there, under a root of this test's own; returns what it printed."""
    (folder / "papers").mkdir()
    (folder / "papers" / "one.txt").write_text("A paper about basalt.")
    env = {**variables, "BOREALIS_ROOT": str(folder / "runs")}
    done = subprocess.run(
        [*words, "--set", f"ingest.paths={folder / 'papers'}"],
        cwd=PACKAGE_ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def all_done(folder: Path) -> bool:
    """Whether every stage of the recipe has its manifest."""
    settings = {"ingest": {"paths": str(folder / "papers")}}
    return all(n.done for n in load_recipe(RECIPE, folder / "runs" / "stub", settings).nodes)


def test_life_cycle(login, tmp_path) -> None:
    """From a login node every stage ends well, in jobs of one node and of two that Slurm ran, and no job is left in its queue."""
    do(RUN, login, tmp_path)
    assert all_done(tmp_path)
    queue = subprocess.run(["squeue", "--noheader"], env=login, capture_output=True, text=True, check=True)
    assert queue.stdout == ""
    jobs = slurm.ended(login)
    nodes = {job["Name"].split(".")[1]: int(job["NodeCnt"]) for job in jobs}
    assert nodes == {"cpu": 1, "gpu": 1, "nodes": slurm.NODES_A_JOB}
    assert {job["JobState"] for job in jobs} <= {"COMPLETED", "CANCELLED"}


def test_inside_a_job(login, tmp_path) -> None:
    """In an allocation no further job is submitted: the steps of all executors share its nodes, none waits for another."""
    words = ["salloc", f"--nodes={slurm.NODES_A_JOB}", "--exclusive", *RUN]
    do(words, login, tmp_path)
    assert all_done(tmp_path)
    assert [job["NodeCnt"] for job in slurm.ended(login)] == [str(slurm.NODES_A_JOB)]


def test_the_launch_line_gives_each_node_its_ranks(login) -> None:
    """The line before a many-node stage starts a process on each of two nodes, numbered as the stages read ranks."""
    from workflows.site import load_site

    code = (
        "import os; from stages.model.distributed import world_size, master; from stages.base import rank; "
        "print(os.environ['SLURMD_NODENAME'], rank(), world_size(), master()[0])"
    )
    environment = {**os.environ, **login}
    resource = load_site("slurm").resources["gpus"].model_copy(update={"nodes": slurm.NODES_A_JOB})
    words = ["salloc", f"--nodes={slurm.NODES_A_JOB}", *resource.launch_line(), sys.executable, "-c", code]
    done = subprocess.run(words, cwd=PACKAGE_ROOT, env=environment, capture_output=True, text=True, check=True)
    assert sorted(done.stdout.splitlines()) == ["n1 0 2 127.0.0.1", "n2 1 2 127.0.0.1"]
