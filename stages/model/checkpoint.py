"""Checkpoints: a folder a step, complete or not there, with everything that a run needs to go on bit for bit.

    step-000100/rank-00003.safetensors   what rank 3 held, and no rank before it: weights, optimizer, random state
    step-000100/tensors.json             every tensor's shape, and how it was cut over which grid of ranks (see `pieces`)
    step-000100/<table>.parquet          the rows that the run has made so far
    step-000100/complete.json            written last: the step, what the run is, every file's size and digest
    step-000100/pinned                   there if it stays for being looked at, however old it is

A save copies what this rank holds and returns; a thread writes the copy, syncs it, and rank 0's thread, which sees the
others' parts appear in the folder, adds the marker and renames the folder to its place. No collective is called for it,
so training's own are not disturbed, and a killed save leaves nothing that looks done. At most one save is under way; its
error is raised by the next one. Any number of ranks reads a checkpoint of any other, each the boxes that it needs. `run`
in the marker says what trained these weights (conventions, settings, data); another run is refused. No pickle anywhere.
"""

import contextlib
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import safe_open
from torch import Tensor

from schemas.manifest import write_atomic
from schemas.table import BlobRef, ContractError
from stages.model.lease import Lease, lost, room_of
from stages.model.parallelize import Layout
from stages.model.pieces import Box, Cut, Piece, Split
from stages.model.staging import Staging

MARKER, INDEX, PIN = "complete.json", "tensors.json", "pinned"
MAX_PINNED = 2  # the newest ones
COMMIT_SECONDS = 1800.0  # for other ranks' parts to appear; a slow file system took 15 minutes for 6,144 of them
POLL_SECONDS = 0.02

State = Mapping[str, Piece]


class Marker(BaseModel):
    """What `complete.json` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    num_tokens: int
    run: dict[str, Any]
    files: tuple[BlobRef, ...]


class Index(BaseModel):
    """What `tensors.json` says: the grid of ranks, by name each tensor's shape and splits, and its stage if not the first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grid: dict[str, int]
    tensors: dict[str, tuple[tuple[int, ...], tuple[Split, ...]]]
    stages: dict[str, int] = {}

    @classmethod
    def of(cls, state: State, grid: Mapping[str, int]) -> "Index":
        """The index of what all ranks hold together."""
        cuts = {name: piece.cut for name, piece in state.items()}
        stages = {name: cut.stage for name, cut in cuts.items() if cut.stage}
        return cls(grid=dict(grid), tensors={n: (c.shape, c.splits) for n, c in cuts.items()}, stages=stages)

    def cut(self, name: str) -> Cut:
        """How a tensor was cut."""
        return Cut(*self.tensors[name], self.stages.get(name, 0))

    def writers(self) -> set[int]:
        """Ranks that hold something that no rank before them holds."""
        cuts = {self.cut(name) for name in self.tensors}
        return {number for cut in cuts for number, _ in cut.overlapping(self.grid, whole(cut))}


class Keep(NamedTuple):
    """Which checkpoints stay: the newest ones, and those whose step is a multiple of `every` (0 for none)."""

    newest: int
    every: int = 0


class Checkpoints:
    """The checkpoints of one run in one folder. Every rank has one, and calls the same methods in the same order."""

    def __init__(self, folder: Path, run: Mapping[str, Any], keep: Keep, layout: Layout) -> None:
        self.folder, self.run, self.keep, self.layout = folder, dict(run), keep, layout
        self.lease: Lease | None = None
        self._number = 0
        self._staging = Staging()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def begin(self) -> tuple[Path, Marker] | None:
        """Become the writer of this run and find where it stands; ContractError if another job is writing it."""
        number, problem = 0, None
        if self._first:
            try:
                self.lease = Lease.take(self.folder)
                number = self.lease.number
            except ContractError as error:
                number, problem = -1, error
        number = self.layout.world.from_first(number)
        if number < 0:
            raise problem or ContractError(str(self.folder), ["rank 0 may not write this run, see its message"])
        self._number = number
        if self._first:
            self._tidy()
        return self.newest()

    def newest(self) -> tuple[Path, Marker] | None:
        """The newest checkpoint whose files have the recorded digests; `ContractError` if another run wrote it.

        Rank 0 looks and all take what it found; each checks its share of the files.
        """
        world = self.layout.world
        while True:
            found = self.complete() if self._first else []
            step = world.from_first(found[-1][1].step if found else 0)
            if not step:
                return None
            folder = self._place(step)
            marker = _marker(folder)
            if marker is None:
                raise ContractError(str(folder), [f"rank 0 sees a checkpoint that rank {world.rank} does not"])
            damaged = _damaged(folder, marker.files[world.rank :: world.size])
            if not int(world.sum(torch.tensor(damaged, device=world.device))):
                self._refuse_another_run(folder, marker)
                return folder, marker
            if self._first:
                print(f"{folder}: damaged, going back to the one before", flush=True)
                (folder / MARKER).unlink()

    def save(self, step: int, num_tokens: int, state: State, tables: Mapping[str, pa.Table]) -> None:
        """Copy the state of `step` and write it behind the run's back; first, wait for the save before and its error.

        `tables` are rank 0's business.
        """
        self.wait()
        own = {name: p.local for name, p in state.items() if p.cut.owned(self.layout.place) and p.local.numel()}
        self._staging.copy(own)
        index = Index.of(state, self.layout.grid)
        marker = Marker(step=step, num_tokens=num_tokens, run=self.run, files=())
        work = (marker, index, dict(tables), bool(own))
        self._thread = threading.Thread(target=self._write, args=work, name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Wait for the save under way; raises its error."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def close(self) -> None:
        """Finish the save under way and let another job write."""
        try:
            self.wait()
        finally:
            if self.lease is not None:
                self.lease.release()

    def complete(self) -> list[tuple[Path, Marker]]:
        """Checkpoints with a marker, oldest first."""
        folders = sorted(self.folder.glob("step-*"), key=lambda f: (len(f.name), f.name))
        return [(folder, marker) for folder in folders if (marker := _marker(folder)) is not None]

    def pin(self, before: int) -> None:
        """Let the newest checkpoint of before a step stay; of all that were so asked for, the newest `MAX_PINNED`."""
        self.wait()
        if older := [folder for folder, marker in self.complete() if marker.step < before]:
            (older[-1] / PIN).touch()

    def rewind(self, step: int) -> None:
        """Forget all checkpoints after `step`."""
        self.wait()
        for folder, marker in self.complete() if self._first else []:
            if marker.step > step:
                self._remove(folder)
        self.layout.world.from_first(0)  # nobody goes on before they are gone

    @property
    def _first(self) -> bool:
        return self.layout.world.rank == 0

    def _place(self, step: int) -> Path:
        return self.folder / f"step-{step:06d}"

    def _write(self, marker: Marker, index: Index, tables: Mapping[str, pa.Table], some: bool) -> None:  # noqa: FBT001
        writer = room_of(self.folder, self._number)
        room = writer / self._place(marker.step).name
        try:
            room.mkdir(exist_ok=True)
            own = [self._staging.write(room / f"{self._part(self.layout.world.rank)}.safetensors")] if some else []
            if self._first:
                self._commit(room, marker, index, [*own, *_write_tables(room, tables)])
            elif own:
                write_atomic(room / f"{self._part(self.layout.world.rank)}.json", own[0].model_dump_json())
        except Exception as error:  # noqa: BLE001 - the next save raises it
            self._error = error if writer.exists() else lost(self.folder, self._number)

    def _commit(self, room: Path, marker: Marker, index: Index, own: Sequence[BlobRef]) -> None:
        """Rank 0: wait for the others' parts, write index and marker, and put the folder in its place."""
        write_atomic(room / INDEX, index.model_dump_json())
        others = [self._other(room, number) for number in sorted(index.writers() - {0})]
        files = (*own, BlobRef.of(room / INDEX, room), *others)
        write_atomic(room / MARKER, marker.model_copy(update={"files": files}).model_dump_json(indent=1))
        final = self._place(marker.step)
        if final.exists():
            self._remove(final)
        room.rename(final)
        _sync(self.folder)
        self._tidy()

    def _other(self, room: Path, number: int) -> BlobRef:
        note, deadline = room / f"{self._part(number)}.json", time.monotonic() + COMMIT_SECONDS
        while not note.exists():
            if time.monotonic() > deadline or not threading.main_thread().is_alive():
                raise TimeoutError(f"{room}: rank {number} has not written its part")
            time.sleep(POLL_SECONDS)
        part = BlobRef.model_validate_json(note.read_text())
        note.unlink()
        return part

    def _tidy(self) -> None:
        """Remove checkpoints without a marker, and those that need not stay."""
        complete = [folder for folder, _ in self.complete()]
        every = self.keep.every
        kept = {*complete[-self.keep.newest :], *(f for f in complete if every and _step_of(f) % every == 0)}
        kept |= {*[f for f in complete if (f / PIN).exists()][-MAX_PINNED:]}
        for folder in self.folder.glob("step-*"):
            if folder not in kept:
                self._remove(folder)

    def _remove(self, folder: Path) -> None:
        assert self.lease is not None, "only the writer removes"
        self.lease.remove(folder)

    @staticmethod
    def _part(number: int) -> str:
        return f"rank-{number:05d}"

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


def load(folder: Path, wanted: State, layout: Layout | None = None) -> None:
    """Fill tensors from a checkpoint; without a layout they are whole. ContractError lists what it does not have."""
    grid, place = (layout.grid, layout.place) if layout else ({}, {})
    index = Index.model_validate_json((folder / INDEX).read_text())
    if problems := list(_misfits(index, wanted)):
        raise ContractError(str(folder), problems)
    with contextlib.ExitStack() as stack:
        files: dict[int, Any] = {}
        for name, piece in ((n, p) for n, p in wanted.items() if p.local.numel()):
            box = piece.cut.box(grid, place)
            for number, source in index.cut(name).overlapping(index.grid, box):
                if number not in files:
                    opened = safe_open(folder / f"rank-{number:05d}.safetensors", "pt")
                    files[number] = stack.enter_context(opened)
                _copy(files[number], name, (source, box), piece.local)


def load_tables(folder: Path, names: Sequence[str]) -> dict[str, pa.Table]:
    """The rows that the run had made when the checkpoint was written."""
    return {name: pq.read_table(folder / f"{name}.parquet") for name in names}


def whole(cut: Cut) -> Box:
    """The box of all of a tensor."""
    return Box((0,) * len(cut.shape), cut.shape)


def _copy(file: Any, name: str, boxes: tuple[Box, Box], local: Tensor) -> None:
    source, box = boxes
    if source == box:
        local.copy_(file.get_tensor(name))
    elif common := source.common(box):
        local[common.within(box)].copy_(file.get_slice(name)[common.within(source)])


def _misfits(index: Index, wanted: State) -> list[str]:
    problems = []
    for name, piece in wanted.items():
        if name not in index.tensors:
            problems.append(f"{name}: not in the checkpoint")
        elif index.cut(name).shape != piece.cut.shape:
            problems.append(f"{name}: the checkpoint has shape {index.cut(name).shape}, this run {piece.cut.shape}")
    return problems


def _marker(folder: Path) -> Marker | None:
    try:
        return Marker.model_validate_json((folder / MARKER).read_text())
    except (OSError, ValidationError):
        return None


def _damaged(folder: Path, files: Sequence[BlobRef]) -> int:
    """How many of these files are missing or have other bytes."""
    found = [folder / blob.path for blob in files]
    sizes = [file.stat().st_size if file.exists() else -1 for file in found]
    right = [size == blob.size_bytes for size, blob in zip(sizes, files, strict=True)]
    return sum(not (r and BlobRef.of(f, folder) == b) for r, f, b in zip(right, found, files, strict=True))


def _write_tables(folder: Path, tables: Mapping[str, pa.Table]) -> list[BlobRef]:
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet")
        _sync(folder / f"{name}.parquet")
    return [BlobRef.of(folder / f"{name}.parquet", folder) for name in tables]


def _step_of(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
