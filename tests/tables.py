"""Finished stage outputs, written for a test."""

from collections.abc import Iterable
from pathlib import Path

from schemas.manifest import Manifest, Shard
from schemas.table import Row
from stages.tables import Outputs


def write_table(folder: Path, row: type[Row], rows: Iterable[Row], name: str) -> Path:
    """Write `rows` as table `name` of a finished output in `folder`; returns the table's folder for `--<input>`."""
    outputs = Outputs(folder, {name: row}, (0, 1))
    outputs[name].write(rows)
    tables = outputs.close()
    shard = Shard(
        index=0, count=1, outputs=tables, dropped={}, started="", seconds=0.0, peak_memory_bytes=0, host="test"
    )
    Manifest(
        stage="test",
        version=1,
        fingerprint="0" * 16,
        settings={},
        external="",
        inputs={},
        outputs=tables,
        dropped={},
        shards=(shard,),
        code_sha256="",
        git_commit="",
        packages={},
    ).write(folder)
    return folder / name
