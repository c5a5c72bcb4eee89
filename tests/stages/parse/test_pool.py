"""The pool of workers, with faults injected for real."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from stages.base import PACKAGE_ROOT
from stages.parse import pool as pool_module
from stages.parse.pool import Limits, Lost, Pool
from tests.stages.parse.faults import Fault, work

LIMITS = Limits(page_seconds=20, document_seconds=60, max_memory_bytes=2 << 30)


def run(tasks: list[Fault], workers: int = 2, limits: Limits = LIMITS) -> dict[Fault, Any]:
    """Answers of all tasks."""
    with Pool(work, workers, limits) as pool:
        for task in tasks:
            pool.submit(task)
        return dict(_all(pool))


def _all(pool: Pool) -> Iterator[tuple[Any, Any]]:
    while pool.num_tasks:
        yield from pool.answers()


def gone(pid: int) -> bool:
    """Whether a process is no more, or only waits to be reaped."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def soon(condition: Any, seconds: float = 10) -> bool:
    """Whether something becomes true in time."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(condition())


def test_every_task_gets_its_answer() -> None:
    """Twenty tasks on two workers give twenty answers, each to its own task."""
    tasks = [Fault("answer", n) for n in range(20)]
    assert run(tasks) == {t: f"answer {t.number}" for t in tasks}


def test_faults_cost_their_task_only() -> None:
    """A crash, an exit, an exception and a lack of memory cost the task at hand, with the page, and nothing else."""
    kinds = ["crash", "answer", "exit", "error", "memory"]
    tasks = [Fault(kind, n) for n, kind in enumerate(kinds)] + [Fault("answer", 9)]
    found = run(tasks)
    assert found[tasks[1]] == "answer 1"
    assert found[tasks[5]] == "answer 9"
    lost = {t.kind: found[t] for t in tasks if isinstance(found[t], Lost)}
    assert {k: v.reason for k, v in lost.items()} == {
        "crash": "crashed",
        "exit": "crashed",
        "error": "parser error",
        "memory": "out of memory",
    }
    assert "SIGSEGV" in lost["crash"].detail
    assert "exit code 7" in lost["exit"].detail
    assert "ValueError: bad bytes" in lost["error"].detail
    assert {v.page for v in lost.values()} == {2}


def test_time_limits() -> None:
    """A page that hangs is given up at its limit; pages that are quick enough one by one, at the document's."""
    hang, slow, other = Fault("hang"), Fault("slow pages"), Fault("answer", 3)
    found = run([hang, other], 2, Limits(page_seconds=2.5, document_seconds=600, max_memory_bytes=2 << 30))
    assert found[hang] == Lost("time limit", "more than 2.5 seconds", 2)
    found |= run([slow, other], 2, Limits(page_seconds=600, document_seconds=4, max_memory_bytes=2 << 30))
    assert found[slow] == Lost("time limit", "more than 4 seconds", 0)
    assert found[other] == "answer 3"


def test_a_worker_killed_from_outside_is_replaced(tmp_path: Path) -> None:
    """A task whose worker is killed is tried again and gives its answer."""
    task = Fault("crash once", file=str(tmp_path / "tried"))
    assert run([task])[task] == "second try"


def test_idle_workers_may_be_killed_too() -> None:
    """A worker that is killed between two tasks does not cost the next one."""
    with Pool(work, 1, LIMITS) as pool:
        pool.submit(Fault("pid"))
        ((_, pid),) = list(_all(pool))
        os.kill(pid, signal.SIGKILL)
        assert soon(lambda: gone(pid))
        pool.submit(Fault("answer", 5))
        assert list(_all(pool)) == [(Fault("answer", 5), "answer 5")]


def test_a_worker_that_starts_slowly_does_not_cost_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task whose worker does not start in time, on a machine that is busy, is given to another; after three, it is lost."""
    monkeypatch.setattr(pool_module, "START_SECONDS", 0.0)
    with Pool(work, 1, LIMITS) as pool:
        pool.submit(Fault("answer", 1))
        assert list(pool.answers()) == []
        assert pool.num_tasks == 1
        with monkeypatch.context() as patch:
            patch.setattr(pool_module, "START_SECONDS", 120.0)
            assert list(_all(pool)) == [(Fault("answer", 1), "answer 1")]
    with Pool(work, 1, LIMITS) as pool:
        pool.submit(Fault("answer", 2))
        assert list(_all(pool)) == [(Fault("answer", 2), Lost("crashed", "no worker started in 0 seconds"))]


def test_what_a_worker_started_ends_with_it(tmp_path: Path) -> None:
    """A program that a hanging worker started is killed with it."""
    task = Fault("child", file=str(tmp_path / "pid"))
    found = run([task], 1, Limits(page_seconds=3, document_seconds=60, max_memory_bytes=2 << 30))
    assert found[task].reason == "time limit"
    child = int((tmp_path / "pid").read_text())
    assert soon(lambda: gone(child))


def test_workers_end_with_their_parent() -> None:
    """Workers of a process that is killed are gone soon after."""
    code = (
        "from stages.parse.pool import *; from tests.stages.parse.faults import *\n"
        "if __name__ == '__main__':\n"
        "    pool = Pool(work, 2, Limits(60, 60, 2 << 30)); [pool.submit(Fault('hang', i)) for i in range(2)]\n"
        "    list(pool.answers()); list(pool.answers()); list(pool.answers()); print(*pool.processes(), flush=True)\n"
        "    [list(pool.answers()) for _ in range(100)]\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=PACKAGE_ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pids = [int(p) for p in process.stdout.readline().split()]
    assert len(pids) == 2
    assert not any(gone(p) for p in pids)
    process.kill()
    process.communicate()
    assert soon(lambda: all(gone(p) for p in pids))


def test_first_tasks_go_first() -> None:
    """A task that is submitted as first is taken before those that wait."""
    with Pool(work, 1, LIMITS) as pool:
        for n in range(3):
            pool.submit(Fault("answer", n))
        pool.submit(Fault("answer", 9), first=True)
        assert [answer for _, answer in _all(pool)] == [f"answer {n}" for n in (9, 0, 1, 2)]


@pytest.mark.parametrize("workers", [1, 3])
def test_no_process_is_left(workers: int) -> None:
    """After a pool is closed, none of its processes is left."""
    with Pool(work, workers, LIMITS) as pool:
        for n in range(workers):
            pool.submit(Fault("hang", n))
        list(pool.answers())
        pids = pool.processes()
    assert len(pids) == workers
    assert all(gone(p) for p in pids)
