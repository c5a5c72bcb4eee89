"""Jobs as files in a folder, one a job, shared by the commands and the server under one lock."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from workflows.facility import NodeShape, Queue

FOLDER = "SIMULATED_PBS"  # the environment variable that says where the commands find the folder
FIRST = 1001
Event = Literal["delete", "lose", "preempt", "expire"]


@dataclass
class Job:
    """One job: what was asked, and what became of it. Times are seconds of the epoch; state is PBS's letter."""

    id: str
    name: str
    queue: str  # where it runs
    account: str
    user: str
    nodes: int
    walltime_seconds: int
    output: str
    error: str
    workdir: str
    state: str = "Q"
    comment: str = ""
    started: float = 0.0
    killed: float = 0.0  # when SIGTERM was sent
    exit_status: int | None = None
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Store:
    """The folder of one simulated machine."""

    folder: Path

    @classmethod
    def from_environment(cls) -> "Store":
        """The folder that the server has named to the commands."""
        return cls(Path(os.environ[FOLDER]))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else reads or writes jobs meanwhile."""
        with (self.folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def jobs(self) -> list[Job]:
        """All jobs, oldest first."""
        files = sorted((self.folder / "jobs").glob("*.json"), key=lambda f: int(f.stem.partition(".")[0]))
        return [Job(**json.loads(f.read_text())) for f in files]

    def save(self, job: Job) -> None:
        """Write a job, whole or not at all."""
        file = self.folder / "jobs" / f"{job.id}.json"
        scratch = file.with_suffix(".new")
        scratch.write_text(json.dumps(asdict(job), indent=1))
        scratch.rename(file)

    def broken(self) -> set[str]:
        """Hosts on which nothing lives; a test writes their names into the file."""
        file = self.folder / "broken"
        return set(file.read_text().split()) if file.exists() else set()

    def script(self, job: Job) -> Path:
        """The copy of a job's script that was made when it was submitted."""
        return self.folder / "scripts" / job.id

    def next_id(self) -> str:
        """A new job's identifier."""
        return f"{FIRST + len(list((self.folder / 'jobs').glob('*.json')))}.simulated"

    def ask(self, identifier: str, what: Event) -> None:
        """Tell the server what is to happen to a running job: qdel, the loss of a node, a preemption, the end of its walltime."""
        (self.folder / "requests" / f"{identifier}.{what}").touch()

    def asked(self, identifier: str, what: Event) -> bool:
        """Whether somebody has asked for that."""
        return (self.folder / "requests" / f"{identifier}.{what}").exists()

    def machine(self) -> "Machine":
        """The machine as the server wrote it down."""
        return Machine.read(self.folder / "machine.json")

    @property
    def outage(self) -> Path:
        """While this file is there, qstat fails as if the server did not answer."""
        return self.folder / "qstat-fails"


@dataclass(frozen=True)
class Machine:
    """What the commands enforce: queues, the shape of a node, filesystems, and how many nodes there are."""

    queues: tuple[Queue, ...]
    node: NodeShape
    filesystems: tuple[str, ...]
    num_nodes: int

    def write(self, file: Path) -> None:
        """Keep it for the commands, which are processes of their own."""
        queues = [q.model_dump() for q in self.queues]
        words = {"queues": queues, "node": self.node.model_dump(), "filesystems": self.filesystems}
        file.write_text(json.dumps({**words, "num_nodes": self.num_nodes}))

    @classmethod
    def read(cls, file: Path) -> "Machine":
        """What `write` has kept."""
        words = json.loads(file.read_text())
        queues = tuple(Queue(**q) for q in words["queues"])
        return cls(queues, NodeShape(**words["node"]), tuple(words["filesystems"]), words["num_nodes"])
