"""Real processes in place of a server."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from schemas.serving import Endpoint
from stages.base import SettingsError
from stages.deploy import stop as stopping
from stages.deploy.stop import alive, process_started, stop

SLEEP = "import time; print('ready', flush=True); time.sleep(60)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
PARENT = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); print(p.pid); {SLEEP}"

Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts Python code as the leader of a process group, and cleans up whatever a test leaves."""
    started = []

    def go(code: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield go
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_ready(process: "subprocess.Popen[str]") -> list[str]:
    """The lines until `ready`."""
    assert process.stdout is not None
    return list(iter(lambda: process.stdout.readline().strip(), "ready"))


def endpoint(pid: int, **other: object) -> Endpoint:
    """The row of a server that is this process."""
    fields = {
        "url": "http://127.0.0.1:1/v1",
        "model": "tiny",
        "host": socket.gethostname(),
        "pid": pid,
        "process_started": process_started(pid) or 0.0,
        "prompt": "a",
        "answer": "b",
    }
    return Endpoint.model_validate({**fields, **other})


def test_start_time_is_that_of_psutil() -> None:
    """Field 22 is the one: psutil, which adds the time of boot, sees the same start."""
    started = process_started(os.getpid())
    assert started is not None
    assert started == pytest.approx(psutil.Process().create_time() - psutil.boot_time(), abs=1.5)


def test_stop_ends_a_living_server(start: Start) -> None:
    """A living process is ended by SIGTERM, once."""
    process = start(SLEEP)
    row = endpoint(process.pid)
    wait_ready(process)
    assert alive(row)
    assert stop(row) is True
    assert not alive(row)
    assert stop(row) is False
    assert process.wait() == -signal.SIGTERM


def test_children_end_too(start: Start) -> None:
    """What the server has started ends with it."""
    process = start(PARENT)
    (child,) = wait_ready(process)
    assert stop(endpoint(process.pid))
    deadline = time.monotonic() + 5
    while process_started(int(child)) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_deaf_server_is_killed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ignores SIGTERM gets SIGKILL after the grace."""
    monkeypatch.setattr(stopping, "GRACE_SECONDS", 0.3)
    process = start(DEAF)
    wait_ready(process)
    assert stop(endpoint(process.pid))
    assert process.wait() == -signal.SIGKILL


def test_a_reused_number_is_left_alone(start: Start) -> None:
    """A process with the number but another start time is not the server, and is not touched."""
    process = start(SLEEP)
    wait_ready(process)
    row = endpoint(process.pid, process_started=(process_started(process.pid) or 0.0) - 0.01)
    assert not alive(row)
    assert stop(row) is False
    assert process.poll() is None


def test_a_dead_process_that_nobody_asked_for_is_gone(start: Start) -> None:
    """A zombie does not live."""
    process = start(SLEEP)
    row = endpoint(process.pid)
    wait_ready(process)
    process.kill()
    deadline = time.monotonic() + 5
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
    assert not alive(row)
    assert stop(row) is False


def test_name_with_brackets_and_spaces(start: Start) -> None:
    """A process may call itself anything without being mistaken."""
    process = start(f"open('/proc/self/comm', 'w').write('a) Z 1 (b'); {SLEEP}")
    row = endpoint(process.pid)
    wait_ready(process)
    assert alive(row)


def test_another_machine(start: Start) -> None:
    """A server of another machine is neither called dead nor shot at here."""
    process = start(SLEEP)
    wait_ready(process)
    row = endpoint(process.pid, host="node-17")
    for act in (alive, stop):
        with pytest.raises(SettingsError, match="runs on node-17"):
            act(row)
    assert process.poll() is None
