"""Doing what the plan says, node after node in the recipe's order.

A file is rewritten if it is still what it was when the plan was made. So a takedown that was cut short anywhere is ended
by doing it again from its plan.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.corpus import DedupFile, Document, Duplicate, SourceFile
from schemas.manifest import NAME, Manifest, Output
from schemas.table import sha256_file
from schemas.tokens import TokenizedDocument, TokenShard
from stages.parse import times
from workflows.base import Node
from workflows.forget import index, tables, tokens
from workflows.forget.plan import Plan


def apply(nodes: Sequence[Node], plan: Plan) -> None:
    """Rewrite what the plan names. Void outputs lose their manifests first, so that nobody builds on them meanwhile."""
    num_rows: dict[str, int] = {}
    for node in nodes:
        if node.name in plan.void:
            (node.path / NAME).unlink(missing_ok=True)
    for node in nodes:
        if node.name not in plan.void and node.done:
            manifest = node.manifest()
            _delete_files(node, manifest, plan)
            times.forget(node.path, plan.ids)
            for name, output in manifest.outputs.items():
                _rewrite(node, name, output, plan)
            had_rows = any(row["node"] == node.name for row in plan.tables)
            manifest = tables.recount(node.path, plan.goes if had_rows else (), num_rows)
            num_rows |= {str((node.path / name).resolve()): o.num_rows for name, o in manifest.outputs.items()}


def _rewrite(node: Node, name: str, output: Output, plan: Plan) -> None:
    held = any((row["node"], row["table"]) == (node.name, name) for row in plan.tables)
    dedup, tokenized = node.name in plan.fates, node.name in plan.gone_tokens
    if not (held or dedup or (tokenized and output.contract in (TokenShard.contract(), TokenizedDocument.contract()))):
        return
    for number, part in enumerate(output.parts):
        file = node.path / part.path
        if sha256_file(file) == plan.sha256[str(file)]:
            last = number == len(output.parts) - 1
            more = _returned(node, plan) if dedup and output.contract == Document.contract() and last else None
            tables.rewrite(file, _change(node, output.contract, plan), more)


def _change(node: Node, contract: str, plan: Plan) -> tables.Change:
    """What becomes of a table's rows."""
    without = tables.without(plan.ids)
    if contract == TokenizedDocument.contract():
        gone = plan.gone_tokens[node.name]
        return lambda table: _rows([tokens.moved(row, gone) for row in without(table).to_pylist()], table)
    if contract == TokenShard.contract():
        gone = plan.gone_tokens[node.name]
        return lambda table: TokenShard.table(
            tokens.cut(TokenShard.model_validate(row), node.path, gone) for row in table.to_pylist()
        )
    if contract == DedupFile.contract():
        rows = np.array(_gone_rows(node, plan), np.uint64)
        return lambda table: DedupFile.table(
            index.renumber(node.path, map(DedupFile.model_validate, table.to_pylist()), rows, plan.sha256)
        )
    if node.name in plan.fates and contract != Document.contract():
        return lambda table: _without_returned(without(table), node, plan)
    return without


def _gone_rows(node: Node, plan: Plan) -> list[int]:
    port = node.inputs["sketches"]
    return plan.gone_rows.get(f"{port.node.name}/{port.output}", [])


def _rows(rows: list[dict[str, object]], table: pa.Table) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=table.schema)


def _without_returned(table: pa.Table, node: Node, plan: Plan) -> pa.Table:
    """Rows of `duplicates` and `dropped`: none of who comes back, new ones of who is left out for it."""
    fate = plan.fates[node.name]
    rows = [row for row in table.to_pylist() if row.get("doc_id", row.get("row_id")) not in fate.back]
    return _rows([_moved(row, fate.moved) for row in rows], table)


def _moved(row: dict[str, object], moved: Mapping[str, Duplicate]) -> dict[str, object]:
    """A row of `duplicates` or `dropped` about a document that is left out for another one now."""
    now = moved.get(str(row.get("doc_id", row.get("row_id"))))
    if now is None:
        return row
    return now.model_dump() if "of" in row else {**row, "detail": f"like {now.of}"}


def _returned(node: Node, plan: Plan) -> pa.Table:
    """The documents that come back, to stand last."""
    source = node.inputs["documents"]
    output = source.node.manifest().outputs[source.output]
    return tables.documents(source.node.path, output, plan.fates[node.name].back)


def _delete_files(node: Node, manifest: Manifest, plan: Plan) -> None:
    """Files of the documents that lie in the output itself, unpacked from an archive.

    No `Reader` reads a part that was rewritten already, in a takedown that was cut short before the manifest.
    """
    wanted = pa.array(sorted(plan.ids), pa.string())
    parts = [
        p for output in manifest.outputs.values() if output.contract == SourceFile.contract() for p in output.parts
    ]
    for part in parts:
        table = pq.read_table(node.path / part.path, columns=["source_id", "blob"], partitioning=None)
        for blob in table.filter(pc.is_in(table["source_id"], wanted))["blob"].to_pylist():
            if blob and not Path(blob["path"]).is_absolute():
                (node.path / blob["path"]).unlink(missing_ok=True)
