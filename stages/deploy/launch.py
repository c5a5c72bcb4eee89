"""Become the server: write down which process this is, then replace it by the command.

The record exists before the server does, so that a stage that is killed at any time leaves no server that nobody knows.

    python -m stages.deploy.launch RECORD ENDPOINT_JSON COMMAND ...
"""

import os
import sys
from pathlib import Path

from schemas.manifest import write_atomic
from schemas.serving import Endpoint
from stages.deploy.stop import process_started


def launch(record: Path, endpoint: Endpoint, command: list[str]) -> None:
    """Record this process as `endpoint`'s and run `command` in its place; does not return."""
    known = {"pid": os.getpid(), "process_started": process_started(os.getpid())}
    write_atomic(record, endpoint.model_copy(update=known).model_dump_json())
    os.execv(command[0], command)  # noqa: S606 - an argument vector, no shell


if __name__ == "__main__":
    launch(Path(sys.argv[1]), Endpoint.model_validate_json(sys.argv[2]), sys.argv[3:])
