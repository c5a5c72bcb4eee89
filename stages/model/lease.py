"""Who may write a run's checkpoints: one job at a time, by a folder with a number.

A job makes the folder `.writer-000007` (the next number; making a folder is atomic, also on network file systems) and
writes everything inside it, to be renamed to its place when it is whole. The job after it makes `.writer-000008` and
removes the folder before. From then on the older job cannot commit anything, however late it wakes: what it wants to
rename is gone. The number is Kleppmann's fencing token (2016), with the file system as the one who checks it.

Whether the older job still lives is only asked to spare it: its process, if it ran on this node; its heartbeat, if not.
A heartbeat is seen to change or not by the one who waits, so clocks need not agree.
"""

import json
import os
import re
import shutil
import socket
import threading
import time
from pathlib import Path
from typing import Any

from schemas.manifest import write_atomic
from schemas.table import ContractError

OWNER = "owner.json"
BEAT_SECONDS, SILENT_SECONDS = 10.0, 35.0
JOB_VARIABLES = ("PBS_JOBID", "SLURM_JOB_ID")


class LeaseLost(Exception):  # noqa: N818 - it says what happened
    """Another job has taken over this run."""


class Lease:
    """The right to write into `folder`, from `take` to `release`."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.number = folder, number
        self.room = room_of(folder, number)
        self._ended = threading.Event()
        self._beats = threading.Thread(target=self._beat, daemon=True, name="lease")

    @classmethod
    def take(cls, folder: Path, *, silent_seconds: float = SILENT_SECONDS) -> "Lease":
        """Become the writer; ContractError, in words, while another lives. One process of a job calls this."""
        folder.mkdir(parents=True, exist_ok=True)
        before = _rooms(folder)
        if before and (owner := _living(before[-1], silent_seconds)):
            raise _refusal(folder, owner)
        lease = cls(folder, _number(before[-1]) + 1 if before else 1)
        try:
            lease.room.mkdir()
        except FileExistsError:
            raise _refusal(folder, _owner(lease.room)) from None
        if _rooms(folder)[-1] != lease.room:
            lease.room.rmdir()
            raise _refusal(folder, _owner(_rooms(folder)[-1]))
        write_atomic(lease.room / OWNER, json.dumps(_myself()))
        for room in _rooms(folder)[:-1]:
            lease.remove(room)
        lease._beats.start()
        return lease

    def remove(self, folder: Path) -> None:
        """Remove a folder so that no moment shows half of it, and nobody can still write into it by its name."""
        bin_ = self.room / f"removed-{folder.name.lstrip('.')}"
        shutil.rmtree(bin_, ignore_errors=True)
        folder.rename(bin_)
        shutil.rmtree(bin_)

    def release(self) -> None:
        """Let the next job begin at once."""
        self._ended.set()
        self._beats.join()
        if self.room.exists():
            write_atomic(self.room / OWNER, json.dumps({**_myself(), "released": True}))

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                os.utime(self.room / OWNER)
            except OSError:
                return  # the next save says what happened


def lost(folder: Path, number: int) -> LeaseLost:
    """The error of a writer of this number, whose folder is gone."""
    rooms = _rooms(folder)
    owner = _owner(rooms[-1]) if rooms else {}
    return LeaseLost(f"{folder}: {_describe(owner)} has taken over this run; this job, writer {number}, saves no more")


def room_of(folder: Path, number: int) -> Path:
    """The folder that a writer writes in."""
    return folder / f".writer-{number:06d}"


def _myself() -> dict[str, Any]:
    job = next((os.environ[v] for v in JOB_VARIABLES if v in os.environ), None)
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid()), "job": job}


def _started(pid: int) -> str | None:
    """When a process of this machine began, in ticks since boot: its number may come back. None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]  # one that was killed, and whom nobody has waited for


def _rooms(folder: Path) -> list[Path]:
    """Writers' folders, oldest first."""
    found = [f for f in folder.iterdir() if re.fullmatch(r"\.writer-\d+", f.name)]
    return sorted(found, key=_number)


def _number(room: Path) -> int:
    return int(room.name.rpartition("-")[2])


def _owner(room: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((room / OWNER).read_text())
    except (OSError, ValueError):
        return {}
    return found


def _living(room: Path, silent_seconds: float) -> dict[str, Any] | None:
    """The owner of a folder, if it lives; where only its heartbeat can say so, this waits for one."""
    owner, me = _owner(room), _myself()
    if owner.get("released"):
        return None
    if owner.get("host") == me["host"]:
        return owner if owner.get("started") == _started(int(owner["pid"])) else None
    if owner and me["job"] and owner.get("job") == me["job"]:
        return None  # the scheduler runs a job once at a time: this is its next attempt
    first, deadline = _beat_of(room), time.monotonic() + silent_seconds
    while time.monotonic() < deadline:
        time.sleep(min(0.5, silent_seconds / 10))
        if _beat_of(room) != first:
            return _owner(room)
    return None


def _beat_of(room: Path) -> int:
    try:
        return (room / OWNER).stat().st_mtime_ns
    except OSError:
        return 0


def _describe(owner: dict[str, Any]) -> str:
    job = f"job {owner['job']}" if owner.get("job") else f"process {owner.get('pid')}"
    return f"{job} on {owner.get('host')}" if owner else "another job"


def _refusal(folder: Path, owner: dict[str, Any]) -> ContractError:
    cure = "wait until it ends, or end it, or give another --out"
    return ContractError(str(folder), [f"{_describe(owner)} is writing this run", cure])
