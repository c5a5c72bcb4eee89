"""Runs of toy stages on a simulated machine, beside the test that hurts them."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from stages.base import PACKAGE_ROOT
from workflows.failures.record import Failure, read
from workflows.simulate.jobs import Job, Store

PATIENCE_SECONDS = 2400
HERE = Path(__file__).parent
SITE = """
from workflows.site import load_site

base = load_site({name!r})
resources = {{
    size: resource.model_copy(update={{"env": {{**resource.env, "PYTHONPATH": {path!r}}}}})
    for size, resource in base.resources.items()
}}
site = base.model_copy(update={{"resources": resources}})
"""
RECIPE = """
from stages.toy import Toy
from stages.toy_gpu import ToyGpu
from stages.toy_gpus import ToyGpus
from stages.toy_reader import ToyReader


def workflow(run):
    made = {}
    for kind, number, fault, shards in CASES:
        stage = {"cpu": Toy, "gpu": ToyGpu, "gpus": ToyGpus}[kind]
        name = fault.replace(" ", "_") or "unbroken"
        made[name] = run(stage(number=number, fault=fault, folder=FOLDER), name=name, shards=shards)
    for name, damage in READERS:
        run(ToyReader(damage=damage), name=f"after_{name}", rows=made[name]["rows"])
"""

UNBROKEN = """
import json, sys
from pathlib import Path
from stages.tables import Outputs
from stages.toy import Toy

for number, count in enumerate(json.loads(sys.argv[1])):
    for shard in range(count):
        outputs = Outputs(Path(sys.argv[2], str(number)), Toy.outputs, (shard, count))
        Toy(number=number).run({}, outputs)
        outputs.close()
"""

Found = TypeVar("Found")


class Case(NamedTuple):
    """A toy stage of a run: its size, its fault, and how many shards it has."""

    kind: str
    fault: str
    shards: int = 1


class Outcome(NamedTuple):
    """What became of a node: its failures, whether it is done, its rows' bytes, and attempts by shard."""

    failures: list[Failure]
    done: bool
    parts: list[bytes]
    attempts: list[int]


class Chaos:
    """One run, whose `cases` become nodes named by their faults."""

    readers: Sequence[tuple[str, str]] = ()  # names of nodes whose output another reads, and how it is damaged before

    def __init__(self, folder: Path, site: str, cases: Sequence[Case], heartbeat: int) -> None:
        self.folder, self.marks, self.root = folder, folder / "marks", folder / "runs"
        self.marks.mkdir(parents=True)
        self.numbers = {case.fault.replace(" ", "_"): i for i, case in enumerate(cases)}
        self.shards = [case.shards for case in cases]
        listed = [(c.kind, i, c.fault, c.shards) for i, c in enumerate(cases)]
        words = f"CASES = {listed!r}\nFOLDER = {str(self.marks)!r}\nREADERS = {list(self.readers)!r}\n"
        (folder / "recipe.py").write_text(words + RECIPE)
        path = f"{HERE}:{PACKAGE_ROOT}"
        self.site = site
        for name in (site, "laptop"):
            (folder / f"{name}.py").write_text(SITE.format(name=name, path=path))
        env = {k: v for k, v in os.environ.items() if not k.startswith(("BOREALIS_", "PBS_", "SLURM_"))}
        env |= {"BOREALIS_ROOT": str(self.root), "TMPDIR": str(folder), "PYTHONPATH": path}
        self.env = env | {"BOREALIS_RETRY_SECONDS": "0.2", "SIMULATED_HEARTBEAT": str(heartbeat)}
        self.command = [sys.executable, "-m", "workflows", "run", str(folder / "recipe.py")]
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.code = -1
        self.said = ""  # by the run before it was mended
        self.before: dict[str, Outcome] = {}

    def start(self, *words: str) -> None:
        """Begin the run; other words than the simulated site may follow its command."""
        words = words or ("--simulate", "--site", str(self.folder / f"{self.site}.py"))
        with self.log.open("w") as log:
            command = [*self.command, *words]
            self.process = subprocess.Popen(command, cwd=PACKAGE_ROOT, env=self.env, stdout=log, stderr=log)

    def mend(self) -> int:
        """Take away every fault that is still there, and run what is left on this machine as it is; the exit code."""
        (self.marks / "mended").touch()
        for kept in self.root.rglob("*.kept"):
            whole = kept.read_bytes()  # what is kept stays, or the fault would come again
            next(f for f in kept.parent.glob(f"{kept.stem}.*") if f != kept).write_bytes(whole)
        self.start("--site", str(self.folder / "laptop.py"))
        return self.wait()

    def wait(self) -> int:
        """The exit code of the run."""
        assert self.process
        return self.process.wait(PATIENCE_SECONDS)

    def stop(self) -> None:
        """End the run if it is not over."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait()

    def until(self, found: Callable[[], Found | None]) -> Found:
        """What `found` gives once it gives something; the run must be alive until then."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (what := found()):
            assert self.process
            assert time.monotonic() < deadline, self.log.read_text()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        return what

    def store(self) -> Store:
        """The simulated machine's folder, once it is up."""
        return Store(self.until(lambda: next((f.parent for f in self.folder.glob("pbs-*/machine.json")), None)))

    def at(self, fault: str) -> None:
        """Wait until the node with this fault is in the middle of its work."""
        self.until((self.marks / f"{fault}-{self.numbers[fault.replace(' ', '_')]}").exists)

    def release(self, fault: str) -> None:
        """Let a node that holds go on."""
        (self.marks / f"release-{self.numbers[fault.replace(' ', '_')]}").touch()

    def job(self, queue: str) -> Job:
        """The job that runs in a queue."""
        store = self.store()

        def running() -> Job | None:
            with store.locked():
                return next((j for j in store.jobs() if j.state == "R" and j.queue == queue), None)

        return self.until(running)

    def outcome(self, name: str) -> Outcome:
        """What became of a node."""
        folder = self._folder(name)
        number = self.numbers.get(name, -1)
        counts = [len(f.read_text().split()) for f in sorted(self.marks.glob(f"attempts-{number}-*"))]
        parts = [f.read_bytes() for f in sorted((folder / "rows").glob("part-*.parquet"))]
        return Outcome(read(folder / "log"), (folder / "manifest.json").is_file(), parts, counts)

    @functools.cached_property
    def unbroken(self) -> dict[str, list[bytes]]:
        """The bytes of every node's rows as they are without any fault, made by the same stage in a process of its own."""
        out = self.folder / "unbroken"
        command = [sys.executable, "-c", UNBROKEN, json.dumps(self.shards), str(out)]
        subprocess.run(command, cwd=PACKAGE_ROOT, env=self.env, check=True)
        names = self.numbers.items()
        return {name: [f.read_bytes() for f in sorted((out / str(n) / "rows").iterdir())] for name, n in names}

    def _folder(self, name: str) -> Path:
        """Where a node's output lies: by its number, or by its name in the list of failures."""
        for settings in self.root.glob("toy*/*/settings.json"):
            words = json.loads(settings.read_text())
            if words.get("number", -2) == self.numbers.get(name, -1):
                return settings.parent
        for settings in self.root.glob("toy_reader/*/settings.json"):
            if any(f.task == name for f in read(settings.parent / "log")):
                return settings.parent
        return self.root / "none"


def table(part: bytes) -> pa.Table:
    """The rows of a file's bytes."""
    return pq.read_table(pa.BufferReader(part))
