"""Tables of documents for the stages, and the stages run as their commands are, in processes of their own."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from schemas.corpus import Document
from schemas.manifest import Manifest, Shard
from schemas.table import Row
from stages.base import PACKAGE_ROOT
from stages.tables import Outputs


class Ran(NamedTuple):
    """A stage's wall-clock seconds with its start, and its peak memory."""

    seconds: float
    peak_memory_bytes: int


def write_documents(folder: Path, batches: Iterable[pa.StringArray]) -> Path:
    """Write texts as a finished table of documents; returns the table's folder for `--documents`."""
    return write_table(folder, "documents", Document, _numbered(batches))


def _numbered(batches: Iterable[pa.StringArray]) -> Iterator[pa.Table]:
    first = 0
    for texts in batches:
        yield _rows(texts, first)
        first += len(texts)


def write_table(folder: Path, name: str, row: type[Row], batches: Iterable[pa.Table]) -> Path:
    """Write a finished table of one output; returns its folder."""
    outputs = Outputs(folder, {name: row}, (0, 1))
    for batch in batches:
        outputs[name].write(batch)
    tables = outputs.close()
    shard = Shard(
        index=0, count=1, outputs=tables, dropped={}, started="", seconds=0.0, peak_memory_bytes=0, host="benchmark"
    )
    facts: dict[str, Any] = {"version": 1, "settings": {}, "external": "", "inputs": {}, "dropped": {}, "packages": {}}
    Manifest(
        **{"stage": "benchmark", "fingerprint": "0" * 16, "code_sha256": "", "git_commit": "", **facts},
        outputs=tables,
        shards=(shard,),
    ).write(folder)
    return folder / name


def _rows(texts: pa.StringArray, first: int) -> pa.Table:
    schema, count = Document.arrow_schema(), len(texts)
    columns = {
        "doc_id": doc_ids(first, count),
        "text": texts,
        "pages": pa.array([[]] * count, schema.field("pages").type),
        "path": pa.array([f"{i}.txt" for i in range(first, first + count)]),
    }
    words = {"media_type": "text/plain", "source": "benchmark"}
    for field in schema:
        if field.name not in columns:
            value = words.get(field.name)
            empty = pa.array([[]] * count, field.type) if pa.types.is_list(field.type) else pa.nulls(count, field.type)
            columns[field.name] = pa.array([value] * count, pa.string()) if value else empty
    return pa.table([columns[name] for name in schema.names], schema=schema)


def doc_ids(first: int, count: int) -> pa.StringArray:
    """The names of numbered documents."""
    return pa.array([hashlib.sha256(b"%d" % i).hexdigest() for i in range(first, first + count)])


def run_stage(name: str, out: Path, settings: dict[str, Any], inputs: dict[str, Path], workers: int) -> Ran:
    """Run a stage by its command."""
    out.mkdir(parents=True)
    (out / "settings.json").write_text(json.dumps(settings))
    tables = [word for table, folder in inputs.items() for word in (f"--{table}", str(folder))]
    command: Sequence[str] = [sys.executable, "-m", f"stages.{name}", *tables]
    started = time.perf_counter()
    subprocess.run(
        [*command, "--out", str(out), "--config", str(out / "settings.json")],
        cwd=PACKAGE_ROOT,
        env=os.environ | {"BOREALIS_WORKERS": str(workers)},
        check=True,
    )
    return Ran(time.perf_counter() - started, Manifest.read(out).shards[0].peak_memory_bytes)
