"""Spare nodes: spent on a node that cannot work alone, never on anything else."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.base import PACKAGE_ROOT, SettingsError
from workflows import probe
from workflows.failures.classify import classify
from workflows.launch import StageFailed
from workflows.simulate.rehearsal import Rehearsal
from workflows.site import load_site
from workflows.spares import NO_SPARE, Spares, main, nodes_of_job

HOSTS = [f"127.0.0.{i}" for i in range(1, 6)]
STAGE = """
import json, os, pathlib, sys, time
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
if os.environ["PMI_RANK"] != "0":
    while not (out / "done").exists():
        time.sleep(0.05)
    sys.exit()
plan = json.loads((out / "plan.json").read_text())  # what goes wrong in each attempt: step, hosts, exit code
file = out / "progress" / "00000-of-00001.json"
done = json.loads(file.read_text())["done"] if file.exists() else 0
fault = plan.pop(0) if plan else None
(out / "plan.json").write_text(json.dumps(plan))
with (out / "nodes").open("a") as nodes:
    nodes.write(os.environ["SIMULATED_NODE"] + "\\n")
while done < 5:
    if fault and done >= fault["step"]:
        broken = pathlib.Path(os.environ["SIMULATED_PBS"], "broken")
        with broken.open("a") as names:
            names.write("".join(h + "\\n" for h in fault["hosts"]))
        if fault["code"]:
            sys.exit(fault["code"])
        time.sleep(600)
    done += 1
    file.write_text(json.dumps({"done": done}))
(out / "done").touch()
"""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Simulated Polaris is up, with its mpiexec on the PATH; the folder of the machine."""
    monkeypatch.setenv("SIMULATED_RANKS_PER_NODE", "1")
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE_ROOT))
    rehearsal = Rehearsal.of(load_site("polaris"))
    with rehearsal.running():
        nodes = rehearsal.folder / "nodefile"
        nodes.write_text("".join(f"{host}\n" for host in HOSTS))
        os.environ["PBS_NODEFILE"] = str(nodes)  # `running` puts the environment back
        yield rehearsal.folder


def command(out: Path, *faults: tuple[int, list[str], int], ranks: int = 2) -> list[str]:
    """A stage of five steps on `ranks` nodes, an attempt of which goes wrong for each of these: step, hosts that break, exit code."""
    (out / "progress").mkdir(parents=True)
    plan = [{"step": step, "hosts": hosts, "code": code} for step, hosts, code in faults]
    (out / "plan.json").write_text(json.dumps(plan))
    (out / "stage.py").write_text(STAGE)
    return ["mpiexec", "-n", str(ranks), "--ppn", "1", sys.executable, str(out / "stage.py"), "--out", str(out)]


def log(out: Path) -> list[dict[str, object]]:
    """What was decided, without times."""
    rows = [json.loads(line) for line in (out / "log" / "spares.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "time"} for row in rows]


def test_a_node_that_breaks_is_replaced(machine: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The command goes on at its step on the spare, ends well, and the log says which node went and which came."""
    spares = Spares(HOSTS[:3], 2)
    assert spares.run(command(tmp_path / "out", (3, [HOSTS[0]], 0))) == 0
    assert (tmp_path / "out" / "nodes").read_text().split() == [HOSTS[0], HOSTS[1]]  # of rank 0
    assert spares.active == [HOSTS[1], HOSTS[2]]
    assert spares.waiting == []
    first, second = log(tmp_path / "out")
    changed = {"lost": [HOSTS[0]], "replaced_by": [HOSTS[2]]}
    assert first == {"number": 1, "code": 137, "reached": 3, "verdict": "node", **changed}
    assert second == {"number": 2, "code": 0, "reached": 5, "verdict": "done", "lost": [], "replaced_by": []}
    assert f"{HOSTS[0]} cannot work alone; going on with {HOSTS[2]}" in capfd.readouterr().err


@pytest.mark.parametrize("code", [1, 2, 3, 127, 134])
def test_a_fault_of_no_node_spends_nothing(machine: Path, tmp_path: Path, code: int) -> None:
    """A bug, wrong settings, a command that is not there, a crash: one attempt, its own exit code, all spares still there."""
    spares = Spares(HOSTS, 2)
    assert spares.run(command(tmp_path / "out", (2, [], code))) == code
    assert [row["verdict"] for row in log(tmp_path / "out")] == ["systemic"]
    assert spares.waiting == HOSTS[2:]


def test_more_nodes_than_spares(machine: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Two nodes break and one spare is there: the run ends in words that make the task go to another job."""
    assert Spares(HOSTS[:3], 2).run(command(tmp_path / "out", (1, HOSTS[:2], 0))) == 1
    words = capfd.readouterr().err
    assert NO_SPARE in words
    assert classify(StageFailed("pretrain", 1, "log", words)).kind == "node-lost"


def test_a_spare_that_cannot_work_is_not_used(machine: Path, tmp_path: Path) -> None:
    """The first spare broke while it waited: the second takes the place."""
    spares = Spares(HOSTS[:4], 2)
    assert spares.run(command(tmp_path / "out", (1, [HOSTS[1], HOSTS[2]], 0))) == 0
    assert spares.active == [HOSTS[0], HOSTS[3]]


def test_two_attempts_without_a_step_are_the_end(machine: Path, tmp_path: Path) -> None:
    """Nodes that break one after the other before a step is taken: something else is wrong, and the spares that are left stay."""
    spares = Spares(HOSTS, 2)
    code = spares.run(command(tmp_path / "out", (0, [HOSTS[1]], 0), (0, [HOSTS[2]], 0), (0, [HOSTS[3]], 0)))
    assert code == 137
    assert [row["verdict"] for row in log(tmp_path / "out")] == ["node", "no progress"]
    assert spares.waiting == HOSTS[3:]


def test_a_job_that_is_over_asks_no_node(machine: Path, tmp_path: Path) -> None:
    """SIGTERM, as at the end of the walltime, reaches the command, and nobody is blamed."""
    words = [sys.executable, "-m", "workflows.spares", "--nodes", "2", "--", *command(tmp_path / "out", (2, [], 0))]
    with subprocess.Popen(words, cwd=PACKAGE_ROOT) as process:
        deadline = time.monotonic() + 120
        progress = tmp_path / "out" / "progress" / "00000-of-00001.json"
        while not (progress.exists() and '"done": 2' in progress.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 143
    assert [row["verdict"] for row in log(tmp_path / "out")] == ["ended"]


def test_what_is_refused(machine: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """More nodes than the job has, no command, no job: each is named, with exit code 2."""
    assert main(["--nodes", "9", "--", "mpiexec"]) == 2
    assert "--nodes 9: the job has 5 node(s)" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["--nodes", "2", "--"])
    with monkeypatch.context() as outside:  # undone before the machine is gone, not after
        outside.delenv("PBS_NODEFILE")
        with pytest.raises(SettingsError, match="PBS_NODEFILE is not set"):
            nodes_of_job()


@pytest.mark.parametrize("site", ["aurora", "polaris"])
def test_sites_ask_for_spares(site: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`BOREALIS_SPARES` makes jobs larger by so many, not the run, and puts the launch line behind the watcher; inside a job too."""
    for name in ("PBS_NODEFILE", "BOREALIS_NODES", "BOREALIS_QUEUE"):
        monkeypatch.delenv(name, raising=False)
    plain = load_site(site)
    monkeypatch.setenv("BOREALIS_SPARES", "3")
    asked = load_site(site)
    assert asked.cluster
    assert plain.cluster
    assert asked.cluster.nodes == plain.cluster.nodes + 3
    assert asked.resources["gpus"].nodes == plain.resources["gpus"].nodes
    line, before = asked.resources["gpus"].launch_line(), plain.resources["gpus"].launch_line()
    devices = str(asked.cluster.node.devices)
    assert line == ["python3", "-m", "workflows.spares", "--nodes", "2", "--devices", devices, "--", *before]
    nodes = tmp_path / "nodes"
    nodes.write_text("".join(f"node{i}\n" for i in range(10)))
    monkeypatch.setenv("PBS_NODEFILE", str(nodes))
    assert load_site(site).resources["gpus"].nodes == 7


def test_a_probe_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A node that works passes; one with a missing device, or a temporary folder that cannot be written, does not."""
    monkeypatch.setattr(sys, "argv", ["probe"])
    assert probe.main() == 0
    monkeypatch.setattr(sys, "argv", ["probe", "4"])
    assert probe.main() == 1
    assert "of 4 devices" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["probe"])
    monkeypatch.setattr(probe.tempfile, "tempdir", "/proc/nowhere")
    assert probe.main() == 1
    assert "/proc/nowhere" in capsys.readouterr().out
