"""What goes into a stage's image: its own code, what it shares, the contracts, its wheels by digest, a ten-row fixture.

An image is known by what it was made of, `Context.identity`, as two builds of the same things differ in their bytes.
"""

import ast
import hashlib
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from schemas.table import sha256_file
from stages.base import PACKAGE_ROOT, SettingsError, Stage
from stages.command import ALWAYS

Base = Literal["cpu", "cuda", "xpu"]
FOLDER = PACKAGE_ROOT / "containers"
# What a base brings itself, by the beginning of a wheel's name: Intel's images have PyTorch built for their devices.
PROVIDED: dict[Base, tuple[str, ...]] = {
    "cpu": (),
    "cuda": (),
    "xpu": ("torch-", "triton", "nvidia_", "pytorch_triton"),
}


class Context(NamedTuple):
    """A folder that Apptainer copies into an image, and what its labels say."""

    folder: Path
    stage: type[Stage]
    kind: Base

    @property
    def definition(self) -> Path:
        """The definition file of this base."""
        return FOLDER / f"{self.kind}.def"

    @property
    def lock(self) -> str:
        """Digest of the wheels' names, versions and digests."""
        return sha256_file(self.folder / "requirements.txt")

    def identity(self, base: str, system: Sequence[str] = ()) -> str:
        """Digest of definition, base, system packages and everything that is copied."""
        told = "\n".join([self.stage.name, base, *sorted(set(system)), ""])
        digest = hashlib.sha256(told.encode() + self.definition.read_bytes())
        for file in sorted(f for f in self.folder.rglob("*") if f.is_file() and f.parent.name != "wheels"):
            digest.update(f"{file.relative_to(self.folder)} {sha256_file(file)}\n".encode())
        return digest.hexdigest()

    def arguments(self, base: str, system: Sequence[str] = ()) -> dict[str, str]:
        """Build arguments of the definition; `base` is an image's name, an archive or a folder with a root in it."""
        place = Path(base)
        bootstrap = "localimage" if place.is_dir() else "docker-archive" if place.is_file() else "docker"
        rows = {r.contract() for r in (*self.stage.inputs.values(), *self.stage.outputs.values())}
        known = f"docker-archive {sha256_file(place)}" if place.is_file() else f"{bootstrap} {base}"
        return {
            "BOOTSTRAP": bootstrap,
            "BASE": str(place.absolute()) if place.exists() else base,
            "STAGE": self.stage.name,
            "CONTEXT": str(self.folder),
            "SYSTEM": ":".join(system),
            "CONTRACTS": ":".join(sorted(rows)),
            "COMMIT": commit(),
            "LOCK": self.lock,
            "IDENTITY": self.identity(known, system),
        }


def base_of(kind: str) -> Base:
    """A base's name, checked."""
    if kind not in get_args(Base):
        raise SettingsError(f"containers: no base {kind!r}; bases: {', '.join(get_args(Base))}")
    return kind  # type: ignore[return-value]  # just compared


def check_base(base: str) -> None:
    """`SettingsError` for a base that is written as a path, where nothing lies: a hub has no such name."""
    if base.startswith((".", "/")) and not Path(base).exists():
        raise SettingsError(f"containers: --base {base}: no such file; `python -m containers base {base}` makes one")


def sources(stage: type[Stage]) -> Iterator[Path]:
    """Python files that the stage imports, or may: contracts, the core, its own folder and all that these import from."""
    yield from (PACKAGE_ROOT / "schemas").rglob("*.py")
    yield from (PACKAGE_ROOT / "stages").glob("*.py")
    for folder in folders(stage):
        yield from (PACKAGE_ROOT / "stages" / folder).rglob("*.py")


def folders(stage: type[Stage]) -> list[str]:
    """The stage's own folder under `stages`, those that it shares, and those that their files import from."""
    found = [stage.name, *stage.shares]
    for name in found:  # grows on the way
        for file in (PACKAGE_ROOT / "stages" / name).rglob("*.py"):
            found += [f for f in dict.fromkeys(imported(file)) if f not in found]
    return found


def imported(file: Path) -> Iterator[str]:
    """Folders under `stages` that a file imports from, wherever the statement stands."""
    for module in _modules(ast.parse(file.read_text())):
        match module.split("."):
            case ["stages", name, *_] if (PACKAGE_ROOT / "stages" / name).is_dir():
                yield name


def _modules(tree: ast.Module) -> Iterator[str]:
    """The modules that import statements name, and what they take from them, which may be modules too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def copy_sources(stage: type[Stage], target: Path) -> None:
    """Copy the stage's code, as a tree to import from."""
    for file in sources(stage):
        place = target / file.relative_to(PACKAGE_ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)


def requirements(stage: type[Stage]) -> list[str]:
    """What `pip` is asked for: the two packages of every stage, and the stage's extra."""
    project = tomllib.loads((PACKAGE_ROOT / "pyproject.toml").read_text())["project"]
    base = [r for r in project["dependencies"] if r.partition(">")[0] in ALWAYS]
    return [*base, *project["optional-dependencies"][stage.name]]


def collect_wheels(stage: type[Stage], kind: Base, target: Path) -> None:
    """Bring the stage's wheels, all versions pinned, for this Python and this machine; built where there are none."""
    pins = PACKAGE_ROOT / "constraints.txt"
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(target), "--constraint", str(pins)]
    done = subprocess.run([*command, *requirements(stage)], check=False, stdout=sys.stderr)
    if done.returncode:
        raise SettingsError(f"containers: pip could not bring the wheels of {stage.name}; its words are above")
    for wheel in target.glob("*.whl"):
        if PROVIDED[kind] and wheel.name.startswith(PROVIDED[kind]):
            wheel.unlink()


def lock_lines(wheels: Path) -> list[str]:
    """One line a wheel, for pip's mode that takes nothing but these bytes."""
    files = sorted(wheels.glob("*.whl"))
    return ["{}=={} --hash=sha256:{}".format(*w.name.split("-")[:2], sha256_file(w)) for w in files]


def commit() -> str:
    """The commit of this checkout, marked where files differ from it; `unknown` outside one."""
    git = shutil.which("git") or "git"
    command = [git, "-C", str(PACKAGE_ROOT), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
