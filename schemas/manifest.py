"""The manifest: a stage's output is done when `manifest.json` exists, and it says of what.

It is written last, by rename, after everything it lists is on disk. There is no other state: no database, no memo
table. `fingerprint` is the address of a stage's output, known before anything runs.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.table import ContractError

NAME = "manifest.json"
END = b"\n}"  # of a whole manifest, and with its indentation of nothing within one
FINGERPRINT_CHARS = 16  # 64 bits: a collision needs about 4 billion different runs under one root


class Frozen(BaseModel):
    """Base of the records below."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Part(Frozen):
    """One Parquet file of a table; `path` is relative to the manifest."""

    path: str
    num_rows: int
    size_bytes: int


class Output(Frozen):
    """One table: its contract and its files, in row order."""

    contract: str
    parts: tuple[Part, ...]

    @property
    def num_rows(self) -> int:
        """Rows of all parts."""
        return sum(p.num_rows for p in self.parts)


class Input(Frozen):
    """Where a table came from: the producer's fingerprint and the folder at the time of the run."""

    fingerprint: str
    path: str
    num_rows: int


class Cost(Frozen):
    """Pieces of one kind of work, and the seconds that they took by the clock on the wall."""

    count: int
    seconds: float


class Shard(Frozen):
    """What one process did: the manifest is the sum of its shards."""

    index: int
    count: int
    outputs: dict[str, Output]
    dropped: dict[str, int]
    started: str
    seconds: float
    peak_memory_bytes: int
    host: str
    costs: dict[str, Cost] = {}


class Manifest(Frozen):
    """What was run, on what, with what result."""

    stage: str
    version: int
    fingerprint: str
    settings: dict[str, Any]
    external: str
    inputs: dict[str, Input]
    outputs: dict[str, Output]
    dropped: dict[str, int]
    shards: tuple[Shard, ...]
    code_sha256: str
    git_commit: str
    packages: dict[str, str]
    stub: bool = False
    forgotten: tuple[str, ...] = ()
    """Documents that were taken out of the output later, by digest: it is no more what its fingerprint says, less these."""

    @property
    def seconds(self) -> float:
        """Time of work, added over shards."""
        return sum(s.seconds for s in self.shards)

    @property
    def costs(self) -> dict[str, Cost]:
        """What each kind of work took that the stage has told apart, added over shards."""
        found: dict[str, Cost] = {}
        for name, cost in (item for shard in self.shards for item in shard.costs.items()):
            before = found.get(name, Cost(count=0, seconds=0.0))
            found[name] = Cost(count=before.count + cost.count, seconds=before.seconds + cost.seconds)
        return found

    @property
    def peak_memory_bytes(self) -> int:
        """Largest resident size of any shard, child processes included."""
        return max((s.peak_memory_bytes for s in self.shards), default=0)

    def write(self, folder: Path) -> None:
        """Write `manifest.json`, atomically: from here on the output is done."""
        write_atomic(folder / NAME, self.model_dump_json(indent=1))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a folder's manifest; `ContractError` if there is none or it is not one of ours."""
        try:
            return cls.model_validate_json((folder / NAME).read_bytes())
        except FileNotFoundError:
            found = f"no {NAME} in" if folder.is_dir() else "there is no folder"
            raise ContractError(str(folder), [f"{found} {folder.resolve()}: this stage has not finished"]) from None
        except NotADirectoryError:
            raise ContractError(str(folder), ["expected the folder of a stage's output, found a file"]) from None
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            raise ContractError(str(folder / NAME), problems) from None


def exists(folder: Path) -> bool:
    """Whether the output in `folder` is done. A manifest that a failing disk has cut short is none."""
    try:
        with (folder / NAME).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - len(END)))
            return file.read() == END
    except (FileNotFoundError, NotADirectoryError):
        return False


def lineage(folder: Path) -> Iterator[tuple[Path, Manifest]]:
    """The manifest of `folder` and of everything it was made from, each once, nearest first."""
    seen: set[Path] = set()
    queue = [folder.resolve()]
    while queue:
        here = queue.pop(0)
        if here in seen or not exists(here):
            continue
        seen.add(here)
        manifest = Manifest.read(here)
        yield here, manifest
        queue += [Path(os.path.normpath(here / i.path)).parent for i in manifest.inputs.values()]


def fingerprint(stage: str, version: int, settings: Mapping[str, Any], inputs: Mapping[str, str], external: str) -> str:
    """The address of an output: hash of the stage, its version and settings, and its inputs' fingerprints."""
    parts = {"stage": stage, "version": version, "settings": settings, "inputs": dict(inputs), "external": external}
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:FINGERPRINT_CHARS]


def write_atomic(file: Path, text: str) -> None:
    """Write a file so that a reader sees all of it or none, even after a crash: temporary file, fsync, rename."""
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}.tmp")  # a process number repeats on another node
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
