"""The faults: each is what the system itself does to a process, not an imitation of its message."""

import ctypes
import json
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path

import pyarrow as pa

from stages.base import SettingsError, num_cores, num_workers
from stages.tables import Outputs
from stages.toy import Toy

GIB = 1 << 30
PATIENCE_SECONDS = 600.0


def note(stage: Toy, shard: tuple[int, int]) -> None:
    """Leave a line for this attempt."""
    with Path(stage.folder, f"attempts-{stage.number}-{shard[0]}").open("a") as file:
        file.write("attempt\n")


def first(folder: str, word: str) -> bool:
    """Whether this is the first to ask; a fault that comes once asks so."""
    try:
        with Path(folder, word).open("x") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        return False
    return True


def strike(stage: Toy, outputs: Outputs) -> None:
    """Have the fault, unless it came already or was mended."""
    name = stage.fault
    if not name or Path(stage.folder, "mended").exists():
        return
    if name in ALWAYS:
        ALWAYS[name](stage, outputs)
    elif name in ONCE and outputs.shard in ((0, 1), (1, 3)) and first(stage.folder, f"{name}-{stage.number}"):
        ONCE[name](stage, outputs)


def send(number: signal.Signals) -> None:
    """A signal to this very process."""
    os.kill(os.getpid(), number)
    time.sleep(PATIENCE_SECONDS)


def hold(stage: Toy, _outputs: Outputs) -> None:
    """Be at work until somebody says that it is enough, or ends this."""
    for _ in range(int(PATIENCE_SECONDS / 0.1)):
        if Path(stage.folder, f"release-{stage.number}").exists():
            return
        time.sleep(0.1)


def memory(_stage: Toy, _outputs: Outputs) -> None:
    """Take a GiB a worker where there is room for half a GiB less than all cores need."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    room = pages * resource.getpagesize() + int((num_cores() - 0.5) * GIB)
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    bytearray(num_workers() * GIB)


def keep_the_lock(_stage: Toy, outputs: Outputs) -> None:
    """Die, but for a child that holds the shard's lock until the next attempt has met it."""
    if os.fork() == 0:
        log = outputs.folder / "log" / "run.txt"
        deadline = time.monotonic() + PATIENCE_SECONDS
        while b"another process is at work here" not in log.read_bytes() and time.monotonic() < deadline:
            time.sleep(0.1)
        os._exit(0)
    send(signal.SIGKILL)


def crash(_stage: Toy, _outputs: Outputs) -> None:
    """Read from address 0."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)


def read_a_bad_block(_stage: Toy, _outputs: Outputs) -> None:
    """EIO: nothing is mapped at address 0 of this process."""
    Path("/proc/self/mem").read_bytes()


def connect_to_nobody(_stage: Toy, _outputs: Outputs) -> None:
    """ECONNREFUSED: nobody listens at port 1."""
    socket.create_connection(("127.0.0.1", 1))


def write_to_a_full_device(_stage: Toy, _outputs: Outputs) -> None:
    """ENOSPC."""
    Path("/dev/full").write_text("x")


def write_a_wrong_table(_stage: Toy, outputs: Outputs) -> None:
    """Rows that are not what was declared."""
    outputs["rows"].write(pa.table({"row_id": [1]}))


def have_a_bug(stage: Toy, _outputs: Outputs) -> None:
    """TypeError."""
    stage.number + "1"  # type: ignore[operator]


def refuse_its_settings(_stage: Toy, _outputs: Outputs) -> None:
    """What a stage says of settings that do not fit its input."""
    raise SettingsError("toy.number must be even")


ONCE = {
    "kill": lambda *_: send(signal.SIGKILL),
    "kill a shard": lambda *_: send(signal.SIGKILL),
    "terminate": lambda *_: send(signal.SIGTERM),
    "lock": keep_the_lock,
    "bad block": read_a_bad_block,
    "refused connection": connect_to_nobody,
    "node lost": hold,
    "worker killed": hold,
    "walltime": hold,
    "preempted": hold,
    "qstat fails": hold,
}
ALWAYS = {
    "memory": memory,  # it is there at every attempt, and half of the workers fit
    "crash": crash,
    "poison": crash,  # at a row that the stage names
    "bug": have_a_bug,
    "wrong table": write_a_wrong_table,
    "wrong settings": refuse_its_settings,
    "bad disk": read_a_bad_block,
    "full device": write_to_a_full_device,
}


def die_at_the_manifest() -> None:
    """Where the settings say so, cut the manifest's temporary file in half at its rename, and die."""
    settings = json.loads(Path(sys.argv[sys.argv.index("--config") + 1]).read_text())
    word = f"{settings['fault']}-{settings['number']}"
    if settings["fault"] not in ("kill at the manifest", "kill the commit"):
        return

    def strike_at_rename(event: str, arguments: tuple[object, ...]) -> None:
        if event == "os.rename" and str(arguments[1]).endswith("manifest.json") and first(settings["folder"], word):
            source = str(arguments[0])
            os.truncate(source, Path(source).stat().st_size // 2)
            send(signal.SIGKILL)

    sys.addaudithook(strike_at_rename)
