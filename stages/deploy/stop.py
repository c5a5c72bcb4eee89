"""End a server that `deploy` left running: `parsl stop`.

A process is known by host, number and start time together, because Linux gives numbers out again: the start time is
field 22 of /proc/<pid>/stat (proc(5)), in seconds since the machine started, so that setting the clock changes nothing.
"""

import os
import signal
import socket
import time
from pathlib import Path

from schemas.serving import Endpoint
from stages.base import SettingsError

GRACE_SECONDS = 10.0  # from SIGTERM, which lets requests under way finish, to SIGKILL
POLL_SECONDS = 0.05
STATE, STARTED = 0, 19  # fields 3 and 22 of stat, counted after the name that ends with ")"


def process_started(pid: int) -> float | None:
    """When a process started, in seconds since the machine did; None if there is none or it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")  # a process may call itself by any bytes
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    if fields[STATE] in "ZX":  # ended, and its parent has not asked for its exit status yet
        return None
    return int(fields[STARTED]) / os.sysconf("SC_CLK_TCK")


def alive(endpoint: Endpoint) -> bool:
    """Whether the server's process still runs; `SettingsError` if it is another machine's."""
    here = socket.gethostname()
    if endpoint.host != here:
        raise SettingsError(f"{endpoint.url} runs on {endpoint.host} and this is {here}: say it there")
    return process_started(endpoint.pid) == endpoint.process_started


def stop(endpoint: Endpoint) -> bool:
    """End the server and its children: True if it lived, False if it was gone. `SettingsError` on another machine."""
    if not alive(endpoint):
        return False
    for kind, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, GRACE_SECONDS)):
        _signal_group(endpoint.pid, kind)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not alive(endpoint):
                return True
            time.sleep(POLL_SECONDS)
    raise OSError(f"process {endpoint.pid} of {endpoint.url} does not end")


def _signal_group(pid: int, kind: signal.Signals) -> None:
    """The server leads its own process group; one that does not (never `deploy`'s) is signalled alone."""
    try:
        if os.getpgid(pid) == pid:
            os.killpg(pid, kind)
        else:
            os.kill(pid, kind)
    except ProcessLookupError:  # it ended between the look and the signal: what was wanted
        return
