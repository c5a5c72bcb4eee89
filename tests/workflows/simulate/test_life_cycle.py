"""The whole life cycle on Aurora's and Polaris's own site files and Parsl's own executors, with sample rows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.base import PACKAGE_ROOT, SettingsError
from workflows.base import load_recipe
from workflows.simulate.rehearsal import Rehearsal
from workflows.site import load_site

RECIPE = PACKAGE_ROOT / "workflows" / "pretrain.py"
CHANGED = {"address", "cpu_affinity", "encrypted", "worker_init", "heartbeat_seconds", "poll_seconds"}


def run(name: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`parsl run --simulate --stub` on a site, in an environment without an account."""
    (folder / "papers").mkdir()
    (folder / "papers" / "one.txt").write_text("A paper about basalt.")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("BOREALIS_", "PBS_", "SLURM_"))}
    env |= {"BOREALIS_ROOT": str(folder / "runs"), "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "workflows", "run", str(RECIPE), "--site", name, "--simulate", "--stub", *words]
    command += ["--set", f"ingest.paths={folder / 'papers'}"]
    return subprocess.run(command, cwd=PACKAGE_ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "ranks"), [("aurora", 24), ("polaris", 8)])
def test_life_cycle(tmp_path, name: str, ranks: int) -> None:
    """Every stage ends well as a task of the site's executors, in jobs that its queues took; what differs is said; nothing is left."""
    done = run(name, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    settings = {"ingest": {"paths": str(tmp_path / "papers")}}
    nodes = load_recipe(RECIPE, tmp_path / "runs" / "stub", settings).nodes
    assert all(node.done for node in nodes)
    said = {line.split()[0] for line in done.stdout.splitlines() if " -> " in line}
    assert said >= CHANGED
    pretrain = next(node for node in nodes if node.name == "pretrain")
    assert f"simulated, 2 of {ranks} ranks start" in (pretrain.path / "log" / "run.txt").read_text()
    scripts = {f.name.split(".")[1] for f in (tmp_path / "runs").rglob("submit_scripts/parsl.*.block-*")}
    assert scripts == {"cpu", "gpu", "nodes"}
    assert list(tmp_path.glob("pbs-*")) == []


@pytest.mark.parametrize("name", ["aurora", "polaris"])
def test_only_what_must_differ_is_overridden(monkeypatch, tmp_path, name: str) -> None:
    """Beside address, affinity, encryption, worker_init and how often one asks, the cluster is the site's own, and launch lines and queues are too."""
    monkeypatch.setenv("BOREALIS_ACCOUNT", "abc")
    monkeypatch.setenv("BOREALIS_ROOT", str(tmp_path))
    site = load_site(name)
    rehearsal = Rehearsal.of(site)
    assert not rehearsal.folder.exists()
    before, after = site.cluster.model_dump(), rehearsal.site.cluster.model_dump()
    assert {key for key in before if before[key] != after[key]} == CHANGED
    assert {o.name for o in rehearsal.overrides} == {*CHANGED, "ranks a node", "workers"}
    for size, resource in site.resources.items():
        assert rehearsal.site.resources[size].launch_line() == resource.launch_line()
        assert rehearsal.site.resources[size].queue == resource.queue
    assert rehearsal.site.root == tmp_path


def test_a_site_without_pbs_is_not_simulated(tmp_path) -> None:
    """Only a site with a PBS has one to simulate, and the others say so."""
    for name in ("laptop", "slurm"):
        with pytest.raises(SettingsError, match="no PBS to simulate"):
            Rehearsal.of(load_site(name))


def test_what_the_doctor_finds_is_not_rehearsed(monkeypatch, tmp_path) -> None:
    """A site that breaks a rule is refused before the rehearsal, as it is before a run."""
    monkeypatch.setenv("BOREALIS_WALLTIME", "03:00:00")
    (tmp_path / "papers").mkdir()
    command = [sys.executable, "-m", "workflows", "run", "--site", "aurora", "--simulate", "--stub"]
    command += ["--set", f"ingest.paths={tmp_path / 'papers'}"]
    done = subprocess.run(command, cwd=PACKAGE_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "queue-limits" in done.stderr
