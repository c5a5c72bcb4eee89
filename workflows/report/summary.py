"""Every node as the report shows it: its state and the numbers of its manifest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from schemas.corpus import Dropped
from schemas.manifest import NAME, Manifest
from schemas.table import ContractError
from workflows.failures.record import Failure, read, standing
from workflows.report import NodeLike

State = Literal["done", "sample rows only", "not started", "not finished", "failed", "unreadable"]
TAIL_BYTES = 4000
MAX_CAUSE_CHARS = 600


@dataclass(frozen=True)
class Summary:
    """A node, its manifest if it has one, and its state. `cause` says what is known of a failure."""

    index: int
    node: NodeLike
    manifest: Manifest | None
    state: State
    cause: str

    @property
    def name(self) -> str:
        """The node's name in the recipe."""
        return self.node.name

    @property
    def anchor(self) -> str:
        """The id of the node's details in the page."""
        return f"stage-{self.index}"

    @property
    def done(self) -> bool:
        """Whether the work is there."""
        return self.state == "done"

    @property
    def failures(self) -> list[Failure]:
        """Attempts that failed, oldest first."""
        return read(self.node.path / "log")

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that were used, or would be."""
        return self.manifest.settings if self.manifest else self.node.stage.settings()

    @property
    def rows_in(self) -> dict[str, int]:
        """Rows of every input, under the name of the table that they came from, or the input's where that is taken."""
        rows: dict[str, int] = {}
        for key, given in self.manifest.inputs.items() if self.manifest else ():
            table = self.node.inputs[key].output if key in self.node.inputs else key
            rows[key if table in rows else table] = given.num_rows
        return rows

    @property
    def rows_out(self) -> dict[str, int]:
        """Rows of every output but the dropped."""
        outputs = self.manifest.outputs if self.manifest else {}
        return {n: o.num_rows for n, o in outputs.items() if o.contract != Dropped.contract()}

    @property
    def dropped(self) -> int:
        """Rows that went no further."""
        return sum(self.manifest.dropped.values()) if self.manifest else 0

    @property
    def table_bytes(self) -> int:
        """Bytes of the Parquet files."""
        outputs = self.manifest.outputs.values() if self.manifest else []
        return sum(p.size_bytes for o in outputs for p in o.parts)

    @property
    def hosts(self) -> list[str]:
        """Machines that worked on it."""
        return sorted({s.host for s in self.manifest.shards}) if self.manifest else []


def summarize(nodes: Sequence[NodeLike]) -> list[Summary]:
    """The state of every node."""
    return [_summary(index, node) for index, node in enumerate(nodes)]


def _summary(index: int, node: NodeLike) -> Summary:
    if not (node.path / NAME).is_file():
        state, cause = _unfinished(node)
        return Summary(index, node, None, state, cause)
    try:
        manifest = Manifest.read(node.path)
    except (ContractError, OSError, UnicodeDecodeError) as error:
        return Summary(index, node, None, "unreadable", str(error))
    return Summary(index, node, manifest, "sample rows only" if manifest.stub else "done", "")


def _unfinished(node: NodeLike) -> tuple[State, str]:
    """A log says whether the stage has begun; its last line is the stage's own word, the runner's record a better one."""
    if failure := standing(node.path / "log"):
        return "failed", str(failure)
    logs = sorted((node.path / "log").glob("*.txt"), key=lambda f: (f.stat().st_mtime_ns, f.name))
    if not logs:
        return "not started", ""
    lines = _tail(logs[-1]).strip().splitlines()
    last = lines[-1].strip()[:MAX_CAUSE_CHARS] if lines else ""
    return ("failed" if last.startswith(f"stages.{node.stage.name}:") else "not finished"), last


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors="replace")


@dataclass(frozen=True)
class Totals:
    """The run as a whole, from its manifests."""

    started: str
    ended: str
    work_seconds: float
    peak_memory_bytes: int
    hosts: tuple[str, ...]
    commits: tuple[str, ...]


def totals(summaries: Sequence[Summary]) -> Totals:
    """Work is added over stages and shards; memory is the largest of any shard."""
    manifests = [s.manifest for s in summaries if s.manifest]
    shards = [s for m in manifests for s in m.shards]
    times = sorted((datetime.fromisoformat(s.started), s.seconds) for s in shards if s.started)
    ends = [start + timedelta(seconds=seconds) for start, seconds in times]
    return Totals(
        started=times[0][0].isoformat() if times else "",
        ended=max(ends).isoformat() if ends else "",
        work_seconds=sum(m.seconds for m in manifests),
        peak_memory_bytes=max((m.peak_memory_bytes for m in manifests), default=0),
        hosts=tuple(sorted({s.host for s in shards})),
        commits=tuple(sorted({m.git_commit for m in manifests if m.git_commit})),
    )
