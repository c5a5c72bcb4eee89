"""The other side: start a run detached, say how far it is, give its log, end it. `python -m workflows.remote.answer`.

A run's folder, `runs/remote/ID`, is all its state: the request, the log, a heartbeat, and at the end its exit code. Login
nodes of a machine share the folder but not their processes, so nothing here asks for a process.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from schemas.manifest import write_atomic
from stages.base import PACKAGE_ROOT, SettingsError
from workflows.remote.request import Ask, Logs, Message, Start, code_sha256, read

FOLDER = Path(os.environ.get("BOREALIS_REMOTE", PACKAGE_ROOT / "runs" / "remote"))
LOG_BYTES = 32 << 10
SILENT_SECONDS = 60.0  # a run beats every second; a file system of many nodes may show it late
START_SECONDS = 30.0


def main() -> None:
    """Answer the request on standard input, in JSON; what is wrong with it is an answer too."""
    try:
        answered = answer(read(json.load(sys.stdin)))
    except SettingsError as error:
        answered = {"problem": str(error)}
    print(json.dumps(answered))


def answer(request: Message) -> dict[str, Any]:
    """Do what is asked."""
    folder = FOLDER / request.run
    if isinstance(request, Start):
        return start(request, folder)
    if not (folder / "request.json").is_file():
        raise SettingsError(f"no run {request.run} in {FOLDER}")
    if isinstance(request, Logs):
        return logs(folder, request.offset)
    if isinstance(request, Ask) and request.verb == "cancel":
        (folder / "cancel").touch()
    return {**state(folder), "stages": stages(folder)}


def start(request: Start, folder: Path) -> dict[str, Any]:
    """Start the run unless an earlier delivery of the same request did."""
    if request.code_sha256 != code_sha256():
        raise SettingsError(
            f"the checkout in {PACKAGE_ROOT} is not the one that sent this: bring both to the same commit (git pull)"
        )
    if request.words[0] != "run":
        raise SettingsError(f"a run begins with the word run, found {request.words[0]!r}")
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return state(folder)
    write_atomic(folder / "request.json", request.model_dump_json(indent=1))
    command = [sys.executable, "-m", "workflows.remote.supervise", str(folder)]
    with (folder / "supervisor.txt").open("ab") as output:
        subprocess.Popen(
            command, cwd=PACKAGE_ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    return state(folder)


def state(folder: Path) -> dict[str, Any]:
    """`running`, `done`, `failed`, `cancelled`, or `lost` where the heartbeat stopped without an end."""
    end = folder / "end.json"
    found: dict[str, Any] = {"run": folder.name, "code": None}
    if end.is_file():
        code = json.loads(end.read_text())["code"]
        word = "done" if code == 0 else "cancelled" if (folder / "cancel").exists() else "failed"
        return {**found, "state": word, "code": code}
    beat = folder / "beat"
    silent = time.time() - (beat if beat.exists() else folder).stat().st_mtime
    return {**found, "state": "lost" if silent > (SILENT_SECONDS if beat.exists() else START_SECONDS) else "running"}


def logs(folder: Path, offset: int) -> dict[str, Any]:
    """A piece of what the run has printed, in whole characters, and where the next begins."""
    now = state(folder)  # before the reading: what is printed last is then in the log
    log = folder / "log.txt"
    size = log.stat().st_size if log.is_file() else 0
    first = max(0, size - LOG_BYTES) if offset < 0 else min(offset, size)
    if not size:
        return {**now, "text": "", "offset": 0, "more": False}
    with log.open("rb") as file:
        file.seek(first)
        piece = file.read(LOG_BYTES)
    if first + len(piece) < size:  # no character is cut in two
        piece = piece[: len(piece) - next(n for n in range(4) if (piece[len(piece) - n - 1] & 0xC0) != 0x80) - 1]
    next_offset = first + len(piece)
    return {**now, "text": piece.decode(errors="replace"), "offset": next_offset, "more": next_offset < size}


def stages(folder: Path) -> str:
    """What `parsl status` says of the run's stages."""
    request = read(json.loads((folder / "request.json").read_text()))
    assert isinstance(request, Start)
    words = ["status", *(w for w in request.words[1:] if w != "--force")]
    command = [sys.executable, "-m", "workflows", *words]
    environment = {**os.environ, **request.environment}
    done = subprocess.run(command, cwd=PACKAGE_ROOT, env=environment, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr)[-LOG_BYTES:]


if __name__ == "__main__":
    main()
