"""Site files: what they refuse, their queues against ALCF's tables, and that every site builds under the Parsl installed."""

import shutil
import sys
from pathlib import Path

import pytest

from stages.base import PACKAGE_ROOT, SettingsError
from workflows.cluster import parsl_config
from workflows.facility import destination, processors, seconds
from workflows.site import Resource, Site, load_site

SITES = sorted(f.stem for f in (PACKAGE_ROOT / "site-configs").glob("*.py"))
CLUSTERS = ("aurora", "polaris")

# ALCF's tables as their pages give them (read 2026-11-22): queue, nodes, hours, jobs of a user.
AURORA = """
debug 1 2 1 1
debug-scaling 2 256 1 1
prod 256 10624 24 -
capacity 1 16 168 5
visualization 1 32 8 -
small 256 1024 12 -
medium 1025 1999 18 -
large 2000 10624 24 -
"""
POLARIS = """
debug 1 2 1 -
debug-scaling 1 10 1 1
prod 10 496 24 -
preemptable 1 10 72 -
demand 1 56 1 -
capacity 1 4 168 2
small 10 24 3 -
medium 25 99 6 -
large 100 496 24 -
"""


@pytest.fixture(autouse=True)
def _outside_a_job(monkeypatch) -> None:
    for name in ("PBS_NODEFILE", "SLURM_JOB_NODELIST", "SLURM_JOB_NUM_NODES", "BOREALIS_NODES", "BOREALIS_QUEUE"):
        monkeypatch.delenv(name, raising=False)


def local(site: Site, folder: Path):
    """The site's Parsl configuration, listening on this machine's loopback interface."""
    return parsl_config(site.cluster.model_copy(update={"address": "127.0.0.1"}), folder)


@pytest.mark.parametrize(("name", "table"), [("aurora", AURORA), ("polaris", POLARIS)])
def test_queues_are_the_facilitys(name: str, table: str) -> None:
    """Every queue of the facility's table is in the site, with its nodes, hours and jobs of a user, and no other."""
    expected = {words[0]: tuple(words[1:]) for words in map(str.split, table.strip().splitlines())}
    found = {
        q.name: tuple(map(str, (q.min_nodes, q.max_nodes, seconds(q.max_walltime) // 3600, q.per_user or "-")))
        for q in load_site(name).cluster.queues
    }
    assert found == expected
    assert all(q.min_walltime == "00:05:00" for q in load_site(name).cluster.queues)
    assert {q.name for q in load_site(name).cluster.queues if not q.direct} == {"small", "medium", "large"}


@pytest.mark.parametrize(
    ("site", "queue", "nodes", "walltime", "runs_in"),
    [
        ("aurora", "prod", 256, "12:00:00", "small"),
        ("aurora", "prod", 256, "13:00:00", None),
        ("aurora", "prod", 1500, "18:00:00", "medium"),
        ("aurora", "prod", 10_624, "24:00:00", "large"),
        ("aurora", "debug", 3, "01:00:00", None),
        ("aurora", "debug", 1, "00:04:00", None),
        ("aurora", "nonsense", 1, "01:00:00", None),
        ("polaris", "prod", 10, "24:00:00", None),  # ALCF's own example of a job that vanishes
        ("polaris", "prod", 10, "03:00:00", "small"),
        ("polaris", "debug-scaling", 10, "60:00", "debug-scaling"),
    ],
)
def test_jobs_go_where_the_facility_sends_them(site, queue, nodes, walltime, runs_in) -> None:
    """A routing queue takes the first queue into which a job fits by nodes and time; where none fits there is none."""
    found = destination(load_site(site).cluster.queues, queue, nodes, walltime)
    assert (found.name if found else None) == runs_in


@pytest.mark.parametrize("name", SITES)
def test_every_site_has_its_page_and_a_configuration_for_parsl_perf(name: str) -> None:
    """A site file exports `fresh_config`, and its page of sources says when they were read, where they are others'."""
    from workflows.site import load_module

    module = load_module(PACKAGE_ROOT / "site-configs" / f"{name}.py", f"fresh_{name}")
    assert callable(module.fresh_config)
    page = (PACKAGE_ROOT / "site-configs" / f"{name}.md").read_text()
    assert module.site.cluster is None or "2026-11-22" in page
    assert all(variable in page for variable in module.site.needs)


@pytest.mark.parametrize(("name", "accelerators"), [("aurora", 12), ("polaris", 4)])
def test_cluster_executors_build(tmp_path, name: str, accelerators: int) -> None:
    """With an address to listen on, every executor that a size names is built, with the site's devices and job lines."""
    site = load_site(name)
    executors = {e.label: e for e in local(site, tmp_path).executors}
    assert {r.executor for r in site.resources.values()} <= set(executors)
    devices = executors[site.resources["gpu"].executor]
    assert len(devices.available_accelerators) == accelerators
    assert devices.max_workers_per_node == accelerators
    assert len(devices.cpu_affinity.split(":")) == accelerators + 1  # and the word `list`
    for size, resource in site.resources.items():
        provider = executors[resource.executor].provider
        assert (provider.queue, provider.walltime) == (resource.queue, resource.walltime), size
        assert provider.nodes_per_block == resource.nodes
        assert "#PBS -l filesystems=home:" in provider.scheduler_options
        assert "TMPDIR='/tmp'" in provider.worker_init
        assert executors[resource.executor].drain_period < seconds(provider.walltime)


@pytest.mark.skipif(shutil.which("sbatch") is not None, reason="a real Slurm would be asked")
def test_slurm_executors_build(monkeypatch, tmp_path) -> None:
    """The site for Slurm asks for partition, account and devices in its job lines, and for none where there are none."""
    for name, value in {"ACCOUNT": "abc", "QUEUE": "gpu", "CPU_QUEUE": "cpu", "GPUS_PER_NODE": "4"}.items():
        monkeypatch.setenv(f"BOREALIS_{name}", value)
    executors = {e.label: e.provider for e in local(load_site("slurm"), tmp_path).executors}
    assert "#SBATCH --partition=cpu" in executors["cpu"].scheduler_options
    assert "--gpus-per-node" not in executors["cpu"].scheduler_options
    for label in ("gpu", "nodes"):
        lines = executors[label].scheduler_options
        assert all(f"#SBATCH --{x}" in lines for x in ("partition=gpu", "account=abc", "gpus-per-node=4", "exclusive"))


@pytest.mark.parametrize("name", CLUSTERS)
def test_inside_a_job_nothing_is_submitted(monkeypatch, tmp_path, name: str) -> None:
    """In a PBS job the executors use the job's own nodes, all of them, instead of asking for more."""
    (tmp_path / "nodes").write_text("x1\nx2\nx3\nx3\n")
    monkeypatch.setenv("PBS_NODEFILE", str(tmp_path / "nodes"))
    site = load_site(name)
    config = local(site, tmp_path)
    assert {type(e.provider).__name__ for e in config.executors} == {"LocalProvider"}
    assert {e.label: e.provider.nodes_per_block for e in config.executors}["nodes"] == 3
    assert site.resources["gpus"].nodes == 3
    assert {e.drain_period for e in config.executors} == {None}


def test_inside_a_slurm_job_steps_share_its_nodes(monkeypatch, tmp_path) -> None:
    """In a job of Slurm every step overlaps with the others, and each script finds this Python and has a name of its own."""
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n[1-2]")
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    site = load_site("slurm")
    assert "--overlap" in site.resources["gpus"].launch_line()
    for executor in local(site, tmp_path).executors:
        init = executor.provider.worker_init
        assert f"PATH='{Path(sys.executable).parent}'" in init
        assert "SLURM_JOB_NAME=parsl.$$" in init
        assert Path(executor.interchange_launch_cmd[0]).is_file()
        if executor.label != "nodes":
            assert "--overlap" in executor.provider.launcher.overrides


@pytest.mark.parametrize("name", CLUSTERS)
def test_no_rank_is_bound_across_domains_or_to_the_systems_cores(name: str) -> None:
    """Every rank and every worker has cores of its own, inside one NUMA domain, none of them reserved."""
    site = load_site(name)
    node = site.cluster.node
    launch = site.resources["gpus"].launch
    for bind in (launch[launch.index("--cpu-bind") + 1], site.cluster.cpu_affinity):
        shares = [processors(share) for share in bind.removeprefix("list:").split(":")]
        assert len(shares) == node.devices
        assert len(set.union(*shares)) == sum(map(len, shares))
        assert not set.union(*shares) & processors(node.reserved)
        assert max(set.union(*shares)) < node.threads
        assert all(any(share <= processors(domain) for domain in node.numa) for share in shares)


def test_aurora_names_tiles_as_its_modules_do() -> None:
    """With `frameworks` loaded the hierarchy is FLAT, so that tiles are 0 to 11."""
    site = load_site("aurora")
    assert "module load frameworks" in site.cluster.worker_init
    assert {site.resources[size].env["ZE_FLAT_DEVICE_HIERARCHY"] for size in ("gpu", "gpus")} == {"FLAT"}
    assert site.cluster.devices == tuple(str(i) for i in range(12))


def test_a_site_must_offer_every_size(tmp_path) -> None:
    """A site that leaves a size out is refused by name, and so is a file that exports no site."""
    here = Resource(executor="local")
    with pytest.raises(ValueError, match="site x does not offer gpu, gpus, service"):
        Site(name="x", description="", root=tmp_path, resources={"cpu": here}, parsl_config=lambda _: None)
    (tmp_path / "none.py").write_text("")
    with pytest.raises(SettingsError, match="exports `site`"):
        load_site(str(tmp_path / "none.py"))


def test_command_is_launch_then_environment_then_container_then_python() -> None:
    """The parts of a command stand in the order in which they must take hold."""
    gpus = Resource(executor="n", nodes=2, ranks_per_node=3, launch=("mpiexec", "-n", "{ranks}"), env={"A": "1"})
    site = Site(
        name="x",
        description="",
        root=Path("r"),
        resources=dict.fromkeys(("cpu", "gpu", "gpus", "service"), gpus),
        parsl_config=lambda _: None,
        python="py",
        container=("apptainer", "exec", "{image}"),
        images=Path("i"),
    )
    plain = ["mpiexec", "-n", "6", "env", "A=1", "py", "-m", "stages.parse", "--out", "o"]
    assert site.command("parse", "gpus", ["--out", "o"], container=False) == plain
    boxed = site.command("parse", "gpus", [], container=True)
    assert boxed[5:] == ["apptainer", "exec", "i/parse-cpu.sif", "python3", "-m", "stages.parse"]
