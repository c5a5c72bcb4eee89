"""An image's own test, run where there is no image: it passes where the stage works, and fails where it does not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from containers import check
from schemas.corpus import Dropped
from schemas.table import ContractError
from stages.base import PACKAGE_ROOT
from tests.tables import write_table


def fixture(folder: Path, settings: dict[str, object], files: int = 2) -> Path:
    """Papers for ingest, as `build_fixture` lays them out."""
    (folder / "papers").mkdir(parents=True)
    for i in range(files):
        (folder / "papers" / f"{i}.txt").write_text(f"A paper about basalt number {i}. " * 40)
    (folder / "settings.json").write_text(json.dumps({"paths": ["papers"], **settings}))
    (folder / "fixture.json").write_text(json.dumps({"stage": "ingest", "inputs": {}}))
    return folder


@pytest.mark.parametrize(
    ("settings", "files", "code", "words"),
    [
        ({}, 2, 0, "2 sources"),
        ({"pathz": 1}, 2, 2, "no such setting"),
        ({}, 0, 1, "no rows at all came out of the fixture"),
    ],
)
def test_the_stage_on_its_fixture(tmp_path, settings, files, code, words) -> None:
    """Rows of every output are counted; a stage that fails gives its own exit code and words, one without rows fails."""
    command = [
        sys.executable,
        "-P",
        str(PACKAGE_ROOT / "containers" / "check.py"),
        str(fixture(tmp_path, settings, files)),
    ]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert words in done.stdout + done.stderr
    assert not list(tmp_path.glob("**/manifest.json"))


def test_every_row_is_checked(tmp_path) -> None:
    """A table of the right schema with one row that breaks a limit is refused with the rule."""
    folder = write_table(tmp_path, Dropped, Dropped.sample(3), "dropped")
    assert check.check(folder, Dropped) == 3
    bad = Dropped.table([*Dropped.sample(2), Dropped.sample(1)[0].model_copy(update={"reason": ""})])
    pq.write_table(bad, next(folder.iterdir()))
    with pytest.raises(ContractError, match="reason: length >= 1: 1 row"):
        check.check(folder, Dropped)
