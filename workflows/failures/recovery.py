"""Decides, while a run goes on, what becomes of each task that failed; Parsl asks it through its retry handler."""

import json
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stages import quarantine
from workflows.execute import Task
from workflows.failures.classify import OCCUPIED, SCHEDULER, Cause, classify
from workflows.failures.policy import POLICIES, Policies
from workflows.failures.record import Deed, Failure, append, halvings, read
from workflows.launch import StageFailed, tail

GO_ON, GIVE_UP = 0.0, 1.0  # costs, with no retries of Parsl's own to pay them from
WAIT_SECONDS = 30.0  # before the second attempt after a transient error, and twice as long each time
MAX_TURNED_AWAY = 20  # ten minutes
WAIT_VARIABLE = "BOREALIS_RETRY_SECONDS"


@dataclass
class History:
    """What a run knows of a task."""

    task: Task
    best: int  # the furthest that any attempt came, in the stage's own units
    idle: int = 0  # attempts in a row that came no further
    turned_away: int = 0  # attempts in a row that found another process at work, which may be one of a lost worker
    failures: list[Failure] = field(default_factory=list)


class Recovery:
    """The failures of one run. `say` is given a line for each; `jobs` are Parsl's executors by label."""

    def __init__(self, policies: Policies = POLICIES, say: Callable[[str], None] = print) -> None:
        self.policies, self._say = policies, say
        self.executors: Mapping[str, Any] = {}
        self._histories: dict[str, History] = {}
        self._lock = threading.Lock()

    def expect(self, task: Task) -> None:
        """A task of this run; what an earlier run reached is no progress of this one's."""
        self._histories[task.name] = History(task, reached(task))

    def cost(self, error: Exception, record: Mapping[str, Any]) -> float:
        """Parsl's question after a failure: 0 to try again, more to give up."""
        if type(error).__name__ == "DependencyError":
            return GIVE_UP
        with self._lock:
            history = self._histories[record["args"][0]]
            job = scheduler_words(self.executors.get(record["executor"]), record["try_time_launched"])
            cause = classify(error, job, row_of(history.task))
            failure = self._decide(history, cause, getattr(error, "code", None))
            history.failures.append(failure)
            append(history.task.log.parent, failure)
        self._say(f"{history.task.name}: {failure}")
        return GIVE_UP if failure.deed == "stopped" else GO_ON

    def failed(self, task: Task, error: BaseException) -> StageFailed:
        """The error of a task that was given up, with its class, whatever it was before."""
        failure = next(iter(reversed(self._histories[task.name].failures)), None)
        if not isinstance(error, StageFailed):
            why = failure.why if failure else f"{type(error).__name__}: {error}"
            error = StageFailed(task.name, 1, str(task.log), why)
        error.failure = failure
        return error

    def _decide(self, history: History, cause: Cause, code: int | None) -> Failure:
        now = reached(history.task)
        waits = OCCUPIED in cause.why and history.turned_away < MAX_TURNED_AWAY  # it had no chance to get further
        history.turned_away = history.turned_away + 1 if waits else 0
        if not waits:
            history.idle = 0 if now > history.best else history.idle + 1
        history.best = max(history.best, now)
        deed, did = self._deed(history, cause)
        wait = WAIT_SECONDS if (waits or cause.kind == "transient-io") and deed != "stopped" else 0.0
        return Failure(
            task=history.task.name,
            attempt=len(history.failures) + 1,
            kind=cause.kind,
            why=cause.why,
            deed=deed,
            did=did,
            code=code,
            reached=now,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            wait_seconds=float(os.environ.get(WAIT_VARIABLE, wait)) * 2 ** max(0, history.idle - 1) if wait else 0.0,
            log=str(history.task.log),
            row=cause.row,
        )

    def _deed(self, history: History, cause: Cause) -> tuple[Deed, str]:
        action, limit = self.policies[cause.kind]
        if action == "stop":
            return "stopped", "stopped"
        if action == "quarantine":
            return self._quarantine(history, cause, limit)
        if history.idle >= limit and not history.turned_away:
            return "stopped", f"stopped after {history.idle} attempt(s) without progress"
        what = history.task.node.stage.halves
        if action == "halve" and what:
            earlier = [f for f in read(history.task.log.parent) if f.task == history.task.name]
            return "halved", f"started again with {what} / {2 ** (halvings(earlier) + 1)}"
        return "resubmitted", "started again"

    def _quarantine(self, history: History, cause: Cause, limit: int) -> tuple[Deed, str]:
        """A row is left out when it has crashed the stage twice: once may be the machine's fault."""
        folder = history.task.node.path
        if cause.row not in {failure.row for failure in history.failures}:
            return "resubmitted", "started again; another crash there leaves the row out"
        if len(quarantine.read_quarantine(folder)) >= limit:
            return "stopped", f"stopped, as {limit} row(s) are left out already"
        quarantine.add(folder, cause.row, cause.why)
        return "quarantined", f"started again without row {cause.row}"


def row_of(task: Task) -> str:
    """The row that a task was at, if its stage says so."""
    return quarantine.marked(task.progress.with_suffix(".row")) if task.progress else ""


def reached(task: Task) -> int:
    """How far a task came, by the file that its stage keeps."""
    if task.progress is not None:
        with suppress(FileNotFoundError, json.JSONDecodeError, KeyError):
            return int(json.loads(task.progress.read_text())["done"])
    return 0


def scheduler_words(executor: Any, since: datetime | None) -> str:
    """The line on why a job ended that its scheduler has written into the job's own error file while the task ran."""
    jobs = getattr(getattr(executor, "provider", None), "resources", {})
    files = [Path(words["job_stderr_path"]) for words in jobs.values() if "job_stderr_path" in words]
    for file in reversed(files):
        if file.is_file() and (since is None or file.stat().st_mtime >= since.timestamp()):
            lines = [line.strip() for line in tail(file).splitlines() if SCHEDULER.search(line)]
            if lines:
                return lines[-1]
    return ""
