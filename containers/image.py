"""Build a stage's image and test it. Root builds as the user that install-apptainer.sh has made, in a folder of its own."""

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from containers import apptainer
from containers.context import FOLDER, Base, Context, check_base, collect_wheels, copy_sources, lock_lines
from containers.definition import lint
from containers.fixture import build_fixture
from stages.base import PACKAGE_ROOT, SettingsError, Stage

BUILD_USER = "apptainer-build"
BUILD = PACKAGE_ROOT / "build" / "containers"
PYTHON = (
    f"python:{sys.version_info.major}.{sys.version_info.minor}-slim-bookworm"  # wheels are for the Python that builds
)
DEFAULT_BASE: dict[Base, str] = {
    "cpu": PYTHON,
    "cuda": PYTHON,
    "xpu": "intel/intel-optimized-pytorch:2.8.10-xpu-pip-base",
}


class Built(NamedTuple):
    """An image, its size and what it took."""

    image: Path
    size_bytes: int
    seconds: float


def build(stage: type[Stage], kind: Base, base: str, images: Path, system: Sequence[str] = ()) -> Built:
    """Collect what the image holds, build it, run its test, and put it where a site looks for it."""
    require()
    check_base(base)
    apptainer.check([images])  # now, not when the image has been built
    if found := lint(FOLDER / f"{kind}.def"):
        raise SettingsError("\n".join(found))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="image-") as scratch:
        work = Path(scratch)
        context = collect(stage, kind, work / "context")
        image = work / f"{stage.name}-{kind}.sif"
        (work / "tmp").mkdir()
        arguments = context.arguments(base or DEFAULT_BASE[kind], system)
        what = apptainer.Build(image, definition_copy(context, work), arguments, work / "tmp")
        run(command(what, work))
        images.mkdir(parents=True, exist_ok=True)
        target = images / image.name
        shutil.copyfile(image, target.with_suffix(".partial"))
        target.with_suffix(".partial").replace(target)
    run(apptainer.run_test(target, runtime()))
    return Built(target, target.stat().st_size, time.monotonic() - began)


def require() -> None:
    """`SettingsError` where Apptainer is missing."""
    if shutil.which(apptainer.PROGRAM) is None:
        raise SettingsError("containers: no apptainer here: run containers/install-apptainer.sh as root")


def collect(stage: type[Stage], kind: Base, folder: Path) -> Context:
    """Make the context of an image in `folder`."""
    (folder / "source").mkdir(parents=True)
    copy_sources(stage, folder / "source")
    shutil.copyfile(FOLDER / "check.py", folder / "check.py")
    build_fixture(stage, BUILD / "fixture", folder / "fixture")
    collect_wheels(stage, kind, folder / "wheels")
    (folder / "requirements.txt").write_text("\n".join(lock_lines(folder / "wheels")) + "\n")
    return Context(folder, stage, kind)


def definition_copy(context: Context, work: Path) -> Path:
    """The definition where the building user can read it."""
    copy = work / context.definition.name
    shutil.copyfile(context.definition, copy)
    return copy


def command(what: apptainer.Build, work: Path) -> list[str]:
    """The build's argument vector; root hands `work` to the building user and builds as that."""
    if os.geteuid() != 0:
        return apptainer.build(what)
    try:
        user = pwd.getpwnam(BUILD_USER)
    except KeyError:
        raise SettingsError(
            f"containers: root needs the user {BUILD_USER} to build as: run containers/install-apptainer.sh"
        ) from None
    for path in (work, *work.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid)
    return apptainer.build(what, BUILD_USER, Path(user.pw_dir))


def runtime() -> apptainer.Runtime:
    """How an image is run on this machine: root in a user namespace, as its capabilities may be cut."""
    return apptainer.Runtime(userns=os.geteuid() == 0)


def labels(image: Path) -> dict[str, Any]:
    """What an image says of itself."""
    if not image.is_file():
        raise SettingsError(f"containers: {image}: no such image; images lie in {FOLDER / 'images'}")
    done = subprocess.run(apptainer.inspect(image), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SettingsError(f"containers: {image}: apptainer cannot read it: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout)["data"]["attributes"]["labels"]
    return found


def run(words: Sequence[str]) -> None:
    """Run a command in a folder that any user may be in; `SettingsError` says which one failed."""
    done = subprocess.run(list(words), cwd="/", check=False, stdout=sys.stderr)
    if done.returncode:
        verb = next(w for w in words if w in ("build", "test", "exec"))
        raise SettingsError(f"containers: apptainer {verb} ended with {done.returncode}; its words are above")
