"""Faults in the middle of a run on a simulated machine: after each the run ends with the right result."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from parsl.jobs.states import JobState

from stages.base import PACKAGE_ROOT
from workflows.base import load_recipe
from workflows.simulate.jobs import Job, Store
from workflows.simulate.rehearsal import Rehearsal
from workflows.site import load_site

PATIENCE_SECONDS = 900

RECIPE = """
from stages.ingest import Ingest
from stages.parse import Parse


def workflow(run):
    run(Parse(), sources=run(Ingest())["sources"])
"""


class Running:
    """A run of two stages on simulated Polaris, with sample rows, that goes on beside the test."""

    def __init__(self, folder: Path) -> None:
        (folder / "papers").mkdir()
        (folder / "papers" / "one.txt").write_text("A paper about basalt.")
        self.folder, self.recipe = folder, folder / "recipe.py"
        self.recipe.write_text(RECIPE)
        env = {k: v for k, v in os.environ.items() if not k.startswith(("BOREALIS_", "PBS_", "SLURM_"))}
        env |= {"BOREALIS_ROOT": str(folder / "runs"), "TMPDIR": str(folder)}
        command = [
            sys.executable,
            "-m",
            "workflows",
            "run",
            str(self.recipe),
            "--site",
            "polaris",
            "--simulate",
            "--stub",
        ]
        command += ["--set", f"ingest.paths={folder / 'papers'}"]
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=PACKAGE_ROOT, env=env, stdout=log, stderr=log)

    def job(self, count: int = 1) -> tuple[Store, Job]:
        """The store, and the job that runs once so many were submitted; waits for it."""
        return self.until(lambda: self._job(count))

    def _job(self, count: int) -> tuple[Store, Job] | None:
        for folder in self.folder.glob("pbs-*"):
            store = Store(folder)
            if (folder / "jobs").is_dir():
                with store.locked():
                    jobs = store.jobs()
                if len(jobs) >= count and jobs[-1].state == "R":
                    return store, jobs[-1]
        return None

    def until(self, found):
        """What `found` gives once it gives something; the run must be alive until then."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (what := found()):
            assert time.monotonic() < deadline, self.log.read_text()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.2)
        return what

    def ends_well(self) -> str:
        """Wait for the end; every stage must be done. Returns what was printed."""
        assert self.process.wait(PATIENCE_SECONDS) == 0, self.log.read_text()
        settings = {"ingest": {"paths": str(self.folder / "papers")}}
        assert all(n.done for n in load_recipe(self.recipe, self.folder / "runs" / "stub", settings).nodes)
        return self.log.read_text()


@contextmanager
def running(folder: Path) -> Iterator[Running]:
    """A run that is over afterwards, however the test ends."""
    run = Running(folder)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            run.process.send_signal(signal.SIGINT)
            run.process.wait()


@pytest.mark.slow
def test_a_lost_node(tmp_path) -> None:
    """When the node of the only job is lost, the task that it had is done again in a new job."""
    with running(tmp_path) as run:
        store, job = run.job()
        store.ask(job.id, "lose")
        assert run.job(2)[1].id != job.id
        run.ends_well()


def test_a_server_that_does_not_answer(monkeypatch, tmp_path) -> None:
    """While qstat fails Parsl's provider takes a job to be as it was, neither over nor to be submitted anew."""
    monkeypatch.setenv("BOREALIS_ROOT", str(tmp_path))
    site = load_site("polaris").asking(address="127.0.0.1", account="abc", worker_init="true")
    provider = next(e.provider for e in site.parsl_config(tmp_path).executors if e.label == "gpu")
    provider.script_dir = str(tmp_path)
    with Rehearsal.of(site).running() as server:
        job = provider.submit("sleep 900", 1, "parsl.try")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while provider.status([job])[0].state != JobState.RUNNING:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        server.store.outage.touch()
        assert provider.status([job])[0].state == JobState.RUNNING
        server.store.outage.unlink()
        server.store.ask(job, "lose")
        while provider.status([job])[0].state != JobState.COMPLETED:
            assert time.monotonic() < deadline
            time.sleep(0.2)
