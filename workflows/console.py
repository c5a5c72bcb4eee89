"""What a person sees while a run goes on: a live table in a terminal, plain lines elsewhere."""

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stages.progress import describe
from workflows.base import Node
from workflows.execute import Task
from workflows.explain import State

LINE_SECONDS = 10.0
MARKS = {"done": "[green]✓[/]", "failed": "[red]✗[/]", "running": "[cyan]●[/]", "waiting": "[dim]·[/]"}

Futures = Mapping[Task, "Future[int]"]


class Watcher:
    """Follows a run. Called with the futures a few times a second."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
        self._began = time.time() - 1.0  # file times are coarser than the clock
        self._seen: dict[str, str] = {}
        self._times: dict[str, tuple[float, float]] = {}
        self._line_at = time.monotonic()

    def __enter__(self) -> Self:
        if self._live:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.__exit__(kind, error, trace)

    def __call__(self, futures: Futures) -> None:
        """Show how far every task is."""
        states = {task: task_state(task, future, self._began) for task, future in futures.items()}
        now = time.monotonic()
        for task, state in states.items():
            if state != "waiting":
                started, _ = self._times.setdefault(task.name, (now, now))
                if self._seen.get(task.name) not in ("done", "failed"):
                    self._times[task.name] = (started, now)
        if self._live:
            self._live.update(self._table(states))
            self._seen = {task.name: state for task, state in states.items()}
        else:
            self._lines(states, now)

    def _table(self, states: Mapping[Task, str]) -> Group:
        table = Table(box=None, show_header=False, padding=(0, 1))
        for task, state in states.items():
            table.add_row(MARKS[state], task.name, self._clock(task), Text(_words(task, state), style="dim"))
        return Group(table)

    def _clock(self, task: Task) -> str:
        started, last = self._times.get(task.name, (0.0, 0.0))
        return f"{last - started:.0f} s" if started else ""

    def _lines(self, states: Mapping[Task, str], now: float) -> None:
        tick = now - self._line_at >= LINE_SECONDS
        for task, state in states.items():
            if self._seen.get(task.name) != state and state != "waiting":
                self.console.print(f"{task.name}: {state} {_summary(task.node) if state == 'done' else ''}".rstrip())
            elif tick and state == "running":
                self.console.print(f"{task.name}: {_words(task, state)}")
            self._seen[task.name] = state
        if tick:
            self._line_at = now


def task_state(task: Task, future: "Future[int]", since: float) -> str:
    """waiting, running, done or failed. A task runs when its process has opened its log, `since` this run began."""
    if future.done():
        return "failed" if future.exception() else "done"
    return "running" if task.log.is_file() and task.log.stat().st_mtime >= since else "waiting"


def _words(task: Task, state: str) -> str:
    if state == "done":
        return _summary(task.node)
    return progress_words(task) if state == "running" else ""


def progress_words(task: Task) -> str:
    """The task's own progress, from the file that it keeps."""
    if task.progress is None:
        return ""
    try:
        return describe(json.loads(task.progress.read_text()))
    except (FileNotFoundError, json.JSONDecodeError):
        return "starting"


def _summary(node: Node) -> str:
    if not node.done:
        return ""
    manifest = node.manifest()
    rows = ", ".join(f"{o.num_rows} {name}" for name, o in manifest.outputs.items() if name != "dropped")
    dropped = f"; {sum(manifest.dropped.values())} dropped" if manifest.dropped else ""
    return f"{manifest.seconds:.1f} s, {rows}{dropped}"


def print_plan(console: Console, nodes: Sequence[Node], states: Mapping[str, State]) -> None:
    """A line a node: what would run and why, what is done, what it took."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("stage", "", "why", "last time", "output"):
        table.add_column(heading, header_style="dim", overflow="fold")
    for node in nodes:
        state = states[node.name]
        style = "green" if state.verdict == "done" else "yellow"
        seconds = f"{state.seconds:.1f} s" if state.seconds is not None else ""
        output = f"{node.stage.name}/{node.fingerprint}"
        table.add_row(node.name, f"[{style}]{state.verdict}[/]", Text(state.why), seconds, output)
    console.print(table)
