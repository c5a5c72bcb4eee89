"""Run the nodes of a graph on a site, through Parsl: one app a shard, futures as edges, resume by manifest."""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.manifest import NAME, write_atomic
from stages.base import PACKAGE_ROOT
from workflows.base import Node
from workflows.launch import StageFailed, launch
from workflows.site import Site

if TYPE_CHECKING:
    from workflows.failures.recovery import Recovery

POLL_SECONDS = 0.25


@dataclass(frozen=True, eq=False)  # a task is itself, so it can be a key
class Task:
    """One process to run: a shard of a node, or the commit that joins its shards."""

    node: Node
    label: str
    command: list[str]
    log: Path
    progress: Path | None

    @property
    def name(self) -> str:
        """`parse`, or `parse 3/8`."""
        return f"{self.node.name} {self.label}".strip()


@dataclass(frozen=True)
class Machine:
    """A site as used by one run: in containers or not, working or writing sample rows."""

    site: Site
    container: bool = False
    stub: bool = False

    def arguments(self, node: Node) -> list[str]:
        """The stage's own arguments, the same for every shard."""
        inputs = [a for key, port in node.inputs.items() for a in (f"--{key}", str(port.path))]
        stub = ["--stub"] if self.stub else []
        return ["--config", str(node.path / "settings.json"), *inputs, "--out", str(node.path), *stub]

    def command(self, node: Node, *more: str) -> list[str]:
        """The whole command of a node; it can be pasted into a shell."""
        arguments = [*self.arguments(node), *more]
        return self.site.command(node.stage.name, node.stage.resources, arguments, container=self.container)

    def missing_images(self, nodes: Sequence[Node]) -> list[str]:
        """What has to be built before these nodes can run in containers; nothing where they do not."""
        if not self.container:
            return []
        pairs = {n.stage.name: self.site.resources[n.stage.resources] for n in nodes}
        images = {name: self.site.image(name, resource) for name, resource in pairs.items()}
        return [
            f"no image {image}: make image STAGE={name} KIND={pairs[name].base}"
            for name, image in images.items()
            if not (PACKAGE_ROOT / image).is_file()
        ]

    def tasks(self, node: Node) -> list[Task]:
        """What is left to do for a node: its shards that have no record, then the commit."""
        count = node.shards
        if count == 1:
            progress = node.path / "progress" / "00000-of-00001.json"
            return [Task(node, "", self.command(node), node.path / "log" / "run.txt", progress)]
        tasks = []
        for index in range(count):
            name = f"{index:05d}-of-{count:05d}"
            if not (node.path / "done" / f"{name}.json").is_file():
                command = self.command(node, "--shard", f"{index}/{count}")
                files = node.path / "log" / f"{name}.txt", node.path / "progress" / f"{name}.json"
                tasks.append(Task(node, f"{index}/{count}", command, *files))
        commit = self.command(node, "--commit", str(count))
        return [*tasks, Task(node, "commit", commit, node.path / "log" / "commit.txt", None)]


def prepare(node: Node, *, force: bool) -> None:
    """Write a node's settings where its command reads them; `force` removes what an earlier run left."""
    if force and node.path.is_dir():
        (node.path / NAME).unlink(missing_ok=True)
        shutil.rmtree(node.path)
    node.path.mkdir(parents=True, exist_ok=True)
    settings = node.stage.model_dump(mode="json")
    write_atomic(node.path / "settings.json", json.dumps(settings, indent=1) + "\n")


Watch = Callable[[dict[Task, "Future[int]"]], None]


def execute(
    nodes: Sequence[Node], machine: Machine, watch: Watch, recovery: "Recovery | None" = None
) -> list[StageFailed]:
    """Run `nodes` (in order, inputs first); returns what went wrong. `watch` is called until all is over."""
    import parsl

    from workflows.failures.recovery import Recovery

    recovery = recovery or Recovery()
    config = machine.site.parsl_config(machine.site.root / "parsl")
    config.retries, config.retry_handler = 0, recovery.cost
    with parsl.load(config) as kernel:
        recovery.executors = kernel.executors
        futures = submit(nodes, machine, kernel, recovery)
        while not all(f.done() for f in futures.values()):
            watch(futures)
            time.sleep(POLL_SECONDS)
        watch(futures)
        errors = {task: f.exception() for task, f in futures.items()}
        return [recovery.failed(t, e) for t, e in errors.items() if e and type(e).__name__ != "DependencyError"]


def submit(nodes: Sequence[Node], machine: Machine, kernel: Any, recovery: "Recovery") -> dict[Task, "Future[int]"]:
    """One Parsl app a task. A node's tasks wait for the last task of every input that is in this run."""
    from parsl.app.app import python_app

    futures: dict[Task, Future[int]] = {}
    last: dict[str, Future[int]] = {}
    for node in nodes:
        executor = machine.site.resources[node.stage.resources].executor
        app = python_app(launch, data_flow_kernel=kernel, executors=[executor])
        waits = tuple(last[p.node.name] for p in node.inputs.values() if p.node.name in last)
        shards: tuple[Future[int], ...] = ()
        for task in machine.tasks(node):
            recovery.expect(task)
            before = shards if task.label == "commit" else ()
            future = app(task.name, task.command, str(task.log), str(PACKAGE_ROOT), inputs=[*waits, *before])
            futures[task] = last[node.name] = future
            shards = (*shards, future)
    return futures
