"""A pool of processes that may hang, crash or run out of memory: that costs the task at hand, never the run.

A worker takes one task at a time and says on its pipe which page it is at, so that whoever lost it knows where. The pool
kills a worker (with whatever it started) at the time limit of a page or of a document, sets a limit of address space,
and starts a new one for each that is gone. A task whose worker dies is tried again, twice, because a kill from outside says
nothing of the task. Tasks that wait for a service have workers of their own, so that they never keep a processor idle.
Workers end with the process that made them, however it ends.
"""

import contextlib
import ctypes
import multiprocessing
import os
import resource
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, Self

PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
MAX_TRIES = 3
START_SECONDS = 120.0  # for a new process, before any limit of a task counts


@dataclass(frozen=True)
class Limits:
    """What one task may use."""

    page_seconds: float
    document_seconds: float
    max_memory_bytes: int


class At(NamedTuple):
    """A worker's sign of life: it begins this page."""

    page: int


class Lost(NamedTuple):
    """A task that came to nothing, at `page` (0 where it had not come to any)."""

    reason: str
    detail: str
    page: int = 0


HELLO = None  # a worker's first word
Work = Callable[[Any], Iterator[Any]]  # yields `At` any number of times, then an answer


@dataclass
class Worker:
    """A process, and what it is at."""

    process: Any
    connection: Connection
    waits: bool
    ready: bool = False
    task: Any = None
    tries: int = 0
    page: int = 0
    started: float = field(default_factory=time.monotonic)
    heard: float = field(default_factory=time.monotonic)


class Pool:
    """Runs `work` on tasks in `num_workers` processes, and `num_waiting` more for tasks that wait; answers as they come."""

    def __init__(self, work: Work, num_workers: int, limits: Limits, num_waiting: int = 0) -> None:
        self._work, self._limits = work, limits
        self._num_workers = {False: num_workers, True: num_waiting}
        self._context = multiprocessing.get_context("spawn")  # no state of ours, no threads of pyarrow
        self._queues: dict[bool, deque[tuple[Any, int]]] = {False: deque(), True: deque()}
        self._idle: list[Worker] = []
        self._busy: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in [*self._idle, *self._busy]:
            _end(worker)

    @property
    def num_tasks(self) -> int:
        """Tasks that wait or are worked on."""
        return sum(map(len, self._queues.values())) + len(self._busy)

    def processes(self) -> list[int]:
        """Process ids of the workers, busy ones first."""
        return [w.process.pid for w in [*self._busy, *self._idle]]

    def submit(self, task: Any, *, first: bool = False, waits: bool = False) -> None:
        """Add a task, behind or before all others; `waits` says that it does little but wait for a service."""
        queue = self._queues[waits]
        (queue.appendleft if first else queue.append)((task, 0))

    def answers(self) -> Iterator[tuple[Any, Any]]:
        """Wait until something is done; (task, answer) pairs, an answer being a `Lost` where there is none."""
        self._assign()
        now = time.monotonic()
        timeout = min((self._deadline(w) for w in self._busy), default=now) - now
        ready = wait([w.connection for w in self._busy], max(timeout, 0.0)) if self._busy else []
        for worker in list(self._busy):
            answer = self._hear(worker) if worker.connection in ready else self._overdue(worker)
            if answer is not None:
                yield worker.task, answer

    def _assign(self) -> None:
        for waits, queue in self._queues.items():
            while queue and sum(w.waits == waits for w in self._busy) < self._num_workers[waits]:
                worker = next((w for w in reversed(self._idle) if w.waits == waits), None)
                if worker is None:
                    worker = self._start(waits=waits)
                else:
                    self._idle.remove(worker)
                self._give(worker, *queue.popleft())

    def _give(self, worker: Worker, task: Any, tries: int) -> None:
        worker.task, worker.tries = task, tries
        worker.page, worker.started = 0, time.monotonic()
        worker.heard = worker.started
        self._busy.append(worker)
        with contextlib.suppress(BrokenPipeError):  # it is dead already: `_hear` finds out
            worker.connection.send(worker.task)

    def _start(self, *, waits: bool) -> Worker:
        ours, theirs = self._context.Pipe()
        arguments = (theirs, self._work, self._limits.max_memory_bytes, os.getpid())
        process = self._context.Process(target=_serve, args=arguments, daemon=True)
        process.start()
        theirs.close()
        return Worker(process, ours, waits)

    def _hear(self, worker: Worker) -> Any:
        """What a worker says: an answer, or `None` for a sign of life."""
        try:
            said = worker.connection.recv()
        except (EOFError, OSError):
            return self._died(worker)
        worker.heard = time.monotonic()
        if said is HELLO:
            worker.ready, worker.started = True, worker.heard
            return None
        if isinstance(said, At):
            worker.page = said.page
            return None
        self._busy.remove(worker)
        if isinstance(said, Lost):  # its memory may be in disorder
            _end(worker)
            return said._replace(page=worker.page)
        self._idle.append(worker)
        return said

    def _died(self, worker: Worker) -> Lost | None:
        self._busy.remove(worker)
        _end(worker)
        cause = _cause(worker.process.exitcode)
        return self._again(worker, Lost("crashed", f"the worker ended {MAX_TRIES} times, by {cause}", worker.page))

    def _again(self, worker: Worker, loss: Lost) -> Lost | None:
        """Try a task again that its worker did not fail at for sure; the loss, after several tries."""
        if worker.tries + 1 >= MAX_TRIES:
            return loss
        self._queues[worker.waits].appendleft((worker.task, worker.tries + 1))
        return None

    def _deadline(self, worker: Worker) -> float:
        if not worker.ready:
            return worker.heard + START_SECONDS
        return min(worker.heard + self._limits.page_seconds, worker.started + self._limits.document_seconds)

    def _overdue(self, worker: Worker) -> Lost | None:
        now = time.monotonic()
        if now < self._deadline(worker):
            return None
        self._busy.remove(worker)
        _end(worker)
        if not worker.ready:
            return self._again(worker, Lost("crashed", f"no worker started in {START_SECONDS:g} seconds"))
        page_is_late = now >= worker.heard + self._limits.page_seconds
        limit = self._limits.page_seconds if page_is_late else self._limits.document_seconds
        return Lost("time limit", f"more than {limit:g} seconds", worker.page if page_is_late else 0)


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return signal.Signals(-exit_code).name
    return f"exit code {exit_code}"


def _end(worker: Worker) -> None:
    """Kill a worker and what it started, and wait for it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.process.pid, signal.SIGKILL)
    worker.process.kill()
    worker.process.join()
    worker.connection.close()


def _serve(connection: Connection, work: Work, max_memory_bytes: int, parent: int) -> None:
    """A worker's life: take a task, work, answer; end when nobody is there any more."""
    os.setsid()  # a group of its own, so that its Tesseract goes with it
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    resource.setrlimit(resource.RLIMIT_AS, (max_memory_bytes, max_memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection.send(HELLO)
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        try:
            for said in work(task):
                connection.send(said)
        except MemoryError:
            connection.send(Lost("out of memory", f"more than {max_memory_bytes} bytes of address space"))
        except BrokenPipeError:
            return
        except Exception as error:  # noqa: BLE001 - of any library, on any bytes: the document's fault
            connection.send(Lost("parser error", f"{type(error).__name__}: {error}"[:500]))
