"""What is known of a corpus: segments, each one run of dedup over its own documents.

A run `against` earlier outputs does not copy their filters and key files: its index is the list of theirs and its own,
and each document has one number in all, the earlier outputs' first. So indexes merge by being named together, and a
document's number leads to the tables it lies in.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from schemas.corpus import DedupFile, Document, Sketch
from schemas.manifest import Manifest
from schemas.table import BlobRef, ContractError
from stages.dedup.bloom import BandFilters
from stages.dedup.keys import open_keys
from stages.dedup.spill import U64, Places
from stages.dedup.take import take
from stages.tables import Reader

FILTERS = "filters.bloom"
KEYS = ("documents", "contents", "works", "bands")


@dataclass(frozen=True)
class Segment:
    """Documents numbered from `start`, where they lie, and the files that know them (none yet for the newest)."""

    folder: Path
    start: int
    documents: Reader
    sketches: Reader
    files: Mapping[str, DedupFile] = field(default_factory=dict)

    @property
    def stop(self) -> int:
        """The number after its last document's."""
        return self.start + self.documents.num_rows

    def path(self, kind: str) -> Path:
        """The filter or key file of this kind, after a check of its size."""
        return self.files[kind].blob.open_path(self.folder)

    def keys(self, kind: str) -> U64:
        """The mapped key file of this kind."""
        return open_keys(self.path(kind))


def check_inputs(documents: Reader, sketches: Reader) -> None:
    """Raise `ContractError` unless there is a sketch for every document."""
    problems = []
    made_of = sketches.manifest.inputs.get("documents")
    if made_of and made_of.fingerprint != documents.manifest.fingerprint:
        problems.append(f"made of the documents {made_of.fingerprint}, these are {documents.manifest.fingerprint}")
    if sketches.num_rows != documents.num_rows:
        problems.append(f"{sketches.num_rows} sketches for {documents.num_rows} documents")
    if problems:
        raise ContractError("sketches", [*problems, "sketch these documents, then dedup them"])


def open_segments(folders: Sequence[str], family: str, *, verify: bool) -> list[Segment]:
    """The segments of earlier outputs and of what these were against; `ContractError` lists all that do not fit.

    `family` names what keys were made with; to `verify`, a segment needs a key file of its bands.
    """
    segments: dict[Path, Segment] = {}
    problems: list[str] = []
    for name in folders:
        for folder, files in _listed(Path(name).resolve()):
            if folder not in segments:
                start = max((s.stop for s in segments.values()), default=0)
                segments[folder] = _open(folder, start, files)
                problems += _problems(segments[folder], family, verify=verify)
    if problems:
        raise ContractError("dedup.against", [*problems, "sketch and dedup that corpus again with these settings"])
    return list(segments.values())


def _listed(output: Path) -> Iterator[tuple[Path, dict[str, DedupFile]]]:
    manifest = Manifest.read(output)
    if "index" not in manifest.outputs:
        raise ContractError(str(output), [f"an output of {manifest.stage}, not one of dedup with an index"])
    by_folder: dict[Path, dict[str, DedupFile]] = {}
    for row in Reader(output / "index", DedupFile).rows():
        by_folder.setdefault(Path(os.path.normpath(output / row.folder)), {})[row.kind] = row
    for folder, files in by_folder.items():
        yield folder, {kind: _moved(row, output, folder) for kind, row in files.items()}


def _moved(row: DedupFile, output: Path, folder: Path) -> DedupFile:
    """The same row as the segment's own folder would have it."""
    path = os.path.relpath(output / row.blob.path, folder)
    return row.model_copy(update={"folder": ".", "blob": row.blob.model_copy(update={"path": path})})


def _open(folder: Path, start: int, files: Mapping[str, DedupFile]) -> Segment:
    inputs = Manifest.read(folder).inputs
    documents = Reader(Path(os.path.normpath(folder / inputs["documents"].path)), Document)
    sketches = Reader(Path(os.path.normpath(folder / inputs["sketches"].path)), Sketch)
    return Segment(folder, start, documents, sketches, files)


def _problems(segment: Segment, family: str, *, verify: bool) -> Iterator[str]:
    if verify and "bands" not in segment.files:
        yield f"{segment.folder}: no key file of bands, made with verify = false"
    for row in segment.files.values():
        if row.family != family:
            yield f"{segment.folder}: keys of the family {row.family}, the sketches here are of {family}"
            return
        file = segment.folder / row.blob.path
        if not file.is_file() or file.stat().st_size != row.blob.size_bytes:
            yield f"{file}: expected {row.blob.size_bytes} bytes, found {_size(file)}"


def _size(file: Path) -> str:
    return f"{file.stat().st_size}" if file.is_file() else "no file"


def list_files(segments: Sequence[Segment], family: str) -> Iterator[DedupFile]:
    """Rows of the newest segment's index: the files of the earlier ones and its own."""
    *old, own = segments
    for segment in old:
        folder = os.path.relpath(segment.folder, own.folder.resolve())  # through a link, `..` leads elsewhere
        for row in segment.files.values():
            blob = row.blob.model_copy(update={"path": f"{folder}/{row.blob.path}"})
            yield row.model_copy(update={"folder": folder, "blob": blob})
    files = {"filters": own.folder / FILTERS, **{kind: own.folder / "keys" / f"{kind}.npy" for kind in KEYS}}
    for kind, file in files.items():
        if file.is_file():
            entries = BandFilters.open(file).num_documents if kind == "filters" else open_keys(file).shape[1]
            fields = {"kind": kind, "folder": ".", "family": family, "num_entries": entries}
            yield DedupFile.model_validate({**fields, "blob": BlobRef.of(file, own.folder)})


def take_all(
    segments: Sequence[Segment], table: str, rows: U64, columns: Sequence[str]
) -> Iterator[tuple[Places, pa.Table]]:
    """Documents or sketches (`table`) of ascending `rows` over all segments, with their places in `rows`."""
    for segment in segments:
        first, last = np.searchsorted(rows, np.array([segment.start, segment.stop], np.uint64))
        local = (rows[first:last] - np.uint64(segment.start)).astype(np.int64)
        for span, found in take(getattr(segment, table), local, columns):
            yield np.arange(first + span.start, first + span.stop), found
