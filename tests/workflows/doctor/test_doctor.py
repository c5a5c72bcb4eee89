"""The doctor: each rule fires on its bad fixture and on nothing in the sites that are shipped."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.base import PACKAGE_ROOT, SettingsError
from workflows.cluster import executor, parsl_config
from workflows.doctor import examine
from workflows.doctor.binding import by_depth, entries, outside
from workflows.doctor.rules import RULES
from workflows.facility import processors
from workflows.site import Site, load_site


@pytest.fixture(autouse=True)
def _on_a_login_node(monkeypatch) -> None:
    for name in ("PBS_NODEFILE", "SLURM_JOB_NODELIST", "SLURM_JOB_NUM_NODES"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NODES", "QUEUE", "WALLTIME", "ROOT"):
        monkeypatch.delenv(f"BOREALIS_{name}", raising=False)
    monkeypatch.setenv("BOREALIS_ACCOUNT", "abc")


def site(name: str, **changes: object) -> Site:
    """A shipped site whose workers reach it at the loopback address, with other values in its cluster."""
    return load_site(name).asking(address="127.0.0.1", **changes)


def resource(base: Site, size: str, **changes: object) -> Site:
    """A site with other values in one size's resource."""
    resources = {**base.resources, size: base.resources[size].model_copy(update=changes)}
    return base.model_copy(update={"resources": resources})


def rebuilt(base: Site, change: Callable[[dict], None]) -> Site:
    """A site whose executors, by label, are changed after they are built."""

    def build(folder: Path) -> SimpleNamespace:
        executors = {e.label: e for e in parsl_config(base.cluster, folder).executors}
        change(executors)
        return SimpleNamespace(executors=list(executors.values()))

    return base.model_copy(update={"parsl_config": build})


def launch(*words: str) -> tuple[str, ...]:
    """A launch line of twelve ranks a node with these words more."""
    return ("mpiexec", "-n", "{ranks}", "-ppn", "{per_node}", *words)


def without(text: str, part: str) -> str:
    """A text less a part that must be in it."""
    assert part in text
    return text.replace(part, "")


AURORA, POLARIS = load_site("aurora"), load_site("polaris")
DOTTED = tuple(f"{g}.{t}" for g in range(6) for t in range(2))
WORKERS = AURORA.cluster.worker_init


def _mpi_launcher(executors: dict) -> None:
    executors["nodes"].provider.launcher = executors["cpu"].provider.launcher


def _alone_on_two_nodes(executors: dict) -> None:
    executors["gpu"].provider.launcher = executors["nodes"].provider.launcher
    executors["gpu"].provider.nodes_per_block = 2


def _never_drains(executors: dict) -> None:
    executors["nodes"].drain_period = None


def _mpi_executor(executors: dict) -> None:
    """Parsl's MPIExecutor refuses other launchers when it is made, not when it is changed."""
    from parsl.executors import MPIExecutor

    jobs = executors["nodes"].provider
    executors["nodes"] = MPIExecutor(provider=jobs, address="127.0.0.1", drain_period=60)
    jobs.launcher = executors["cpu"].provider.launcher


BAD = [
    ("tile-names", lambda: site("aurora", devices=DOTTED), "0.0, 0.1, 1.0... with FLAT", "0 to 11"),
    (
        "tile-names",
        lambda: resource(site("aurora"), "gpu", env={"ZE_FLAT_DEVICE_HIERARCHY": "COMPOSITE"}),
        "0, 1, 2... with COMPOSITE",
        "GPU.TILE",
    ),
    ("affinity-entries", lambda: site("polaris", cpu_affinity="list:24-31:16-23"), "gpu: 2 entries", "4, one a worker"),
    (
        "affinity-entries",
        lambda: resource(site("aurora"), "gpus", launch=launch("--cpu-bind", "list:1-8:9-16")),
        "gpus: 2 entries",
        "12, one a rank",
    ),
    (
        "reserved-cores",
        lambda: resource(site("aurora"), "gpus", launch=launch("--cpu-bind=list:" + ":".join(map(str, range(12))))),
        "gpus: --cpu-bind: 0",
        "none of 0,52,104,156",
    ),
    (
        "reserved-cores",
        lambda: site("polaris", cpu_affinity="list:0-7:8-15:16-23:60-67"),
        "64, 65, 66, 67",
        "0 to 63",
    ),
    (
        "numa-split",
        lambda: resource(site("aurora"), "gpus", launch=launch("--depth=8", "--cpu-bind", "depth")),
        "gpus: --cpu-bind: entry 6 on 49, 50, 51, 53",  # ALCF's own example of a bad case
        "0-51,104-155",
    ),
    ("filesystems", lambda: site("aurora", scheduler_options="#PBS -k doe"), "cpu: no filesystems", "home:flare"),
    (
        "filesystems",
        lambda: site("polaris", scheduler_options="#PBS -l filesystems=home:grand"),
        "filesystems=grand",
        "of home, eagle",
    ),
    (
        "foreign-paths",
        lambda: site("polaris", worker_init=POLARIS.cluster.worker_init.replace("/lus/eagle", "/lus/flare")),
        "worker_init",
        "copy from flare by Globus",
    ),
    (
        "foreign-paths",
        lambda: site("aurora").model_copy(update={"images": Path("/eagle/abc/images")}),
        "images: /eagle/abc/images",
        "copy from eagle by Globus",
    ),
    (
        "storage-root",
        lambda: site("aurora").model_copy(update={"root": Path("/home/me")}),
        "root /home/me",
        "/lus/flare",
    ),
    (
        "queue-limits",
        lambda: site("aurora", walltime="02:00:00"),
        "gpu: walltime 02:00:00",
        "inside the queue's limits",
    ),
    ("queue-limits", lambda: site("aurora", walltime="00:02:00", grace="0"), "walltime 00:02:00", "limits"),
    ("queue-limits", lambda: site("aurora", nodes=300), "nodes: 300 node(s)", "limits"),
    ("queue-limits", lambda: site("aurora", queue="large"), "nodes: queue large", "submit to prod"),
    ("queue-limits", lambda: site("aurora", queue="prd"), "nodes: queue 'prd'", "debug-scaling"),
    (
        "queue-limits",
        lambda: site(
            "polaris", nodes=10, queue="prod", walltime="24:00:00", cpu_queue="capacity", gpu_queue="preemptable"
        ),
        "nodes: 10 node(s) for 24:00:00",
        "small 03:00:00",
    ),
    ("queue-counts", lambda: site("aurora", cpu_queue="debug"), "2 jobs in debug", "1 of one user"),
    (
        "tmpdir",
        lambda: site("aurora", worker_init=without(WORKERS, "export TMPDIR='/tmp'; ")),
        "not set",
        "TMPDIR=/tmp",
    ),
    (
        "tmpdir",
        lambda: site("aurora", worker_init=WORKERS.replace("'/tmp'", "'/" + 80 * "x" + "'")),
        "of 81",
        "at most",
    ),
    (
        "proxy",
        lambda: site("aurora", worker_init=WORKERS.replace("https_proxy", "x")),
        "https_proxy=",
        "alcf.anl.gov:3128",
    ),
    (
        "proxy",
        lambda: site("polaris", worker_init=WORKERS.replace("127.0.0.1,", "")),
        "without 127.0.0.1",
        "listen there",
    ),
    ("launcher", lambda: rebuilt(site("aurora"), _mpi_launcher), "nodes: MpiExecLauncher", "SimpleLauncher"),
    (
        "launcher",
        lambda: rebuilt(site("aurora"), _alone_on_two_nodes),
        "gpu: SimpleLauncher on 2 nodes",
        "a manager a node",
    ),
    ("launcher", lambda: rebuilt(site("aurora"), _mpi_executor), "MPIExecutor: MpiExecLauncher", "SimpleLauncher"),
    ("drain", lambda: site("aurora", grace="0"), "drain_period 3600 s", "less than the walltime, 3600 s"),
    ("drain", lambda: rebuilt(site("polaris"), _never_drains), "nodes: drain_period None", "3600 s"),
    ("account", lambda: site("aurora", account=""), "no account", "BOREALIS_ACCOUNT"),
]


@pytest.mark.parametrize("name", ["laptop", "aurora", "polaris", "slurm"])
def test_nothing_is_found_in_the_shipped_sites(name: str) -> None:
    """Every rule holds on every site file as it is shipped, with an account set."""
    base = load_site(name)
    assert examine(base.asking(address="127.0.0.1") if base.cluster else base) == []


@pytest.mark.parametrize("walltime", ["00:30:00", "01:00:00"])
@pytest.mark.parametrize(("name", "nodes"), [("aurora", 2), ("aurora", 256), ("polaris", 1), ("polaris", 10)])
def test_nothing_is_found_at_other_sizes(monkeypatch, name, nodes, walltime) -> None:
    """The sites' own choice of queue fits the numbers of nodes and the walltimes that it is made for."""
    monkeypatch.setenv("BOREALIS_NODES", str(nodes))
    monkeypatch.setenv("BOREALIS_WALLTIME", walltime)
    assert examine(site(name)) == []


@pytest.mark.parametrize(("rule", "bad", "found", "expected"), BAD, ids=[f"{i}-{b[0]}" for i, b in enumerate(BAD)])
def test_each_rule_fires_on_its_fixture(rule, bad, found, expected) -> None:
    """The broken rule, and no rule that has nothing to do with it, says what was found, what is expected and where that is written."""
    findings = examine(bad())
    ours = [f for f in findings if f.rule.name == rule]
    assert any(found in f.found and expected in f.expected for f in ours), findings
    assert {f.rule.name for f in findings} <= {rule, *ALONGSIDE.get(rule, ())}
    assert all(f.rule.source.startswith("https://") for f in findings)


# Some faults break two rules: a rank on core 0 leaves no domain, but a worker beyond the node does.
ALONGSIDE = {"reserved-cores": ("numa-split",), "proxy": ("foreign-paths",), "queue-limits": ("drain",)}


def test_every_rule_has_a_fixture() -> None:
    """No rule is without a fixture that breaks it, and no two rules have one name."""
    assert {bad[0] for bad in BAD} == {rule.name for rule in RULES}
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_inside_a_job_the_queues_are_not_asked(monkeypatch, tmp_path) -> None:
    """In a job nothing is submitted, so that no limit of a queue can be broken."""
    (tmp_path / "nodes").write_text("".join(f"x{i}\n" for i in range(300)))
    monkeypatch.setenv("PBS_NODEFILE", str(tmp_path / "nodes"))
    assert examine(site("aurora", queue="debug")) == []


def test_what_parsl_refuses_is_said(tmp_path) -> None:
    """A configuration that Parsl does not build is a settings error with Parsl's own reason."""
    bad = site("aurora").model_copy(update={"parsl_config": lambda _: executor(1)})
    with pytest.raises(SettingsError, match="Parsl refuses its configuration"):
        examine(bad)


def test_depth_binding_is_alcfs_own_table() -> None:
    """`--depth 8 --cpu-bind depth` gives the processors that ALCF's page prints, rank 6 among them on both sockets."""
    shares = by_depth(AURORA.cluster.node, 12, 8)
    assert shares[0] == processors("1-8")
    assert shares[5] == processors("41-48")
    assert shares[6] == processors("49-51,53-57")
    assert outside(shares, [processors(d) for d in AURORA.cluster.node.numa]) == [6]
    assert entries("none") == entries("block") == []


def test_the_command(monkeypatch, tmp_path) -> None:
    """`parsl doctor` lists the rules and ends with 0; with something wrong it shows found, expected and source and ends with 2."""
    command = [sys.executable, "-m", "workflows", "doctor", "--site", "aurora"]
    good = subprocess.run(command, cwd=PACKAGE_ROOT, capture_output=True, text=True, check=True)
    assert f"{len(RULES)} rules hold" in good.stdout
    monkeypatch.setenv("BOREALIS_WALLTIME", "03:00:00")
    bad = subprocess.run(command, cwd=PACKAGE_ROOT, capture_output=True, text=True, check=False)
    assert bad.returncode == 2
    assert "found     gpu: walltime 03:00:00, where debug takes 00:05:00 to 01:00:00" in bad.stdout
    assert "source    https://docs.alcf.anl.gov" in bad.stdout


def test_run_refuses_what_the_doctor_finds(monkeypatch, tmp_path) -> None:
    """`parsl run` on a site that breaks a rule submits nothing and ends with 2."""
    (tmp_path / "papers").mkdir()
    monkeypatch.setenv("BOREALIS_WALLTIME", "03:00:00")
    command = [sys.executable, "-m", "workflows", "run", "--site", "aurora"]
    command += ["--set", f"ingest.paths={tmp_path / 'papers'}"]
    done = subprocess.run(command, cwd=PACKAGE_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "queue-limits" in done.stderr
