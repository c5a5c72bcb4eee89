"""Register: benchmarks of others as rows, once, for decontamination and for evaluation."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from schemas.corpus import Dropped
from schemas.evaluation import BenchmarkItem
from stages.base import SettingsError, Stage, Strings
from stages.tables import Outputs, Reader


class Register(Stage):
    """Read benchmark files in the layouts their publishers use: ARC, MMLU, GSM8K, PubMedQA, HumanEval, or plain rows.

    A plain row is a JSON object with `question` and `answer` (a text, or the index or letter of a choice), and
    `choices`, `context` and `id` if there are any. Files are `.jsonl`, `.json` or `.csv`, also gzipped.
    """

    name = "register"
    halves = ""
    outputs = {"items": BenchmarkItem, "dropped": Dropped}
    located = frozenset({"paths"})

    paths: Strings = ()
    """Files, or folders that are searched for them. A benchmark is named by its file, or folder where that says more."""

    def external(self) -> str:
        """Return a digest of the files, wherever they lie."""
        hashed = hashlib.sha256()
        for file in self.files():
            hashed.update(f"{file.name}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
        return hashed.hexdigest() if self.paths else ""

    def files(self) -> list[Path]:
        """All benchmark files, in order; `SettingsError` for paths that are not there."""
        missing = [p for p in self.paths if not Path(p).expanduser().exists()]
        if missing:
            raise SettingsError("\n".join(f"register.paths: no file or folder {p!r}" for p in missing))
        found: list[Path] = []
        for path in (Path(p).expanduser() for p in self.paths):
            found += [path] if path.is_file() else sorted(f for f in path.rglob("*") if _is_table(f))
        return found

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:  # noqa: ARG002 - reads no table
        """Read every file; an item that has no question is dropped with a reason."""
        from stages.register.formats import register

        register(self.files(), outputs)


def _is_table(file: Path) -> bool:
    suffixes = file.suffixes[-2:] if file.suffix == ".gz" else file.suffixes[-1:]
    return file.is_file() and bool(suffixes) and suffixes[0] in (".jsonl", ".json", ".csv")
