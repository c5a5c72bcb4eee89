"""Register: benchmarks of others as rows, once, for decontamination and for evaluation."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from schemas.corpus import Dropped
from schemas.evaluation import BenchmarkItem
from stages.base import Places, SettingsError, Stage
from stages.tables import Outputs, Reader

SUFFIXES = (".jsonl", ".json", ".csv")


class Register(Stage):
    """Read benchmark files in the layouts their publishers use: ARC, MMLU, GSM8K, PubMedQA, HumanEval, or plain rows.

    A plain row is a JSON object with `question` and `answer` (a text, or the index or letter of a choice), and
    `choices`, `context` and `id` if there are any. Files are `.jsonl`, `.json` or `.csv`, also gzipped.
    """

    name = "register"
    version = 2
    undivided = "each would read all benchmarks"
    halves = ""
    outputs = {"items": BenchmarkItem, "dropped": Dropped}
    located = frozenset({"paths"})

    paths: Places = ()
    """Files, or folders that are searched for them. A benchmark is named by its file, or folder where that says more."""

    def external(self) -> str:
        """Return a digest of the files, wherever they lie."""
        hashed = hashlib.sha256()
        for file in self.files():
            hashed.update(f"{file.name}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
        return hashed.hexdigest() if self.paths else ""

    def files(self) -> list[Path]:
        """All benchmark files, in order; `SettingsError` for paths that are not there."""
        found: list[Path] = []
        problems: list[str] = []
        for path in map(Path, self.paths):
            tables = [path] if path.is_file() else sorted(f for f in path.rglob("*") if _is_table(f, path))
            if not path.exists():
                problems.append(f"register.paths: no file or folder {str(path)!r}")
            elif not tables:
                problems.append(f"register.paths: no {', '.join(SUFFIXES)} in the folder {str(path)!r}")
            found += tables
        if problems:
            raise SettingsError("\n".join(problems))
        return found

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:  # noqa: ARG002 - reads no table
        """Read every file; an item that has no question is dropped with a reason."""
        from stages.register.formats import register

        register(self.files(), outputs)


def _is_table(file: Path, folder: Path) -> bool:
    if any(part.startswith(".") for part in file.relative_to(folder).parts):  # a cache, or another system's remarks
        return False
    suffixes = file.suffixes[-2:] if file.suffix == ".gz" else file.suffixes[-1:]
    return file.is_file() and bool(suffixes) and suffixes[0] in SUFFIXES
