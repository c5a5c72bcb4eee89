"""The marker of a corpus: says that a folder is complete, and which files in it this command made.

`<folder>-truth/corpus.json` is written first with the names of all files to come, so that a run that is killed leaves
nothing unaccounted for, and again last with `"complete": true`. A folder with files that no such list names is left
alone. This module imports no library, so that a complete corpus is recognised at once.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VERSION = 2  # of the corpus: a change of any byte of it must change this
MARKER = "corpus.json"


class CorpusError(Exception):
    """A corpus that cannot be made: a wrong number of articles, or a folder that is not ours to write to."""


def truth_folder(folder: Path) -> Path:
    """Where the truth about a corpus is: beside it, so that nobody takes it in with the corpus."""
    return folder.with_name(folder.name + "-truth")


def is_complete(folder: Path, num_articles: int, seed: int) -> bool:
    """Whether the folder holds this very corpus, every file with its size."""
    marker = _marker(folder)
    wanted = {"complete": True, "version": VERSION, "articles": num_articles, "seed": seed}
    if marker is None or any(marker.get(key) != value for key, value in wanted.items()):
        return False
    return all(_size(folder / name) == size for name, size in marker["files"].items())


def claim(folder: Path, files: list[str], num_articles: int, seed: int) -> None:
    """Empty both folders of what an earlier run made, and write down what this one is going to make."""
    truth, marker = truth_folder(folder), _marker(folder)
    ours = set(marker["files"]) if marker else set()
    if folder.exists() and not folder.is_dir():
        raise CorpusError(f"{folder} is not a folder")
    others = [p for p in folder.rglob("*") if p.is_file() and str(p.relative_to(folder)) not in ours]
    if others:
        raise CorpusError(f"{folder} holds {others[0].name}, which this command did not make: name another folder")
    if truth.exists() and marker is None and any(truth.iterdir()):
        raise CorpusError(f"{truth} has no {MARKER}, so it was not made by this command: name another folder")
    for name in ours:
        (folder / name).unlink(missing_ok=True)
    for text in truth.glob("*.txt"):
        text.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    truth.mkdir(exist_ok=True)
    mark(folder, dict.fromkeys(files, -1), num_articles, seed, complete=False)


def _marker(folder: Path) -> dict[str, Any] | None:
    """The marker of a corpus; none if there is no readable one."""
    try:
        marker: dict[str, Any] = json.loads((truth_folder(folder) / MARKER).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return marker


def mark(folder: Path, files: Mapping[str, int], num_articles: int, seed: int, *, complete: bool) -> None:
    """Write the marker, by rename: the sizes of the files, -1 of those to come."""
    marker = {"complete": complete, "version": VERSION, "articles": num_articles, "seed": seed}
    target = truth_folder(folder) / MARKER
    partial_file = target.with_suffix(".tmp")
    partial_file.write_text(json.dumps({**marker, "files": dict(sorted(files.items()))}, indent=1) + "\n")
    partial_file.replace(target)


def _size(file: Path) -> int | None:
    return file.stat().st_size if file.is_file() else None
