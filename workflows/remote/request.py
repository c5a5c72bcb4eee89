"""What is sent to the other side: references and digests, never tables. Checked here before sending and there on arrival."""

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from stages.base import PACKAGE_ROOT, SettingsError

MAX_BYTES = 64 << 10  # the service itself refuses 10 MB
PACKAGES = ("schemas", "stages", "workflows")
# What a site file reads of the environment, and so may differ between the two sides; nothing else is sent.
ENVIRONMENT = (
    "BOREALIS_ACCOUNT",
    "BOREALIS_NODES",
    "BOREALIS_SPARES",
    "BOREALIS_QUEUE",
    "BOREALIS_WALLTIME",
    "BOREALIS_ROOT",
)

RunId = Annotated[str, Field(pattern=r"^[0-9]{8}-[0-9a-f]{12}$")]
Project = Annotated[str, Field(pattern=r"^/[A-Za-z0-9_./+@=-]*$", max_length=1024)]
Word = Annotated[str, Field(max_length=32 << 10, pattern=r"^[^\x00]*$")]


class Message(BaseModel):
    """What every request says: whose checkout, which run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    project: Project
    run: RunId


class Start(Message):
    """Start a run, detached. Sent twice, it starts once."""

    verb: Literal["start"] = "start"
    words: Annotated[tuple[Word, ...], Field(min_length=2)]
    """Of the `parsl` command, beginning with `run`."""
    environment: dict[Literal[ENVIRONMENT], Word] = {}  # type: ignore[valid-type]
    code_sha256: str
    """Of this project's code on this side: a run there must be of the same."""


class Ask(Message):
    """Say how far a run is, or end it."""

    verb: Literal["status", "cancel"]


class Logs(Message):
    """What a run has printed from byte `offset` on, or its last bytes."""

    verb: Literal["logs"] = "logs"
    offset: int = -1


Request = Annotated[Start | Ask | Logs, Field(discriminator="verb")]
REQUEST: TypeAdapter[Start | Ask | Logs] = TypeAdapter(Request)


def new_run_id() -> str:
    """A name for a run: the day, and 48 random bits."""
    return f"{datetime.now(UTC):%Y%m%d}-{secrets.token_hex(6)}"


def read(fields: Mapping[str, Any]) -> Start | Ask | Logs:
    """A request from outside; `SettingsError` lists all that is wrong with it."""
    try:
        return REQUEST.validate_python(fields)
    except ValidationError as error:
        problems = [f"request {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise SettingsError("\n".join(problems)) from None


def payload(request: Message) -> dict[str, Any]:
    """The request as JSON's own types; `SettingsError` if it is larger than it may be."""
    fields: dict[str, Any] = request.model_dump(mode="json")
    size = len(json.dumps(fields).encode())
    if size > MAX_BYTES:
        raise SettingsError(
            f"the request has {size} bytes, at most {MAX_BYTES} are sent: put long settings in the recipe"
        )
    return fields


def code_sha256() -> str:
    """A digest of this project's code, the same on both sides of a run."""
    files = sorted(f for package in PACKAGES for f in (PACKAGE_ROOT / package).rglob("*.py"))
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(PACKAGE_ROOT)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def check_run_id(run: str) -> str:
    """A run's name from the command line."""
    if not re.fullmatch(r"[0-9]{8}-[0-9a-f]{12}", run):
        raise SettingsError(f"--run {run}: expected a name like {new_run_id()}, as `parsl run --endpoint` prints it")
    return run


def check_project(folder: str) -> str:
    """A project's place on the other side, from the command line."""
    try:
        return TypeAdapter(Project).validate_python(folder)
    except ValidationError:
        words = "expected the whole path of this project on the endpoint's machine, of letters, digits and _./+@=-"
        raise SettingsError(f"--project {folder}: {words}") from None


def checkout(site_root: Path) -> str:
    """Where the project lies on the other side, going by the site: its runs are kept inside it."""
    return str(site_root.parent)
