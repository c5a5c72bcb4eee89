"""An image's own test: its stage, on ten rows or fewer that it carries, writes what its contract says.

Runs inside the image, where there is nothing but the stage, what it shares, and the contracts.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from schemas.manifest import Manifest
from schemas.table import ContractError, Row
from stages.base import Stage
from stages.tables import Reader


def main(fixture: Path) -> None:
    """Run the stage of `fixture` on its tables; exit code and last line are the stage's where it fails."""
    told = json.loads((fixture / "fixture.json").read_text())
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out"
        inputs = [word for key, path in told["inputs"].items() for word in (f"--{key}", str(fixture / path))]
        settings = fixture / "settings.json"
        command = [sys.executable, "-P", "-m", f"stages.{told['stage']}", "--config", str(settings), "--out", str(out)]
        environment = {
            **os.environ,
            "NUMBA_CACHE_DIR": scratch,
        }  # while an image is built there is no home to keep it in
        if code := subprocess.run([*command, *inputs], cwd=fixture, env=environment, check=False).returncode:
            sys.exit(code)
        rows = {name: check(out / name, row) for name, row in declared(told["stage"]).outputs.items()}
        Manifest.read(out)
    print(f"stages.{told['stage']}: {', '.join(f'{n} {name}' for name, n in rows.items())}")
    if not any(rows.values()):
        sys.exit("no rows at all came out of the fixture")


def check(folder: Path, row: type[Row]) -> int:
    """Read a table back under its contract, every row of it; returns how many there are."""
    reader = Reader(folder, row)
    _, failures = row.filter(reader.table())
    if failures.counts:
        raise ContractError(str(folder), [f"{rule}: {n} row(s)" for rule, n in failures.counts.items()])
    return reader.num_rows


def declared(name: str) -> type[Stage]:
    """The stage of a name, as its package declares it."""
    importlib.import_module(f"stages.{name}")
    return next(s for s in Stage.__subclasses__() if s.name == name)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
