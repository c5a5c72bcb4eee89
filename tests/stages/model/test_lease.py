import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from schemas.table import ContractError
from stages.model.lease import OWNER, Lease, lost, room_of

SILENT = 0.3


def foreign(folder: Path, number: int, **owner: object) -> Path:
    """The folder of a writer that ran on another node."""
    room = room_of(folder, number)
    room.mkdir(parents=True)
    (room / OWNER).write_text(json.dumps({"host": "x1", "pid": 1, "started": "1", "job": "7", **owner}))
    return room


def test_numbers_grow_and_the_folder_before_goes(tmp_path: Path) -> None:
    """Each writer has the next number, and its folder is the only one."""
    for number in (1, 2, 3):
        lease = Lease.take(tmp_path)
        assert lease.number == number
        assert [f.name for f in tmp_path.iterdir()] == [f".writer-{number:06d}"]
        lease.release()


def test_two_writers_are_refused(tmp_path: Path) -> None:
    """While one process of this machine holds the run, a second is refused with its number, and the cure."""
    lease = Lease.take(tmp_path)
    with pytest.raises(ContractError, match=f"process {os.getpid()} on .* is writing this run.*\n.*another --out"):
        Lease.take(tmp_path)
    lease.release()
    Lease.take(tmp_path).release()


def test_a_killed_writer_is_followed_at_once(tmp_path: Path) -> None:
    """After SIGKILL on this machine the next writer need not wait, and takes the next number."""
    code = "import sys, time; from pathlib import Path; from stages.model.lease import Lease;"
    code += "Lease.take(Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(ContractError, match=f"process {holder.pid} on"):
        Lease.take(tmp_path)
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    started = time.monotonic()
    lease = Lease.take(tmp_path, silent_seconds=3600)
    assert lease.number == 2
    assert time.monotonic() - started < 1800
    lease.release()


def test_a_silent_writer_elsewhere_is_followed(tmp_path: Path) -> None:
    """A writer of another node whose heartbeat stands still is taken for dead, one that beats is not."""
    room = foreign(tmp_path, 4)
    lease = Lease.take(tmp_path, silent_seconds=SILENT)
    assert (lease.number, room.exists()) == (5, False)
    lease.release()
    beating = foreign(tmp_path, 6)
    ended = threading.Event()

    def beat() -> None:
        number = 0
        while not ended.wait(SILENT / 20):
            number += 1
            os.utime(beating / OWNER, (number, number))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(ContractError, match="job 7 on x1 is writing this run"):
            Lease.take(tmp_path, silent_seconds=60)
    finally:
        ended.set()
        thread.join()


def test_the_next_attempt_of_a_job_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler runs a job once at a time, so a job follows itself at once, on whichever node."""
    monkeypatch.setenv("PBS_JOBID", "7")
    foreign(tmp_path, 1)
    lease = Lease.take(tmp_path, silent_seconds=3600)
    assert lease.number == 2
    lease.release()


def test_a_late_writer_cannot_commit(tmp_path: Path) -> None:
    """What a writer prepared before it was followed can be neither renamed to its place nor written any more."""
    room = foreign(tmp_path, 1)
    prepared = room / "step-000010"
    prepared.mkdir()
    lease = Lease.take(tmp_path, silent_seconds=SILENT)
    with pytest.raises(FileNotFoundError):
        prepared.rename(tmp_path / "step-000010")
    with pytest.raises(FileNotFoundError):
        (room / "step-000020").mkdir()
    assert "writer 1, saves no more" in str(lost(tmp_path, 1))
    assert f"process {os.getpid()}" in str(lost(tmp_path, 1))
    lease.release()


def test_only_one_of_many_gets_it(tmp_path: Path) -> None:
    """Of eight that begin in the same moment one becomes the writer."""
    won: list[Lease] = []
    refused: list[ContractError] = []
    together = threading.Barrier(8)

    def begin() -> None:
        together.wait()
        try:
            won.append(Lease.take(tmp_path))
        except ContractError as error:
            refused.append(error)

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(refused)) == (1, 7)
    won[0].release()
