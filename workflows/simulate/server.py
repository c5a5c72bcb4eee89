"""The PBS server and its nodes: starts queued jobs where limits and nodes allow, kills them at their walltime.

A node is a loopback address (127.0.0.1, 127.0.0.2, ...), so that programs can listen and connect there. A job's processes are
known by their environment, as PBS knows them by their session.
"""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

from workflows.facility import Queue
from workflows.simulate.jobs import FOLDER, Job, Store

TICK_SECONDS = 0.1
KILL_DELAY_SECONDS = 10.0  # PBS's own default between SIGTERM and SIGKILL
WALLTIME, DELETED, LOST = 256 + 9, 256 + 15, 256 + 9
PATH = "/usr/local/bin:/usr/bin:/bin"


class Server:
    """Runs the jobs of a store until `stop`. `speed` is how many seconds of walltime pass in one second."""

    def __init__(self, store: Store, bin_folder: Path, speed: float = 1.0) -> None:
        self.store, self.speed = store, speed
        self.machine = store.machine()
        self._path = f"{bin_folder}:{PATH}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="pbs-server", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """End every job at once and serve no more."""
        self._over.set()
        self._thread.join()
        for identifier in self._processes:
            _signal(self.store, identifier, signal.SIGKILL)
        for process in self._processes.values():
            process.wait()

    def _serve(self) -> None:
        while not self._over.wait(TICK_SECONDS):
            with self.store.locked():
                self._step()

    def _step(self) -> None:
        jobs = self.store.jobs()
        for job in jobs:
            if job.state == "R":
                self._watch(job)
        for job in jobs:
            if job.state == "Q" and self._may_start(job, jobs):
                self._begin(job, jobs)

    def _watch(self, job: Job) -> None:
        process = self._processes[job.id]
        if process.poll() is not None:
            _signal(self.store, job.id, signal.SIGKILL)  # what a job leaves behind ends with it
            self._finish(job, job.exit_status if job.killed else process.returncode, job.comment)
        elif job.killed and time.time() - job.killed > KILL_DELAY_SECONDS:
            _signal(self.store, job.id, signal.SIGKILL)
        elif self.store.asked(job.id, "lose"):  # a node dies without a word, and PBS ends the whole job
            _signal(self.store, job.id, signal.SIGKILL)
            self._finish(job, LOST, "node lost")
        elif not job.killed:
            self._end(job)

    def _end(self, job: Job) -> None:
        """Send SIGTERM to a job that somebody deletes, that another preempts, or whose time is over."""
        used = (time.time() - job.started) * self.speed
        if self.store.asked(job.id, "delete"):
            self._terminate(job, DELETED, "deleted")
        elif self.store.asked(job.id, "preempt"):
            self._terminate(job, DELETED, "preempted")
        elif used > job.walltime_seconds or self.store.asked(job.id, "expire"):
            words = f"job killed: walltime {used:.0f} exceeded limit {job.walltime_seconds}"
            with Path(job.error).open("a") as error:
                error.write(f"=>> PBS: {words}\n")  # as PBS tells a job's owner
            self._terminate(job, WALLTIME, words)

    def _terminate(self, job: Job, status: int, comment: str) -> None:
        job.killed, job.exit_status, job.comment = time.time(), status, comment
        _signal(self.store, job.id, signal.SIGTERM)
        self.store.save(job)

    def _finish(self, job: Job, status: int | None, comment: str) -> None:
        job.state, job.exit_status, job.comment = "F", status, comment
        self.store.save(job)

    def _may_start(self, job: Job, jobs: list[Job]) -> bool:
        running = [j for j in jobs if j.state == "R"]
        if job.nodes > self.machine.num_nodes - sum(j.nodes for j in running):
            return False
        queue = _queue(self.machine.queues, job.queue)
        there = [j for j in running if j.queue == job.queue]
        of_user = len([j for j in there if j.user == job.user])
        of_project = len([j for j in there if j.account == job.account])
        limits = ((queue.running_per_user, of_user), (queue.running_per_project, of_project))
        return all(most is None or count < most for most, count in limits)

    def _begin(self, job: Job, jobs: list[Job]) -> None:
        taken = {h for j in jobs if j.state == "R" for h in j.hosts}
        free = [h for h in map(address, range(self.machine.num_nodes)) if h not in taken]
        job.state, job.started, job.hosts = "R", time.time(), tuple(free[: job.nodes])
        home = self.store.folder / "home"
        nodefile = self.store.folder / "nodes" / job.id
        nodefile.write_text("".join(f"{host}\n" for host in job.hosts))
        env = {  # a job starts with an environment of its own, not with that of the shell which submitted it
            "PATH": self._path,
            "HOME": str(home),
            "USER": job.user,
            "LANG": "C.UTF-8",
            "PBS_JOBID": job.id,
            "PBS_JOBNAME": job.name,
            "PBS_QUEUE": job.queue,
            "PBS_O_WORKDIR": job.workdir,
            "PBS_NODEFILE": str(nodefile),
            "PBS_ENVIRONMENT": "PBS_BATCH",
            **{k: v for k, v in os.environ.items() if k.startswith("SIMULATED_")},
        }
        with Path(job.output).open("ab") as output, Path(job.error).open("ab") as error:
            self._processes[job.id] = subprocess.Popen(
                ["/bin/bash", str(self.store.script(job))],
                cwd=home,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=error,
                start_new_session=True,
            )
        self.store.save(job)


def address(index: int) -> str:
    """The address of a node of the simulated machine."""
    return f"127.0.{index // 250}.{index % 250 + 1}"


def _queue(queues: tuple[Queue, ...], name: str) -> Queue:
    return next(q for q in queues if q.name == name)


def _signal(store: Store, identifier: str, number: signal.Signals) -> None:
    """Send a signal to every process of a job."""
    marks = {f"PBS_JOBID={identifier}".encode(), f"{FOLDER}={store.folder}".encode()}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marks <= set((folder / "environ").read_bytes().split(b"\0")):
                os.kill(int(folder.name), number)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # ended meanwhile, or not ours
