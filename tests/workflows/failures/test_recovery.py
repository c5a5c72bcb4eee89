"""Decisions over the attempts of a task: progress, limits, halving, waiting, and what is kept of them."""

import datetime as dt
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from parsl.executors.high_throughput.errors import ManagerLost

from stages import base
from stages.base import halved, num_cores, num_workers
from stages.evaluate import Evaluate
from stages.parse import Parse
from stages.pretrain import Pretrain
from stages.quarantine import Mark, read_quarantine
from workflows.base import Node
from workflows.execute import Task
from workflows.failures.policy import read_policies
from workflows.failures.record import FILE, Failure, append, read, standing
from workflows.failures.recovery import MAX_TURNED_AWAY, WAIT_SECONDS, Recovery, scheduler_words
from workflows.launch import StageFailed, launch

KILLED, CODE, TRANSIENT = (137, ""), (1, "stages.x: TypeError: no"), (1, "stages.x: Stale file handle: y")


class Bench:
    """A recovery with one task, whose attempts fail as told."""

    def __init__(self, folder: Path, stage=None, *words: str) -> None:
        self.said: list[str] = []
        self.node = Node("work", stage or Pretrain(), {}, 1, "f", folder)
        self.progress = folder / "progress" / "00000-of-00001.json"
        self.task = Task(self.node, "", [], folder / "log" / "run.txt", self.progress)
        self.recovery = Recovery(read_policies(words), self.said.append)
        self.recovery.expect(self.task)

    def reach(self, done: int) -> "Bench":
        """What the stage's own file says it has done."""
        self.progress.parent.mkdir(parents=True, exist_ok=True)
        self.progress.write_text(json.dumps({"done": done}))
        return self

    def fail(self, code: int, tail: str) -> bool:
        """Whether the task is tried again after this."""
        return self.lose(StageFailed("work", code, str(self.task.log), tail))

    def lose(self, error: Exception) -> bool:
        """The same for any error."""
        record = {"args": ("work", [], "log", "."), "executor": "gpu", "try_time_launched": dt.datetime.now(dt.UTC)}
        return self.recovery.cost(error, record) == 0

    @property
    def failures(self) -> list[Failure]:
        """What was kept."""
        return read(self.task.log.parent)


@pytest.fixture
def bench(tmp_path) -> Bench:
    """A training stage's task."""
    return Bench(tmp_path)


def test_two_attempts_without_progress_are_the_end(bench) -> None:
    """A node lost twice at the same step stops the task, and the record says so."""
    assert bench.lose(ManagerLost(b"m", "x1"))
    assert not bench.lose(ManagerLost(b"m", "x2"))
    assert [f.deed for f in bench.failures] == ["resubmitted", "stopped"]
    assert bench.failures[-1].did == "stopped after 2 attempt(s) without progress"


def test_progress_goes_on_for_ever(bench) -> None:
    """A training run that gets further in every job may need any number of jobs."""
    for step in range(1, 30):
        assert bench.reach(step * 100).lose(ManagerLost(b"m", "x1"))
    assert bench.reach(2900).lose(ManagerLost(b"m", "x1"))
    assert not bench.reach(2899).lose(ManagerLost(b"m", "x1"))
    assert [f.attempt for f in bench.failures] == list(range(1, 32))


def test_what_an_earlier_run_did_is_no_progress(tmp_path) -> None:
    """Going on from step 300 of the last run and dying there is an attempt without progress."""
    Bench(tmp_path).reach(300)
    again = Bench(tmp_path)
    assert again.reach(300).lose(ManagerLost(b"m", "x1"))
    assert not again.reach(300).lose(ManagerLost(b"m", "x1"))


def test_memory_is_halved_until_the_limit(bench) -> None:
    """Out of memory, a stage is started with half, a quarter and an eighth of what it holds at a time, then given up."""
    assert [bench.fail(*KILLED) for _ in range(4)] == [True, True, True, False]
    assert [f.did for f in bench.failures][:2] == [
        "started again with micro_batch_sequences / 2",
        "started again with micro_batch_sequences / 4",
    ]
    assert bench.failures[-1].deed == "stopped"


def test_a_stage_with_nothing_to_halve_is_tried_once_more(tmp_path) -> None:
    """Where halving would change nothing it is not said to be done."""
    bench = Bench(tmp_path, Evaluate())
    assert bench.fail(*KILLED)
    assert bench.failures[0].deed == "resubmitted"


@pytest.mark.parametrize(
    "failure",
    [CODE, (3, "stages.x: table: bad"), (2, "stages.x: no"), (1, "stages.x: No space left on device: y"), (127, "")],
)
def test_what_cannot_get_better_is_not_tried_again(bench, failure) -> None:
    """Code, contract, settings and a full disk stop at the first failure."""
    assert not bench.fail(*failure)
    assert bench.failures[0].did == "stopped"


def crash(bench, row: str) -> bool:
    """A crash at a row that the stage has marked."""
    Mark(bench.progress.with_suffix(".row")).set(row)
    return bench.fail(139, "")


def test_a_row_that_crashes_twice_is_left_out(bench) -> None:
    """The first crash at a row may be the machine's fault, the second puts the row aside; ten rows are the end."""
    for i in range(10):
        assert crash(bench, f"doc-{i}")
        assert crash(bench, f"doc-{i}")
    assert [f.deed for f in bench.failures] == ["resubmitted", "quarantined"] * 10
    assert list(read_quarantine(bench.node.path)) == [f"doc-{i}" for i in range(10)]
    assert bench.failures[1].did == "started again without row doc-0"
    assert crash(bench, "doc-10")
    assert not crash(bench, "doc-10")
    assert bench.failures[-1].did == "stopped, as 10 row(s) are left out already"


def test_a_crash_without_a_row_is_code(bench) -> None:
    """A stage that sets no marks is not blamed on a row."""
    assert not bench.fail(139, "")
    assert (bench.failures[0].kind, bench.failures[0].row) == ("code", "")


def test_the_users_word(tmp_path) -> None:
    """A policy from the command line holds: out of memory stops, a full disk is tried again."""
    bench = Bench(tmp_path, None, "out-of-memory=stop", "disk-full=resubmit:3")
    assert bench.fail(1, "stages.x: No space left on device: y")
    assert not bench.fail(*KILLED)


def test_transient_errors_wait_longer_each_time(bench, monkeypatch) -> None:
    """After a transient error the next attempt waits, twice as long each time; an environment variable shortens it."""
    assert [bench.fail(*TRANSIENT) for _ in range(3)] == [True, True, True]
    assert [f.wait_seconds for f in bench.failures] == [WAIT_SECONDS, 2 * WAIT_SECONDS, 4 * WAIT_SECONDS]
    monkeypatch.setenv("BOREALIS_RETRY_SECONDS", "0")
    assert not bench.fail(*TRANSIENT)
    assert bench.failures[-1].wait_seconds == 0


def test_the_process_of_a_lost_worker_is_waited_for(bench) -> None:
    """An attempt that finds the shard's lock held had no chance: it waits, twenty times, and only then counts."""
    occupied = (2, "stages.x: /runs/x: another process is at work here")
    assert bench.lose(ManagerLost(b"m", "x1"))
    assert all(bench.fail(*occupied) for _ in range(MAX_TURNED_AWAY))
    assert {f.wait_seconds for f in bench.failures[1:]} == {WAIT_SECONDS}
    assert not bench.fail(*occupied)


def test_what_did_not_run_has_not_failed(bench) -> None:
    """A task whose input failed is neither retried nor recorded."""
    error = type("DependencyError", (Exception,), {})()
    assert not bench.lose(error)
    assert bench.failures == []
    assert bench.said == []


def test_every_failure_is_said(bench) -> None:
    """The console hears class, reason and deed of each."""
    bench.fail(*CODE)
    assert bench.said == ["work: code: stages.x: TypeError: no; stopped"]


def test_the_error_of_a_task_has_its_class(bench) -> None:
    """Whatever ended a task, its error is a StageFailed that says class, reason and deed, and names the log."""
    lost = ManagerLost(b"m", "x1")
    bench.lose(lost)
    bench.lose(lost)
    error = bench.recovery.failed(bench.task, lost)
    assert error.failure == bench.failures[-1]
    assert str(error).startswith("work failed (exit 1): node lost: Task failure due to loss of manager m")
    assert str(error).endswith("stopped after 2 attempt(s) without progress")
    assert error.log == str(bench.task.log)


def provider(*files: Path) -> SimpleNamespace:
    """An executor whose jobs have these error files."""
    jobs = {str(i): {"job_stderr_path": str(f)} for i, f in enumerate(files)}
    return SimpleNamespace(provider=SimpleNamespace(resources=jobs))


def test_the_schedulers_words_are_of_this_job(tmp_path) -> None:
    """The newest line counts that was written while the task ran; threads and jobs without files have none."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("=>> PBS: job killed: walltime 10 exceeded limit 9\n")
    later = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=5)
    assert scheduler_words(provider(old), later) == ""
    new.write_text("noise\n=>> PBS: job killed: walltime 20 exceeded limit 19\nmore\n")
    since = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=50)
    assert scheduler_words(provider(old, new, tmp_path / "none"), since).endswith("limit 19")
    assert scheduler_words(None, since) == ""
    assert scheduler_words(SimpleNamespace(provider=None), None) == ""


def test_the_next_attempt_takes_half(tmp_path, bench, monkeypatch) -> None:
    """The number of halvings reaches the stage through its environment, for its own task alone."""
    bench.fail(*KILLED)
    bench.fail(*KILLED)
    log = bench.task.log
    show = [sys.executable, "-c", "from stages.base import halved, num_workers; print(halved(16), num_workers())"]
    monkeypatch.setenv("BOREALIS_WORKERS", "8")
    launch("work", show, str(log), str(base.PACKAGE_ROOT))
    launch("other", show, str(log), str(base.PACKAGE_ROOT))
    assert log.read_text().split() == ["4", "2", "16", "8"]


def test_halves_end_at_one(monkeypatch) -> None:
    """Half of one is one, and cores are as many as before."""
    monkeypatch.setenv("BOREALIS_WORKERS", "3")
    monkeypatch.setenv("BOREALIS_HALVINGS", "5")
    assert (halved(1), halved(64), num_workers(), num_cores()) == (1, 2, 1, 3)


def test_a_line_that_was_cut_short_is_left_out(tmp_path, bench) -> None:
    """The record survives a runner that was killed while it wrote."""
    bench.fail(*CODE)
    file = bench.task.log.parent / FILE
    file.write_text(file.read_text() + '{"task": "wo')
    assert [f.kind for f in bench.failures] == ["code"]


def test_a_failure_stands_until_the_stage_is_started_again(tmp_path) -> None:
    """What was given up is shown as failed, until its log is touched by a new attempt."""
    bench = Bench(tmp_path, Parse())
    bench.fail(*KILLED)
    assert standing(bench.task.log.parent) is None
    bench.fail(*CODE)
    assert standing(bench.task.log.parent) == bench.failures[-1]
    bench.task.log.write_text("again")
    assert standing(bench.task.log.parent) is None


def test_two_tasks_append_to_one_file(tmp_path) -> None:
    """Shards of a stage share the record; each line is whole."""
    made = [
        Failure(
            task=f"parse {i}/9",
            attempt=1,
            kind="code",
            why="x" * 300,
            deed="stopped",
            did="d",
            code=1,
            reached=i,
            time="t",
        )
        for i in range(9)
    ]
    for failure in made:
        append(tmp_path / "log", failure)
    assert read(tmp_path / "log") == made
