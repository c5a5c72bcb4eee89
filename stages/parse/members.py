"""A document inside an archive, read where it stands: its bytes are inflated into memory, and no file of it is ever on a disk.

Tens of millions of small files are what shared file systems are worst at, so `ingest` says where in its archive a member's bytes are,
and a worker reads just those. PDFium and qpdf want a path: that of a file in memory, which is gone with the process, however
it ends. The digest is checked, so an archive that has changed costs a reason, not a wrong text.
"""

import os
import zlib
from hashlib import sha256
from pathlib import Path

from schemas.corpus import Stored

IN_MEMORY = "/proc/self/fd/"  # where a process finds its open files by number
RAW_DEFLATE = -zlib.MAX_WBITS  # as in a zip file: without a head of its own


class ChangedError(Exception):
    """The archive does not hold these bytes any more."""


class Held:
    """The member that a process has in memory: the one asked for last, since pages are asked for one by one."""

    def __init__(self) -> None:
        self._key: tuple[str, int, str] | None = None
        self._file = -1

    def path(self, archive: str, stored: Stored, digest: str) -> str:
        """A path to the member's bytes, for this process, until another one is asked for; ChangedError if they are not there."""
        key = (archive, stored.offset, digest)
        if key != self._key:
            self._hold(member(archive, stored, digest), key)
        return f"{IN_MEMORY}{self._file}"

    def _hold(self, data: bytes, key: tuple[str, int, str]) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file, self._key = os.memfd_create("member"), key
        with open(self._file, "wb", closefd=False) as file:
            file.write(data)


HELD = Held()


def located(path: str, stored: Stored | None, digest: str) -> str:
    """Where a source can be opened: its own file, or its member in memory."""
    return path if stored is None else HELD.path(path, stored, digest)


def member(archive: str, stored: Stored, digest: str) -> bytes:
    """The bytes of a member whose SHA-256 is `digest`; ChangedError if the archive has others there."""
    try:
        with Path(archive).open("rb") as file:
            file.seek(stored.offset)
            data = file.read(stored.num_bytes)
        if stored.method == "deflated":
            data = zlib.decompress(data, RAW_DEFLATE)
    except (OSError, zlib.error) as error:
        raise ChangedError(f"{archive}: {error}") from error
    if sha256(data).hexdigest() != digest:
        raise ChangedError(f"{archive}: other bytes at {stored.offset} than when it was taken in")
    return data
