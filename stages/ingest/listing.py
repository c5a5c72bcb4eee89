"""The files under the roots: sorted, hidden ones skipped, each file once, links followed but no folder entered twice.

Listing costs one `scandir` a folder and one `stat` a file, so that a fingerprint can be had before every run. It gives
up noticing a change of content that keeps a file's size and modification time.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from stages.base import SettingsError

SIDECAR = ".meta.json"


@dataclass(frozen=True)
class Found:
    """A file as listed. `relative` is its path below the root; `size_bytes` is -1 where it cannot be looked at."""

    path: Path
    relative: str
    source: str
    size_bytes: int
    mtime_ns: int
    sidecar: Path | None


def listing(paths: Sequence[str], include: Sequence[str], exclude: Sequence[str]) -> list[Found]:
    """All files that the patterns admit, root after root, each sorted by relative path; `SettingsError` names lost roots."""
    check(paths)
    seen: set[str] = set()
    found = []
    for root in map(Path, paths):
        for file in sorted(_root_files(root), key=lambda f: f.relative):
            real = os.path.realpath(file.path)
            if real not in seen and admits(file.relative, include, exclude):
                seen.add(real)
                found.append(file)
    return found


def check(paths: Sequence[str]) -> None:
    """`SettingsError` names every path that does not exist."""
    missing = [p for p in paths if not os.path.lexists(p)]
    if missing:
        lines = [f"ingest.paths: there is no {p}" for p in missing]
        if any(Path(p).parts[-2:] == ("examples", "corpus") for p in missing):
            lines.append("`python -m examples` makes the demo corpus")
        raise SettingsError("\n".join(lines))


def admits(relative: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether a pattern of `include`, and none of `exclude`, matches the name or the relative path."""
    name = relative.rpartition("/")[2]

    def match(patterns: Sequence[str]) -> bool:
        return any(fnmatchcase(name, p) or fnmatchcase(relative, p) for p in patterns)

    return match(include) and not match(exclude)


def digest(paths: Sequence[str], include: Sequence[str], exclude: Sequence[str]) -> str:
    """SHA-256 of the listing: relative path, size and modification time of every file and of its sidecar."""
    total = hashlib.sha256()
    for file in listing(paths, include, exclude):
        parts = [file.source, file.relative, str(file.size_bytes), str(file.mtime_ns), *_sidecar_state(file.sidecar)]
        total.update("\0".join([*parts, "\n"]).encode(errors="surrogateescape"))
    return total.hexdigest()


def stems(name: str) -> Iterator[str]:
    """`a.gold.txt` -> `a.gold`, `a`: what a sidecar of this file may be called before `.meta.json`."""
    while "." in name:
        name = name.rpartition(".")[0]
        if name:
            yield name


def _sidecar_state(sidecar: Path | None) -> list[str]:
    if sidecar is None:
        return []
    size, mtime = _size_and_time(sidecar)
    return [sidecar.name, str(size), str(mtime)]


def _root_files(root: Path) -> Iterator[Found]:
    if root.is_dir():
        yield from _walk(root, "", root.name, set())
    else:
        names = set(os.listdir(root.parent))  # noqa: PTH208 - names are enough
        yield _found(root, root.name, root.parent.name, names)


def _walk(folder: Path, prefix: str, source: str, above: set[tuple[int, int]]) -> Iterator[Found]:
    """Files below `folder`. `above` holds the folders that were entered: a link back to one of them is a loop."""
    state = folder.stat()
    if (state.st_dev, state.st_ino) in above:
        return
    above.add((state.st_dev, state.st_ino))
    try:
        with os.scandir(folder) as opened:
            entries = sorted(opened, key=lambda e: e.name)
    except OSError:  # a folder that may not be read is one unreadable row
        yield Found(folder, prefix.rstrip("/") or folder.name, source, -1, 0, None)
        return
    names = {e.name for e in entries}
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(folder / entry.name, f"{prefix}{entry.name}/", source, above)
        else:
            yield _found(folder / entry.name, prefix + entry.name, source, names)


def _found(path: Path, relative: str, source: str, names: set[str]) -> Found:
    size, mtime = _size_and_time(path)
    sidecar = None
    if not path.name.endswith(SIDECAR):
        sidecar = next((path.with_name(s + SIDECAR) for s in stems(path.name) if s + SIDECAR in names), None)
    return Found(path, relative, source, size, mtime, sidecar)


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError:
        return -1, 0
    return state.st_size, state.st_mtime_ns
