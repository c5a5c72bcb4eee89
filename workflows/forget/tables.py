"""Rewriting the files of finished outputs: rows of documents that go are left out, the manifest follows last.

Each file takes the place of the old one by a rename, so a reader sees one or the other. If the work is cut short between
a file and its manifest, the same command goes on: what is gone already is not looked for, and every number in a manifest
is counted anew from the files.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.corpus import Document, Dropped
from schemas.manifest import Manifest, Output, Part, Shard

IDS = ("doc_id", "source_id", "row_id")  # columns that name a document
Change = Callable[[pa.Table], pa.Table]


def holds(folder: Path, output: Output, ids: Collection[str]) -> int:
    """How many rows of a table are about these documents."""
    wanted = pa.array(sorted(ids), pa.string())
    return sum(
        pc.sum(pc.is_in(c, wanted)).as_py() or 0 for part in output.parts for c in _id_columns(folder / part.path)
    )


def _id_columns(file: Path) -> Iterator[pa.ChunkedArray]:
    columns = [c for c in IDS if c in pq.read_schema(file).names]
    yield from pq.read_table(file, columns=columns, partitioning=None).itercolumns()


def without(ids: Collection[str]) -> Change:
    """Leave out the rows about these documents."""
    wanted = pa.array(sorted(ids), pa.string())

    def change(table: pa.Table) -> pa.Table:
        for column in [c for c in IDS if c in table.column_names]:
            table = table.filter(pc.invert(pc.is_in(table[column], wanted)))
        return table

    return change


def rewrite(file: Path, change: Change, more: pa.Table | None = None) -> None:
    """Rewrite a Parquet file, row group by row group, with `more` rows at its end."""
    temporary = file.with_suffix(".tmp")
    with pq.ParquetFile(file) as parquet, pq.ParquetWriter(temporary, parquet.schema_arrow, compression="zstd") as out:
        for group in range(parquet.num_row_groups):
            after = change(parquet.read_row_group(group))
            if after.num_rows:
                out.write_table(after)
        if more is not None and more.num_rows:
            out.write_table(more.cast(parquet.schema_arrow))
    temporary.replace(file)


def recount(folder: Path, forgotten: Collection[str], num_rows: Mapping[str, int]) -> Manifest:
    """Write the manifest anew from the files, with the digests that are gone; `num_rows` are the inputs' by folder."""
    old = Manifest.read(folder)
    outputs = {name: _counted(folder, output) for name, output in old.outputs.items()}
    shards = [s.model_copy(update={"outputs": _own(s, outputs)}) for s in old.shards]
    drops = [_drops(folder, shard, old) for shard in shards]
    shards = [s.model_copy(update={"dropped": d}) for s, d in zip(shards, drops, strict=True)]
    inputs = {
        name: given.model_copy(update={"num_rows": num_rows.get(str((folder / given.path).resolve()), given.num_rows)})
        for name, given in old.inputs.items()
    }
    changes: dict[str, Any] = {"outputs": outputs, "shards": tuple(shards), "inputs": inputs}
    changes["dropped"] = dict(sum((Counter(d) for d in drops), Counter()))
    changes["forgotten"] = tuple(sorted({*old.forgotten, *forgotten}))
    manifest = old.model_copy(update=changes)
    manifest.write(folder)
    return manifest


def _counted(folder: Path, output: Output) -> Output:
    parts = []
    for part in output.parts:
        file = folder / part.path
        found = {"num_rows": pq.read_metadata(file).num_rows, "size_bytes": file.stat().st_size}
        parts.append(part.model_copy(update=found))
    return output.model_copy(update={"parts": tuple(parts)})


def _own(shard: Shard, outputs: Mapping[str, Output]) -> dict[str, Output]:
    counted: dict[str, Part] = {part.path: part for output in outputs.values() for part in output.parts}
    return {
        name: output.model_copy(update={"parts": tuple(counted[p.path] for p in output.parts)})
        for name, output in shard.outputs.items()
    }


def _drops(folder: Path, shard: Shard, manifest: Manifest) -> dict[str, int]:
    tables = [n for n, o in manifest.outputs.items() if o.contract == Dropped.contract()]
    files = [folder / p.path for name in tables for p in shard.outputs[name].parts]
    reasons = [
        r for file in files for r in pq.read_table(file, columns=["reason"], partitioning=None)["reason"].to_pylist()
    ]
    return dict(Counter(reasons))


def documents(folder: Path, output: Output, ids: Collection[str]) -> pa.Table:
    """The rows of a table of documents that these ids name."""
    wanted = pa.array(sorted(ids), pa.string())
    schema = Document.arrow_schema()
    found = []
    for part in output.parts:
        with pq.ParquetFile(folder / part.path) as file:
            groups = (file.read_row_group(n) for n in range(file.num_row_groups))
            found += [g.filter(pc.is_in(g["doc_id"], wanted)).cast(schema) for g in groups]
    return pa.concat_tables(found) if found else schema.empty_table()
