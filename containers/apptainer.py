"""Argument vectors for Apptainer: build, exec, test, inspect.

Apptainer pastes build arguments into shell scripts as text, splits them at commas, and binds at commas and colons. So every
word that it interprets is held to characters that neither a shell nor Apptainer treats specially; `SettingsError` names
all that are not. What a container's program gets is passed word by word, so it may be anything.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from stages.base import SettingsError

PROGRAM = "apptainer"
PATH = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./+@=-]*")
VALUE = re.compile(r"[A-Za-z0-9_./:@+=-]*")  # of a build argument; an empty one is a choice too
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
USER = re.compile(r"[a-z_][a-z0-9_-]*")


class Bind(NamedTuple):
    """A path of the host in the container, at the same place unless `target` says another."""

    source: Path
    target: Path | None = None
    read_only: bool = False

    def word(self) -> str:
        """As `--bind` takes it."""
        return f"{self.source}:{self.target or self.source}:{'ro' if self.read_only else 'rw'}"


class Runtime(NamedTuple):
    """How a container is run. `userns` is for root on a machine that withholds capabilities; `nv` adds NVIDIA's driver."""

    binds: tuple[Bind, ...] = ()
    userns: bool = False
    nv: bool = False
    fakeroot: bool = False
    pwd: Path | None = None

    def flags(self) -> list[str]:
        """Options that stand between the verb and the image."""
        check(path for bind in self.binds for path in (bind.source, bind.target or bind.source))
        check([self.pwd] if self.pwd else [])
        chosen = {"--userns": self.userns, "--nv": self.nv, "--fakeroot": self.fakeroot}
        binds = [word for bind in self.binds for word in ("--bind", bind.word())]
        return [f for f, on in chosen.items() if on] + (["--pwd", str(self.pwd)] if self.pwd else []) + binds


class Build(NamedTuple):
    """An image to build. `temporary` is where Apptainer unpacks and needs three times the image's size."""

    image: Path
    definition: Path
    arguments: Mapping[str, str]
    temporary: Path
    binds: tuple[Bind, ...] = ()


def build(what: Build, user: str = "", home: Path = Path("/")) -> list[str]:
    """Build an image and run its `%test`; as `user` where root may not (see install-apptainer.sh)."""
    check([what.image, what.definition, what.temporary, *(b.source for b in what.binds)])
    check_arguments(what.arguments)
    prefix = []
    if user:
        _refuse([f"user {user!r}: not a user's name"] if not USER.fullmatch(user) else [])
        check([home])
        prefix = ["runuser", "-u", user, "--", "env", f"HOME={home}", f"APPTAINER_CACHEDIR={what.temporary}/cache"]
    else:
        prefix = ["env"]
    values = [word for key, value in what.arguments.items() for word in ("--build-arg", f"{key}={value}")]
    binds = [word for bind in what.binds for word in ("--bind", bind.word())]
    files = [str(what.image), str(what.definition)]
    return [
        *prefix,
        f"APPTAINER_TMPDIR={what.temporary}",
        PROGRAM,
        "build",
        "--force",
        *binds,
        *values,
        *files,
    ]


def execute(image: Path, command: Sequence[str], runtime: Runtime | None = None) -> list[str]:
    """Run a command in an image."""
    check([image])
    _refuse(["no command to run"] if not command else [])
    _refuse([f"command {command[0]!r}: an option, not a program"] if command[0].startswith("-") else [])
    return [PROGRAM, "exec", *(runtime or Runtime()).flags(), str(image), *command]


def run_test(image: Path, runtime: Runtime | None = None) -> list[str]:
    """Run an image's `%test`."""
    check([image])
    return [PROGRAM, "test", *(runtime or Runtime()).flags(), str(image)]


def inspect(image: Path) -> list[str]:
    """Print an image's labels as JSON."""
    check([image])
    return [PROGRAM, "inspect", "--json", "--labels", str(image)]


def check(paths: Iterable[Path]) -> None:
    """Refuse paths that a shell, a bind or an option parser would take apart."""
    wrong = [p for p in paths if not PATH.fullmatch(str(p))]
    _refuse([f"path {str(p)!r}: letters, digits and _ . / + @ = - only, not beginning with a sign" for p in wrong])


def check_arguments(arguments: Mapping[str, str]) -> None:
    """Refuse build arguments that would be more than one word in a script."""
    problems = [f"build argument {key!r}: not a name" for key in arguments if not NAME.fullmatch(key)]
    problems += [
        f"build argument {key}={value!r}: letters, digits and _ . / : @ + = - only"
        for key, value in arguments.items()
        if not VALUE.fullmatch(value)
    ]
    _refuse(problems)


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise SettingsError("\n".join(f"containers: {p}" for p in problems))
