"""What taking a document down means for each finished output, before anything is touched."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from schemas.corpus import Duplicate, Passage, RepeatedSpan, Sketch, SourceFile
from schemas.table import sha256_file
from schemas.tokens import TokenizedDocument, TokenOrder
from stages.dedup import Dedup
from stages.semantic import Semantic
from stages.substring import Substring
from stages.tables import Reader
from workflows.base import Node
from workflows.forget.copies import ASKED, Fate, fate
from workflows.forget.tables import holds

Rows = list[dict[str, Any]]


class Plan(BaseModel):
    """All that a takedown needs to know, so that one which was cut short can go on from the plan alone.

    `goes` are digests and reasons, `fates` what each run of dedup changes, by node; `gone_rows` are the row numbers that
    sketches lose and `gone_tokens` the rows that tokenized documents lose, by node; `files` are those of the user.
    """

    goes: dict[str, str]
    before: list[str]  # what was forgotten earlier: what is left of it goes too
    fates: dict[str, Fate]
    tables: Rows = []
    tokens: Rows = []
    files: list[str] = []
    void: list[str] = []  # nodes whose output no longer fits its inputs
    notes: list[str] = []
    gone_rows: dict[str, list[int]] = {}
    gone_tokens: dict[str, Rows] = {}
    sha256: dict[str, str] = {}  # of every Parquet and key file as it was: one that has another is done

    @classmethod
    def make(cls, nodes: Sequence[Node], doc_id: str, before: Mapping[str, str]) -> "Plan":
        """Decide who goes and look for their rows."""
        fates = {n.name: fate(n, n.stage, doc_id) for n in nodes if isinstance(n.stage, Dedup)}
        goes = {doc_id: ASKED} | {name: reason for f in fates.values() for name, reason in f.goes.items()}
        plan = cls(goes=goes, before=sorted(before), fates=fates)
        for node in nodes:
            plan._look(node)
        plan._say(nodes)
        return plan

    def take_digests(self, nodes: Sequence[Node]) -> None:
        """Note what the files are before they are touched."""
        for node in nodes:
            files = [node.path / p.path for o in node.manifest().outputs.values() for p in o.parts]
            files += sorted((node.path / "keys").glob("*.npy"))
            self.sha256 |= {str(f): sha256_file(f) for f in files if node.name not in self.void}

    @property
    def ids(self) -> frozenset[str]:
        """All documents of which nothing may be left."""
        return frozenset(self.before) | self.goes.keys()

    @property
    def back(self) -> list[str]:
        """Documents that come back."""
        return [name for f in self.fates.values() for name in f.back]

    def answer(self) -> dict[str, Any]:
        """What `--json` prints."""
        lists = {"tables": self.tables, "tokens": self.tokens, "files": self.files, "notes": self.notes}
        return {"goes": self.goes, "back": self.back, "void": self.void, **lists}

    def _look(self, node: Node) -> None:
        for name, output in node.manifest().outputs.items():
            count = holds(node.path, output, self.ids)
            if count:
                self.tables.append({"node": node.name, "table": name, "num_rows": count})
                self._look_closer(node, name, Reader(node.path / name, node.stage.outputs[name]))

    def _look_closer(self, node: Node, name: str, reader: Reader) -> None:
        if reader.row is TokenizedDocument:
            gone = rows_of(reader, self.ids)
            self.gone_tokens[node.name] = gone
            for file in dict.fromkeys(row["bin"] for row in gone):
                num_tokens = sum(row["num_tokens"] for row in gone if row["bin"] == file)
                self.tokens.append({"node": node.name, "bin": file, "num_tokens": num_tokens})
        elif reader.row is SourceFile:
            rows = rows_of(reader, self.ids)
            self.files += [r["blob"]["path"] if r["blob"] and not r["stored"] else r["path"] for r in rows]
        elif reader.row is Sketch:
            self.gone_rows[f"{node.name}/{name}"] = positions(reader, self.ids)

    def _say(self, nodes: Sequence[Node]) -> None:
        if self.tokens:
            self.void = [n.name for n in nodes if TokenOrder in n.stage.outputs.values()]
        for name in self.void:
            self.notes.append(
                f"{name}: its order is of the token files as they were, so it is void; parsl run makes it again"
            )
            after = [n.name for n in nodes if any(p.node.name == name for p in n.inputs.values())]
            if after:
                self.notes.append(
                    f"{', '.join(after)}: followed that order; to train without the document: --from {name} --force"
                )
        if self.back:
            readers = [n.name for n in nodes if any(p.node.name in self.fates for p in n.inputs.values())]
            readers = [n for n in readers if n != "evaluate"]
            self.notes.append(
                f"what comes back is in dedup's documents only; run again to train on it: {', '.join(readers)}"
            )
        if unknown := sum(f.unknown for f in self.fates.values()):
            self.notes.append(
                f"{unknown} documents were left out for one that only a filter knows; none of them comes back"
            )
        for node in nodes:
            if isinstance(node.stage, Semantic):
                self._say_shadowed(node)
            elif isinstance(node.stage, Substring):
                self._say_cut(node)
        if any(n.stage.name == "train_tokenizer" for n in nodes):
            self.notes.append("the tokenizer's merges were counted with the document among others, and stay")

    def _say_shadowed(self, node: Node) -> None:
        rows = Reader(node.path / "duplicates", Duplicate).table(["doc_id", "of"]).to_pylist()
        count = sum(row["of"] in self.ids and row["doc_id"] not in self.ids for row in rows)
        if count:
            start = node.inputs["embeddings"].node.name
            self.notes.append(
                f"{count} documents that {node.name} left out for one that goes stay left out; to decide anew: --from {start} --force"
            )

    def _say_cut(self, node: Node) -> None:
        ids = pa.array(sorted(self.ids), pa.string())
        passages = Reader(node.path / "passages", Passage).table(["passage_id", "doc_id"])
        theirs = passages.filter(pc.is_in(passages["doc_id"], ids))["passage_id"].combine_chunks()
        spans = Reader(node.path / "spans", RepeatedSpan).table(["doc_id", "passage_id", "cut"])
        lost = spans.filter(pc.and_(spans["cut"], pc.is_in(spans["passage_id"], theirs)))["doc_id"]
        count = len(set(lost.to_pylist()) - self.ids)
        if count:
            self.notes.append(
                f"{count} documents lost passages in {node.name} that stood first in one that goes; to cut anew: --from {node.name} --force"
            )


def rows_of(reader: Reader, ids: frozenset[str]) -> Rows:
    """The rows of a table about these documents, without their texts."""
    column = next(c for c in ("doc_id", "source_id", "row_id") if c in reader.row.model_fields)
    columns = [c for c in reader.row.model_fields if c not in ("text", "record")]
    wanted = pa.array(sorted(ids), pa.string())
    return [
        row for batch in reader.batches(columns) for row in batch.filter(pc.is_in(batch[column], wanted)).to_pylist()
    ]


def positions(reader: Reader, ids: frozenset[str]) -> list[int]:
    """The numbers of the rows of these documents."""
    wanted, found, first = pa.array(sorted(ids), pa.string()), [], 0
    for batch in reader.batches(["doc_id"]):
        found += [first + i for i, hit in enumerate(pc.is_in(batch["doc_id"], wanted).to_pylist()) if hit]
        first += batch.num_rows
    return found
