"""`parsl forget`: take a document, and its copies, out of everything that a recipe's stages have made.

Without `--yes` it says what it would do. With it, in this order: the digests go on the record (`forgotten.jsonl`, which
`ingest` obeys), token files and tables are rewritten, each stage's manifest after its files. Outputs keep their address:
the manifest says which digests are gone. What was computed from the text and is not a row of it stays, and is listed:
merges of a tokenizer, weights, and the steps and checkpoints that have seen the document.
"""

import argparse
import importlib.util
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.manifest import write_atomic
from schemas.table import ContractError
from schemas.training import Checkpoint
from stages.base import SettingsError
from stages.ingest import forgotten
from stages.tables import Reader
from workflows.base import Node
from workflows.forget.plan import Plan
from workflows.why import done_nodes, find

if TYPE_CHECKING:
    from rich.console import Console

REASON = "taken down"
JOURNAL = "forgetting.json"  # the plan, while it is being done


def forget(options: argparse.Namespace, console: "Console") -> int:
    """Show the plan; with `--yes`, do it."""
    if importlib.util.find_spec("duckdb") is None:
        raise SettingsError("forget needs 1 more package, duckdb: pip install -e '.[report]'")
    nodes = done_nodes(options)
    record = forgotten.record(nodes[0].path)
    journal = record.with_name(JOURNAL)
    if options.yes and journal.is_file():
        console.print(f"{'first':<13}the takedown that was cut short, by {journal}", markup=False)
        _finish(nodes, Plan.model_validate_json(journal.read_text()), journal)
        nodes = done_nodes(options)
    plan = Plan.make(nodes, _document(nodes, options.document, record), forgotten.read(record))
    seen = [line for node in nodes for line in _seen(node, sorted(plan.goes))]
    answer = {**plan.answer(), "seen": seen, "done": options.yes}
    if options.yes:
        forgotten.add(record, dict.fromkeys(plan.goes, options.reason or REASON))
        plan.take_digests(nodes)
        write_atomic(journal, plan.model_dump_json())
        _finish(nodes, plan, journal)
    if options.json:
        print(json.dumps(answer, ensure_ascii=False, indent=1))
        return 0
    for line in lines(answer):
        console.print(line, markup=False)
    return 0


def _finish(nodes: Sequence[Node], plan: Plan, journal: Path) -> None:
    from workflows.forget.apply import apply

    apply(nodes, plan)
    journal.unlink()


def _document(nodes: Sequence[Node], word: str, record: Path) -> str:
    """The document that a word means; one that is on the record need not be found any more."""
    known = [name for name in forgotten.read(record) if name.startswith(word.lower())]
    return known[0] if len(known) == 1 else find(nodes, word)


def _seen(node: Node, doc_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What a training has seen of these documents, and its checkpoints since then."""
    from workflows.trace import answers
    from workflows.trace.training import Training, ledger_table

    if ledger_table(node.manifest()) is None:
        return
    try:
        training = Training.open(node.path)
        found = [answers.document(training, doc_id) for doc_id in doc_ids if training.names().known([doc_id])]
    except (SettingsError, ContractError) as error:
        yield {"node": node.name, "problem": str(error)}
        return
    for answer in found:
        if answer["steps"]:
            first = answer["steps"][0]["step"]
            fields = {"first_step": first, "num_steps": len(answer["steps"]), "num_tokens": answer["num_seen"]}
            yield {"node": node.name, "doc_id": answer["doc_id"], **fields, "checkpoints": _checkpoints(node, first)}


def _checkpoints(node: Node, first: int) -> list[str]:
    tables = [n for n, o in node.manifest().outputs.items() if o.contract == Checkpoint.contract()]
    rows = [row for name in tables for row in Reader(node.path / name, Checkpoint).rows()]
    return [str(node.path / row.folder) for row in rows if row.step >= first]


def lines(answer: dict[str, Any]) -> Iterator[str]:
    """The plan for people."""
    does = answer["done"]
    for name, reason in answer["goes"].items():
        yield f"{'goes':<13}{name}  {reason}"
    for name in answer["back"]:
        yield f"{'comes back':<13}{name}  another work, left out for a copy that goes"
    for row in answer["tables"]:
        yield f"{'rewritten' if does else 'to rewrite':<13}{row['node']}/{row['table']}: {row['num_rows']} row(s) go"
    for row in answer["tokens"]:
        yield f"{'cut' if does else 'to cut':<13}{row['node']}: {row['num_tokens']} tokens of {row['bin']}"
    for file in answer["files"]:
        yield f"{'yours':<13}{file}: delete it yourself; ingest will refuse it from now on"
    for row in answer["seen"]:
        yield f"{'seen':<13}{_seen_words(row)}"
    for words in answer["notes"]:
        yield f"{'note':<13}{words}"
    if not does:
        yield "nothing was changed: --yes does it"


def _seen_words(row: dict[str, Any]) -> str:
    if "problem" in row:
        return f"by {row['node']}? {row['problem']}"
    held = ", ".join(row["checkpoints"]) or "no checkpoint is kept"
    return f"by {row['node']} in {row['num_steps']} step(s) from step {row['first_step']}, {row['doc_id'][:12]}: {held}"
