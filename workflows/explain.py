"""Why a stage would run: never run, interrupted, or what changed since the last time: setting, input, version, code."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from schemas.manifest import NAME, Manifest
from schemas.table import ContractError
from stages.base import code_sha256
from workflows.base import Node


class State(NamedTuple):
    """`done`, or `run` with the reason. `seconds` is what it took the last time, if there was one."""

    verdict: Literal["done", "run"]
    why: str
    seconds: float | None


def explain(node: Node) -> State:
    """Compare a node with what lies under the root."""
    if node.done:
        return _done(node)
    before = latest(node.path.parent, node.path)
    seconds = before.seconds if before else None
    if node.moved:
        return State("run", "the files it reads lie elsewhere now; what follows stays done", node.manifest().seconds)
    if node.path.is_dir():
        return State("run", _interrupted(node), seconds)
    if before is None:
        return State("run", "never run", None)
    return State("run", "; ".join(_changes(before, node)) or "changed", seconds)


def explain_all(nodes: Sequence[Node]) -> dict[str, State]:
    """State of every node; a node whose input will be made anew says which input."""
    return {node.name: explain(node) for node in nodes}


def _done(node: Node) -> State:
    manifest = node.manifest()
    why = f"done {age(manifest.shards[0].started)}" if manifest.shards else "done"
    if manifest.code_sha256 != code_sha256(type(node.stage)):
        why += "; its code changed since (--force redoes it)"
    return State("done", why, manifest.seconds)


def _interrupted(node: Node) -> str:
    count = len(list((node.path / "done").glob(f"*-of-{node.shards:05d}.json")))
    logs = list((node.path / "log").glob("*.txt"))
    if node.shards > 1:
        return f"interrupted: {count} of {node.shards} shards done"
    return "interrupted or failed" if logs else "not started"


def latest(folder: Path, but: Path) -> Manifest | None:
    """The newest manifest of a stage's outputs other than one of them."""
    manifests = sorted(folder.glob(f"*/{NAME}"), key=lambda f: f.stat().st_mtime, reverse=True)
    for file in manifests:
        try:
            if file.parent != but:
                return Manifest.read(file.parent)
        except ContractError:
            continue  # written by another version of this project: it explains nothing
    return None


def _changes(before: Manifest, node: Node) -> Iterator[str]:
    stage = node.stage
    if before.version != stage.version:
        yield f"version {before.version} -> {stage.version}"
    then, now = _flat(before.settings), _flat(stage.model_dump(mode="json"))
    for key in sorted(now.keys() | then.keys()):
        old, new = then.get(key), now.get(key)
        if old != new and key not in stage.located:
            yield f"setting {key} {old!r} -> {new!r}"
    for key, port in node.inputs.items():
        if key not in before.inputs or before.inputs[key].fingerprint != port.node.fingerprint:
            yield f"input {key} (from {port.node.name})"
    if before.external != stage.external():
        yield "the files it reads"


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by name; those of another stage, which a setting may hold, by `setting.name`."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
    return found


def age(started: str) -> str:
    """How long ago, in the largest unit."""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(started)).total_seconds()
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
