"""Checkpoints: a folder a step, complete or not there, with everything that a run needs to go on bit for bit.

    step-000100/state.safetensors   weights, AdamW's moments, the random state
    step-000100/<table>.parquet     the rows that the run has made so far
    step-000100/complete.json       written last: the step, what the run is, every file's size and digest

The folder is written under another name, synced and renamed, so a killed save leaves nothing that looks done. `run` in
the marker says what trained these weights (conventions, settings, data); another run is refused. No pickle anywhere.
What it gives up: one writer for all tensors, which suits models that one host holds.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from schemas.manifest import write_atomic
from schemas.table import BlobRef, ContractError

MARKER = "complete.json"
STATE = "state.safetensors"


class Marker(BaseModel):
    """What `complete.json` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    num_tokens: int
    run: dict[str, Any]
    files: tuple[BlobRef, ...]


class Checkpoints:
    """The checkpoints of one run in one folder. Only rank 0 writes."""

    def __init__(self, folder: Path, run: Mapping[str, Any], keep: int) -> None:
        self.folder, self.run, self.keep = folder, dict(run), keep

    def save(self, step: int, num_tokens: int, state: Mapping[str, Tensor], tables: Mapping[str, pa.Table]) -> None:
        """Write the checkpoint of `step`, then remove all but the newest `keep`."""
        temporary = self.folder / f".step-{step:06d}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        save_file(dict(state), temporary / STATE)
        for name, table in tables.items():
            pq.write_table(table, temporary / f"{name}.parquet")
        files = sorted(temporary.iterdir())
        for file in files:
            _sync(file)
        blobs = tuple(BlobRef.of(f, temporary) for f in files)
        marker = Marker(step=step, num_tokens=num_tokens, run=self.run, files=blobs)
        write_atomic(temporary / MARKER, marker.model_dump_json(indent=1))
        final = self.folder / f"step-{step:06d}"
        shutil.rmtree(final, ignore_errors=True)  # an incomplete one: a complete one would have been resumed from
        temporary.rename(final)
        _sync(self.folder)
        self.tidy()

    def complete(self) -> list[tuple[Path, Marker]]:
        """Checkpoints with a marker and with every file of the size that it names, oldest first."""
        found = []
        for folder in sorted(self.folder.glob("step-*"), key=lambda f: (len(f.name), f.name)):
            marker = _marker(folder)
            if marker is not None:
                found.append((folder, marker))
        return found

    def newest(self) -> tuple[Path, Marker] | None:
        """The newest checkpoint whose files have the recorded digests; `ContractError` if another run wrote it."""
        for folder, marker in reversed(self.complete()):
            if any(BlobRef.of(folder / b.path, folder) != b for b in marker.files):
                print(f"{folder}: damaged, going back to the one before", flush=True)
                (folder / MARKER).unlink()
                continue
            self._refuse_another_run(folder, marker)
            return folder, marker
        return None

    def tidy(self) -> None:
        """Remove what an interrupted save left, and all but the newest `keep`."""
        kept = {folder for folder, _ in self.complete()[-self.keep :]}
        for folder in [*self.folder.glob("step-*"), *self.folder.glob(".step-*.tmp")]:
            if folder not in kept:
                (folder / MARKER).unlink(missing_ok=True)  # first: a half-removed folder must not look complete
                shutil.rmtree(folder)

    def _refuse_another_run(self, folder: Path, marker: Marker) -> None:
        keys = sorted(self.run.keys() | marker.run.keys())
        problems = [
            f"{k}: the checkpoint has {marker.run.get(k)!r}, this run {self.run.get(k)!r}"
            for k in keys
            if marker.run.get(k) != self.run.get(k)
        ]
        if problems:
            cure = f"give another --out, or remove {self.folder} to train from the start"
            raise ContractError(f"resuming from {folder}", [*problems, cure])


def load_state(folder: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint."""
    return dict(load_file(folder / STATE))


def load_tables(folder: Path, names: Sequence[str]) -> dict[str, pa.Table]:
    """The rows that the run had made when the checkpoint was written."""
    return {name: pq.read_table(folder / f"{name}.parquet") for name in names}


def _marker(folder: Path) -> Marker | None:
    try:
        marker = Marker.model_validate_json((folder / MARKER).read_text())
        sizes = [(folder / b.path).stat().st_size for b in marker.files]
    except (OSError, ValidationError):
        return None
    return marker if sizes == [b.size_bytes for b in marker.files] else None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
