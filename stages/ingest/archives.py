"""Unpack an archive into a folder of our own: members are named by number and digest, never by the name they carry.

Each says where its bytes stand, so that what was unpacked to be looked at need not be kept. A member's name is checked all the same, because it goes into tables as a path. Sizes are counted while unpacking, not
taken from headers, so that a bomb stops at its limit. Tar files are read as streams, once, whatever compressed them.
What is given up: a zip file's own check of links inside links; links and devices are not unpacked at all.
"""

import bz2
import errno
import gzip
import hashlib
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

import pyarrow as pa

from schemas.corpus import Stored
from stages.ingest import media

BLOCK_BYTES = 1 << 20
ZIP_METHODS: dict[int, Literal["stored", "deflated"]] = {
    zipfile.ZIP_STORED: "stored",
    zipfile.ZIP_DEFLATED: "deflated",
}
LOCAL_BYTES, LOCAL_LENGTHS = (
    30,
    26,
)  # of a local file header (APPNOTE 4.3.7), and where it has the lengths of name and extra
FREE_BYTES = 64 << 20  # an archive that unpacks to less than this is no danger, whatever its ratio


class BombError(Exception):
    """An archive unpacks to more than it may."""


BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    OSError,  # gzip, bz2 and Arrow's zstd say so
    RuntimeError,  # a zip file's method that is not known here
    ValueError,
    pa.ArrowException,
)
OURS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def reraise_ours(error: BaseException) -> None:
    """Raise an error again if it is our machine's (disk full, say) and not the file's."""
    if isinstance(error, OSError) and error.errno in OURS:
        raise error


@dataclass
class Budget:
    """How many bytes may still come out of an archive, in all and from one member."""

    left: float
    max_member_bytes: int

    @classmethod
    def of(cls, archive: Path, max_ratio: float, max_member_bytes: int) -> "Budget":
        """The budget of an archive on disk."""
        return cls(max(FREE_BYTES, archive.stat().st_size * max_ratio), max_member_bytes)

    def spend(self, count: int) -> None:
        """`BombError` once more has come out than may."""
        self.left -= count
        if self.left < 0:
            raise BombError


@dataclass(frozen=True)
class Member:
    """A member on disk, in a temporary place; or, where `reason` says something, one that was not unpacked."""

    name: str
    file: Path = field(default_factory=Path)
    sha256: str = ""
    stored: Stored | None = None
    reason: str = ""
    detail: str = ""


class Metered(io.RawIOBase):
    """A stream that spends a budget as it is read."""

    def __init__(self, stream: Any, budget: Budget) -> None:
        self._stream, self._budget = stream, budget

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read, and spend what was read."""
        data = self._stream.read1(len(buffer))  # what is there, before the damage that comes after it
        self._budget.spend(len(data))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the stream below too."""
        self._stream.close()
        super().close()


def decompressed(file: Path, media_type: str, budget: Budget) -> io.BufferedReader:
    """The bytes inside a compressed file, as a stream that spends `budget`."""
    return io.BufferedReader(Metered(_opened(file, media_type), budget), BLOCK_BYTES)


def _opened(file: Path, media_type: str) -> Any:
    if media_type == media.GZIP:
        return gzip.open(file)
    if media_type == media.XZ:
        return lzma.open(file)
    if media_type == media.BZIP2:
        return bz2.open(file)
    return pa.input_stream(str(file), compression="zstd")  # of the bindings, the one that reports a cut stream


def unpack_zip(stream: IO[bytes], folder: Path, budget: Budget) -> Iterator[Member]:
    """The members of a zip file, unpacked into `folder`, in the archive's order; a damaged member costs only itself."""
    with zipfile.ZipFile(stream) as archive:
        for number, info in enumerate(archive.infolist()):
            if not info.is_dir() and not hidden(info.filename):
                yield _zip_member(archive, info, folder / str(number), budget)


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, budget: Budget) -> Member:
    mode = info.external_attr >> 16
    if info.flag_bits & 1:
        return Member(info.filename, reason="encrypted")
    if stat.S_IFMT(mode) and not stat.S_ISREG(mode):
        return Member(info.filename, reason="not a regular file")
    try:
        copied = _copied(partial(archive.open, info), info.filename, target, budget)
        return replace(copied, stored=_in_zip(archive, info))
    except BROKEN as error:
        reraise_ours(error)
        return Member(info.filename, reason="damaged archive", detail=str(error))


def _in_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Stored | None:
    """Where the bytes are; None where they are packed otherwise than all can unpack. A local header has lengths of its own."""
    method = ZIP_METHODS.get(info.compress_type)
    if method is None or archive.fp is None:
        return None
    archive.fp.seek(info.header_offset + LOCAL_LENGTHS)
    lengths = struct.unpack("<HH", archive.fp.read(4))
    return Stored(offset=info.header_offset + LOCAL_BYTES + sum(lengths), num_bytes=info.compress_size, method=method)


def unpack_tar(stream: IO[bytes], folder: Path, budget: Budget) -> Iterator[Member]:
    """The members of a tar stream, unpacked into `folder`, in the archive's order; `budget` counts members only."""
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for number, info in enumerate(archive):
            if info.isdir() or hidden(info.name):
                continue
            if not info.isreg():
                yield Member(info.name, reason="not a regular file")
            else:
                copied = _copied(partial(archive.extractfile, info), info.name, folder / str(number), budget)
                place = Stored(offset=info.offset_data, num_bytes=info.size, method="stored")
                yield copied if info.issparse() else replace(copied, stored=place)


def unpack_single(stream: IO[bytes], name: str, folder: Path, budget: Budget) -> Iterator[Member]:
    """What a compressed file that is no archive holds, as one member."""
    yield _copied(lambda: stream, name, folder / "0", budget)


def hidden(name: str) -> bool:
    """Whether a part of a member's name begins with a dot, or is what macOS adds to archives."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return any((p.startswith(".") and p not in {".", ".."}) or p == "__MACOSX" for p in parts)


def unsafe(name: str) -> bool:
    """Whether a name would leave its folder, on any system, if it were used as a path."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return not parts or name.startswith(("/", "\\")) or ".." in parts or "\0" in name or parts[0][1:2] == ":"


def _copied(source: Callable[[], IO[bytes] | None], name: str, target: Path, budget: Budget) -> Member:
    name = name.encode(errors="surrogateescape").decode(errors="replace")
    if unsafe(name):
        return Member(name, reason="unsafe path")
    with source() or io.BytesIO() as stream, target.open("wb") as out:
        digest = _copy(stream, out, budget)
    if digest is None:
        target.unlink()
        return Member(name, reason="too large", detail=f"more than {budget.max_member_bytes} bytes")
    return Member(name, target, digest)


def _copy(stream: IO[bytes], out: IO[bytes], budget: Budget) -> str | None:
    """Copy a stream and return its digest; `None` if it is larger than a member may be."""
    digest, size = hashlib.sha256(), 0
    while block := stream.read(BLOCK_BYTES):
        size += len(block)
        budget.spend(len(block))
        if size > budget.max_member_bytes:
            return None
        digest.update(block)
        out.write(block)
    return digest.hexdigest()
