"""The test doubles: what qsub refuses, where it routes, what the server does to jobs, what mpiexec starts."""

import contextlib
import io
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workflows.simulate import mpiexec, qstat, qsub
from workflows.simulate.jobs import Job
from workflows.simulate.rehearsal import Rehearsal
from workflows.simulate.server import KILL_DELAY_SECONDS, Server
from workflows.site import load_site

PATIENCE_SECONDS = 120
SCRIPT = """#!/bin/bash
#PBS -S /bin/bash
#PBS -N try
#PBS -l walltime={walltime}
#PBS -l select={select}
#PBS -o {folder}/out
#PBS -e {folder}/err
#PBS -l filesystems=home:{filesystem}

{command}
"""


@pytest.fixture(params=["aurora", "polaris"])
def site(request, monkeypatch, tmp_path) -> str:
    """The name of a machine, with the user's variables out of the way."""
    for name in ("NODES", "QUEUE", "WALLTIME", "ACCOUNT"):
        monkeypatch.delenv(f"BOREALIS_{name}", raising=False)
    monkeypatch.setenv("BOREALIS_ROOT", str(tmp_path / "runs"))
    return str(request.param)


@pytest.fixture
def server(site) -> Iterator[Server]:
    """A machine whose commands are on the PATH."""
    with Rehearsal.of(load_site(site)).running() as server:
        yield server


Done = subprocess.CompletedProcess[str]
Submit = Callable[..., Done]
ONE_SITE = pytest.mark.parametrize("site", ["aurora"], indirect=True)


def call(command: Callable[[list[str]], int], *words: str) -> Done:
    """A command's code and what it prints, without a process of its own: the life cycle runs them as processes."""
    output, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(error):
        code = command(list(words))
    return subprocess.CompletedProcess(words, code, output.getvalue(), error.getvalue())


@pytest.fixture
def submit(server, site, tmp_path) -> Submit:
    """Submits a script of the given command and resources."""

    def do(command: str = "true", queue: str = "debug", account: str = "abc", **words: str) -> Done:
        values = {"walltime": "00:30:00", "select": "1", "filesystem": FILESYSTEM[site], "folder": str(tmp_path)}
        file = tmp_path / "script"
        text = SCRIPT.format(command=command, **{**values, **words})
        file.write_text("\n".join(line for line in text.splitlines() if words.get("drop", "\0") not in line) + "\n")
        return call(qsub.main, *(["-q", queue] if queue else []), *(["-A", account] if account else []), str(file))

    return do


FILESYSTEM = {"aurora": "flare", "polaris": "eagle"}
OTHER = {"aurora": "eagle", "polaris": "flare"}


def job(server: Server, done: Done) -> Job:
    """The job that a submission has made."""
    assert done.returncode == 0, done.stderr
    with server.store.locked():
        return next(j for j in server.store.jobs() if j.id == done.stdout.strip())


def until(server: Server, done: Done, state: str) -> Job:
    """Wait until a job is in a state."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := job(server, done)).state != state:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def contents(file: Path) -> str:
    """Wait until a file has a line; its text."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not file.is_file() or not file.read_text().endswith("\n"):
        assert time.monotonic() < deadline, file
        time.sleep(0.05)
    return file.read_text()


def test_what_is_mandatory(submit, site) -> None:
    """Account, walltime and filesystems are asked for in PBS's words, and a filesystem of another machine is refused."""
    assert "Account_Name is required to be set." in submit(account="").stderr
    assert "Resource: walltime is required to be set." in submit(drop="walltime").stderr
    assert "Resource: filesystems is required to be set." in submit(drop="filesystems").stderr
    assert OTHER[site] in submit(filesystem=OTHER[site]).stderr
    assert submit(filesystem=OTHER[site]).returncode == 1


def test_limits_of_queues(submit, site) -> None:
    """Too many nodes, too short or too long a job, an execution queue, an unknown one, and more than a node has are refused."""
    for words in (
        {"select": "3"},
        {"walltime": "00:04:59"},
        {"walltime": "01:00:01"},
        {"queue": "small", "select": "256"},
        {"queue": "nonsense"},
        {"queue": "prod", "select": "1"},
        {"select": "1:ncpus=209"},
        {"select": "1:ngpus=13"},
        {"select": "1:nonsense=1"},
        {"queue": "prod", "select": {"aurora": "256", "polaris": "10"}[site], "walltime": "24:00:00"},
    ):
        assert submit(**words).returncode == 1, words


def test_prod_routes_by_nodes_and_walltime(server, submit, site) -> None:
    """A job in prod ends up in the execution queue that it fits, and waits where the machine has not so many nodes."""
    small, medium = {"aurora": (256, 1100), "polaris": (10, 30)}[site]
    assert job(server, submit(queue="prod", select=str(small), walltime="02:00:00")).queue == "small"
    big = submit(queue="prod", select=str(medium), walltime="06:00:00")
    assert job(server, big).queue == "medium"
    assert job(server, big).state == "Q"


@ONE_SITE
def test_one_job_of_a_user(server, submit) -> None:
    """Where a queue takes one job of a user, a second is refused until the first is over."""
    first = submit("sleep 600", queue="debug-scaling", select="2")
    until(server, first, "R")
    assert "per-user limit of 1" in submit(queue="debug-scaling", select="2").stderr
    assert call(qstat.delete, first.stdout.strip()).returncode == 0
    assert until(server, first, "F").exit_status == 271
    assert submit(queue="debug-scaling", select="2").returncode == 0


def test_capacity_runs_fewer_than_it_queues(server, submit, site) -> None:
    """A queue with two limits takes the jobs of a user and runs fewer of them at once."""
    queued, running = {"aurora": (5, 2), "polaris": (2, 1)}[site]
    jobs = [submit("sleep 600", queue="capacity") for _ in range(queued)]
    assert submit(queue="capacity").returncode == 1
    until(server, jobs[running - 1], "R")
    assert [job(server, j).state for j in jobs] == ["R"] * running + ["Q"] * (queued - running)


@ONE_SITE
def test_qstat_speaks_json(server, submit) -> None:
    """States and exit codes come as Parsl reads them; an unknown job is an error, and so is a server that does not answer."""
    done = submit("exit 3", select="2")
    until(server, done, "F")
    flags = ["-x", "-f", "-F", "json"]
    words = json.loads(call(qstat.main, *flags, done.stdout.strip()).stdout)
    found = words["Jobs"][done.stdout.strip()]
    assert (found["job_state"], found["Exit_status"], found["Resource_List"]["nodect"]) == ("F", 3, 2)
    assert call(qstat.main, *flags, "9.simulated").returncode == 153
    assert call(qstat.main, "-u", "me").returncode == 2
    server.store.outage.touch()
    assert call(qstat.main, *flags, done.stdout.strip()).returncode == 111


@ONE_SITE
def test_a_job_has_its_own_environment(server, submit, tmp_path, monkeypatch) -> None:
    """A job knows its nodes and nothing of the shell that submitted it, and starts at home."""
    monkeypatch.setenv("BOREALIS_SECRET", "x")
    until(server, submit("env; cat $PBS_NODEFILE; pwd", select="2"), "F")
    words = (tmp_path / "out").read_text()
    assert "BOREALIS" not in words
    assert "PBS_JOBID=" in words
    assert "127.0.0.1\n127.0.0.2\n" in words
    assert words.strip().endswith("/home")


@ONE_SITE
def test_walltime_is_sigterm_then_sigkill(site, tmp_path, monkeypatch) -> None:
    """At its walltime a job gets SIGTERM; what ignores it is killed after PBS's delay; what it leaves behind ends too."""
    monkeypatch.setattr("workflows.simulate.server.KILL_DELAY_SECONDS", 1.0)
    assert KILL_DELAY_SECONDS == 10.0
    with Rehearsal.of(load_site(site)).running(speed=600.0) as server:  # five minutes are half a second
        text = "trap 'echo term >> {0}/seen' TERM; sleep 900 & echo $! >> {0}/pid; while true; do sleep 0.1; done"
        file = tmp_path / "script"
        words = {"walltime": "00:05:00", "select": "1", "filesystem": FILESYSTEM[site], "folder": str(tmp_path)}
        file.write_text(SCRIPT.format(command=text.format(tmp_path), **words))
        done = call(qsub.main, "-q", "debug", "-A", "a", str(file))
        ended = until(server, done, "F")
    assert "term" in (tmp_path / "seen").read_text()
    assert "walltime" in ended.comment
    assert ended.exit_status == 265
    assert not Path("/proc", (tmp_path / "pid").read_text().split()[0]).exists()


@ONE_SITE
def test_a_lost_node_ends_the_job(server, submit, tmp_path) -> None:
    """When a node is lost the job's processes are gone at once and the job is finished."""
    done = submit(f"trap 'echo term' TERM; echo $$ > {tmp_path}/pid; sleep 900")
    pid = contents(tmp_path / "pid").strip()
    server.store.ask(until(server, done, "R").id, "lose")
    assert until(server, done, "F").comment == "node lost"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while Path("/proc", pid, "cmdline").exists() and Path("/proc", pid, "cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@ONE_SITE
def test_nothing_is_left_when_the_machine_goes(site, tmp_path) -> None:
    """After a rehearsal its folder, its jobs and its variables are gone."""
    before = dict(os.environ)
    with Rehearsal.of(load_site(site)).running() as server:
        folder = server.store.folder
        file = tmp_path / "script"
        words = {"walltime": "00:05:00", "select": "1", "filesystem": FILESYSTEM[site], "folder": str(tmp_path)}
        file.write_text(SCRIPT.format(command=f"echo $$ > {tmp_path}/pid; sleep 900", **words))
        assert subprocess.run(["qsub", "-q", "debug", "-A", "a", str(file)], check=False).returncode == 0
        pid = contents(tmp_path / "pid").strip()
    assert dict(os.environ) == before
    assert not folder.exists()
    assert not Path("/proc", pid).exists()


@ONE_SITE
def test_mpiexec_starts_every_rank_in_its_place(server, submit, monkeypatch, tmp_path) -> None:
    """Ranks fill the nodes one after the other and know rank, local rank and size as under PALS."""
    monkeypatch.setenv("SIMULATED_RANKS_PER_NODE", "0")
    line = "mpiexec -n 6 -ppn 3 --cpu-bind list:1:2:3 --env A=b /bin/sh -c 'echo $PALS_RANKID $PMI_SIZE $PMI_LOCAL_RANK $SIMULATED_NODE $A'"
    until(server, submit(line, select="2"), "F")
    found = sorted((tmp_path / "out").read_text().split("\n"))[1:]
    assert found == [f"{r} 6 {r % 3} 127.0.0.{r // 3 + 1} b" for r in range(6)]


@ONE_SITE
@pytest.mark.parametrize(
    "case",
    [
        ("-n 3 -ppn 1", "3 ranks do not fit 2 node(s) of 1"),
        ("-n 2 -ppn 1 --hosts 127.0.0.9,127.0.0.1", "127.0.0.9 not in this job"),
        ("-n 4 -ppn 2 --cpu-bind list:1-8", "1 entries in --cpu-bind for 2 ranks a node"),
        ("-n 4 -ppn 2 --cpu-bind list:1-8:9-300", "reserved or not there"),
    ],
)
def test_mpiexec_refuses(server, tmp_path, monkeypatch, capsys, case) -> None:
    """Foreign hosts, ranks without room, and bindings that do not fit end with an error and no rank."""
    (tmp_path / "nodes").write_text("127.0.0.1\n127.0.0.2\n")
    monkeypatch.setenv("PBS_NODEFILE", str(tmp_path / "nodes"))
    words, problem = case
    with pytest.raises(SystemExit) as error:
        mpiexec.main([*words.split(), "touch", str(tmp_path / "started")])
    assert error.value.code == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "started").exists()


@ONE_SITE
def test_all_ranks_end_when_one_fails(server, submit, tmp_path, monkeypatch) -> None:
    """A rank that fails ends the others, and its code is the launcher's."""
    monkeypatch.setenv("SIMULATED_RANKS_PER_NODE", "0")
    line = "mpiexec -n 2 -ppn 2 /bin/sh -c 'if [ $PMI_RANK = 1 ]; then exit 7; else sleep 900; fi'"
    assert until(server, submit(line), "F").exit_status == 7


@ONE_SITE
def test_fewer_ranks_are_a_smaller_world(server, submit, tmp_path) -> None:
    """Where one rank a node stands for all, the world has the size of what was started, and it is said."""
    until(server, submit("mpiexec -n 8 -ppn 4 /bin/sh -c 'echo $PMI_RANK $PMI_SIZE'", select="2"), "F")
    assert sorted((tmp_path / "out").read_text().split("\n")) == ["", "0 2", "1 2"]
    assert "2 of 8 ranks start" in (tmp_path / "err").read_text()
    assert mpiexec.world(1, 2, 1, ["a", "b"])["SIMULATED_NODE"] == "b"
