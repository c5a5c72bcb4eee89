"""From the listing to rows: what each file is, and a row or a reason for every file, member and record.

Plain files stay where they are and their digests are computed by threads (hashing releases the interpreter's lock).
Members of zip and tar files stay where they are, too: a row says where in the archive its bytes stand. What is packed twice, or in
other ways (tar.gz, an archive in an archive), is copied into `files/<2 hex>/<sha256>` of the output, so that equal bytes are there once
and a rerun after a kill finds them. An exact copy of an earlier source is dropped as "same bytes", because a source's id is
its digest; the memory that this takes is about 250 bytes a source.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

from schemas.corpus import SourceFile, Stored
from schemas.table import BlobRef, sha256_file
from stages.base import num_workers
from stages.ingest import Ingest, archives, forgotten, media, records
from stages.ingest.facts import Facts, of_jats, of_keys, of_sidecar
from stages.ingest.listing import SIDECAR, Found, listing, stems
from stages.tables import Outputs

BATCH_FILES = 256
DAMAGED = "damaged archive"
MAX_DEPTH = 2  # an archive (1) in an archive (2) is opened, a third is not

T = TypeVar("T")


@dataclass(frozen=True)
class Item:
    """A file to take in: where it is, what it is called in tables, and how many archives it came out of.

    `archive` and `stored` say where its bytes stand for good, if not in `file`.
    """

    file: Path
    shown: str
    facts: Facts
    depth: int = 0
    sha256: str = ""
    problem: str = ""
    archive: BlobRef | None = None
    stored: Stored | None = None

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.shown).name


class Content(NamedTuple):
    """Where a source's bytes are: in a file, in an archive, or in the row."""

    blob: BlobRef | None = None
    stored: Stored | None = None
    record: str | None = None


def ingest(stage: Ingest, outputs: Outputs) -> None:
    """Write a `SourceFile` or a dropped row for everything under the stage's paths, in the order of the listing."""
    files = listing(stage.paths, stage.include, stage.exclude)
    for stale in outputs.folder.glob("incoming-*"):  # left by a run that was killed
        shutil.rmtree(stale)
    outputs.progress.start("files", len(files))
    with tempfile.TemporaryDirectory(dir=outputs.folder, prefix="incoming-") as incoming:
        taker = Taker(stage, outputs, Path(incoming))
        for item in _prepared(files):
            taker.take(item)
            outputs.progress.advance()


def _prepared(files: Sequence[Found]) -> Iterator[Item]:
    with ThreadPoolExecutor(num_workers()) as pool:
        for start in range(0, len(files), BATCH_FILES):
            yield from pool.map(_prepare, files[start : start + BATCH_FILES])


def _prepare(found: Found) -> Item:
    """Look at a listed file: its sidecar's facts and, for a document, its digest."""
    shown = os.fsencode(found.path).decode(errors="replace")
    facts, problem = _sidecar_facts(found.sidecar, found.source)
    item = Item(found.path, shown, facts, problem=problem)
    try:
        if found.path.is_file() and _sniffed(item) in media.DOCUMENTS:
            return Item(found.path, shown, facts, sha256=sha256_file(found.path), problem=problem)
    except OSError:
        return item  # `take` meets the same error, and says it
    return item


def _sidecar_facts(sidecar: Path | None, source: str) -> tuple[Facts, str]:
    if sidecar is None:
        return Facts(source), ""
    try:
        return of_sidecar(sidecar, source), ""
    except (OSError, ValueError) as error:
        return Facts(source), f"{sidecar.name}: {error}"


def _sniffed(item: Item) -> str:
    with item.file.open("rb") as stream:
        return media.sniff(stream.read(media.HEAD_BYTES), item.name)


def _path(file: Path) -> str:
    """Where a file is; "" if no table can hold that."""
    path = str(file.resolve())
    try:
        path.encode()
    except UnicodeEncodeError:
        return ""
    return path


class Taker:
    """Takes in items one by one: writes rows, drops what cannot be used, opens archives."""

    def __init__(self, stage: Ingest, outputs: Outputs, incoming: Path) -> None:
        self.stage, self.outputs, self.incoming = stage, outputs, incoming
        self._seen: dict[bytes, tuple[str, int]] = {}
        self._forgotten = forgotten.read(forgotten.record(outputs.folder))

    def take(self, item: Item) -> None:
        """A row or a reason for one file, or for everything in it."""
        try:
            self._take(item)
        except OSError as error:
            archives.reraise_ours(error)
            self._drop(item, "unreadable", error.strerror or str(error))

    def _take(self, item: Item) -> None:
        if not item.file.exists() or item.file.is_dir():
            os.stat(item.file)  # noqa: PTH116 - says why, for a link to nowhere
            self._drop(item, "unreadable", "a folder that may not be read")
        elif not item.file.is_file():
            self._drop(item, "not a regular file")
        elif item.file.stat().st_size == 0:
            self._drop(item, "empty file")
        elif item.name.endswith(SIDECAR):
            self._take_sidecar(item)
        else:
            self._take_content(item, _sniffed(item))

    def _take_sidecar(self, item: Item) -> None:
        """Drop a sidecar that describes nothing; one that has a file beside it says its part there."""
        stem = item.name.removesuffix(SIDECAR)
        beside = os.listdir(item.file.parent) if item.depth == 0 else [stem]  # noqa: PTH208 - names are enough
        if not any(name == stem or (name != item.name and stem in stems(name)) for name in beside):
            self._drop(item, "no file beside it")

    def _take_content(self, item: Item, media_type: str) -> None:
        if item.problem:
            self._drop(item, "invalid sidecar", item.problem)
        elif media_type in media.DOCUMENTS:
            self._take_document(item, media_type)
        elif media_type == media.JSON:
            with item.file.open("rb") as stream:
                self._take_records(item, records.json_records(stream, self.stage.max_record_bytes))
        elif media_type == media.PARQUET:
            found = self._guarded(item, records.parquet_records(item.file), reason="damaged Parquet")
            self._take_records(item, found)
        elif media_type in media.ARCHIVES | media.COMPRESSED:
            self._take_archive(item, media_type)
        else:
            self._drop(item, "unsupported type", media_type)

    def _take_document(self, item: Item, media_type: str) -> None:
        digest = item.sha256 or sha256_file(item.file)
        if self._is_forgotten(digest, item.shown) or self._is_copy(item, digest):
            return
        facts = item.facts
        if media_type == media.JATS:
            facts = facts.over(of_jats(item.file, facts.source))
        content = Content(item.archive or self._blob(item, digest), item.stored)
        self._write(digest, item.shown, media_type, facts, content)

    def _blob(self, item: Item, digest: str) -> BlobRef:
        """Point at a plain file; keep a member, or a file whose name no table can hold, under our own folder."""
        size = item.file.stat().st_size
        if item.depth == 0 and (path := _path(item.file)):
            return BlobRef(path=path, size_bytes=size, sha256=digest)
        target = self.outputs.folder / "files" / digest[:2] / digest
        target.parent.mkdir(parents=True, exist_ok=True)
        if item.depth == 0:
            copy = self.incoming / digest
            shutil.copyfile(item.file, copy)
            copy.replace(target)
        else:
            item.file.replace(target)
        return BlobRef(path=str(target.relative_to(self.outputs.folder)), size_bytes=size, sha256=digest)

    def _take_records(self, item: Item, found: Iterable[records.Found]) -> None:
        for record in found:
            shown = f"{item.shown}:{record.number}"
            if record.reason:
                self.outputs.drop(shown, record.reason, f"{shown}: {record.detail}", shown)
                continue
            digest = sha256(record.text.encode()).hexdigest()
            if not self._is_forgotten(digest, shown) and not self._is_copy(item, digest, record.number):
                facts = of_keys(record.fields or {}, item.facts.source).over(item.facts)
                self._write(digest, shown, media.JSON, facts, Content(record=record.text))

    def _take_archive(self, item: Item, media_type: str) -> None:
        """Take in every member, or the records of a compressed file; what was unpacked before it broke is kept."""
        if item.depth >= MAX_DEPTH:
            self._drop(item, "nested archive", f"more than {MAX_DEPTH} deep")
            return
        budget = archives.Budget.of(item.file, self.stage.max_ratio, self.stage.max_member_bytes)
        with tempfile.TemporaryDirectory(dir=self.incoming) as name:
            folder = Path(name)
            if media_type in media.COMPRESSED:
                self._take_compressed(item, media_type, folder, budget)
                return
            with item.file.open("rb") as stream:
                unpack = archives.unpack_zip if media_type == media.ZIP else archives.unpack_tar
                members = list(self._guarded(item, unpack(stream, folder, budget)))
            self._take_members(item, members, self._archive(item))

    def _take_compressed(self, item: Item, media_type: str, folder: Path, budget: archives.Budget) -> None:
        """Take in what is inside gzip, xz, bzip2 or zstd: records, a tar file's members or one file."""
        name = PurePosixPath(item.name).stem
        members = archives.Budget(float("inf"), budget.max_member_bytes)  # the stream counts what comes out
        with archives.decompressed(item.file, media_type, budget) as stream:
            heads = list(self._guarded(item, iter(lambda: stream.peek(media.HEAD_BYTES), None), limit=1))
            if not heads:
                return
            inner = media.sniff(heads[0][: media.HEAD_BYTES], name)
            if inner == media.JSON:
                found = records.json_records(stream, self.stage.max_record_bytes)
                self._take_records(item, self._guarded(item, found))
                return
            unpacked = (
                archives.unpack_tar(stream, folder, members)
                if inner == media.TAR
                else archives.unpack_single(stream, name, folder, members)
            )
            self._take_members(item, list(self._guarded(item, unpacked)))

    def _guarded(self, item: Item, found: Iterator[T], limit: int = sys.maxsize, reason: str = DAMAGED) -> Iterator[T]:
        """What `found` yields until it breaks, which is a dropped row; errors of our own disk are raised."""
        while limit > 0:
            try:
                thing = next(found)
            except StopIteration:
                return
            except archives.BombError:
                self._drop(item, "compression bomb", f"more than {self.stage.max_ratio:g} times its size")
                return
            except archives.BROKEN as error:
                archives.reraise_ours(error)
                self._drop(item, reason, str(error))
                return
            yield thing
            limit -= 1

    def _archive(self, item: Item) -> BlobRef | None:
        """An archive to point into; None for one that is itself in an archive, or whose name no table can hold."""
        return BlobRef.of(item.file) if item.depth == 0 and _path(item.file) else None

    def _take_members(self, item: Item, members: Sequence[archives.Member], archive: BlobRef | None = None) -> None:
        sidecars = {m.name: m.file for m in members if m.name.endswith(SIDECAR) and not m.reason}
        for member in members:
            shown = f"{item.shown}/{member.name}"
            if member.reason:
                self.outputs.drop(shown, member.reason, member.detail, shown)
                continue
            path = PurePosixPath(member.name)
            near = (sidecars.get(str(path.with_name(s + SIDECAR))) for s in stems(path.name))
            facts, problem = _sidecar_facts(next(filter(None, near), None), item.facts.source)
            sidecar_of_none = not facts.title and not facts.licence and not facts.doi
            facts = facts.over(item.facts) if not sidecar_of_none else item.facts
            inside = (archive, member.stored) if archive and member.stored else (None, None)
            self.take(Item(member.file, shown, facts, item.depth + 1, member.sha256, problem, *inside))

    def _is_forgotten(self, digest: str, shown: str) -> bool:
        """Whether these bytes were taken down; they are refused."""
        if digest in self._forgotten:
            self.outputs.drop(digest, "forgotten", self._forgotten[digest], shown)
        return digest in self._forgotten

    def _is_copy(self, item: Item, digest: str, number: int = 0) -> bool:
        """Whether these bytes were seen before; the copy is dropped."""
        first = self._seen.setdefault(bytes.fromhex(digest), (item.shown, number))
        if first == (item.shown, number):
            return False
        shown, where = (f"{p}:{n}" if n else p for p, n in ((item.shown, number), first))
        self.outputs.drop(digest, "same bytes", where, shown)
        return True

    def _write(self, digest: str, shown: str, media_type: str, facts: Facts, content: Content) -> None:
        row = SourceFile(
            source_id=digest,
            path=shown,
            media_type=media_type,
            blob=content.blob,
            stored=content.stored,
            record=content.record,
            source=facts.source,
            licence=facts.licence or self.stage.licence,
            title=facts.title,
            doi=facts.doi,
        )
        self.outputs["sources"].write(row)

    def _drop(self, item: Item, reason: str, detail: str = "") -> None:
        self.outputs.drop(item.sha256 or item.shown, reason, detail, item.shown)
