"""A document's whole life: each stage's row about it, from the file to the token file or to the reason it was dropped.

Nothing is kept for this: every table that has a column of document ids is asked for the id, without its long columns.
"""

import argparse
import importlib.util
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow.compute as pc
import pyarrow.dataset as ds

from schemas.corpus import (
    Certificate,
    DedupFile,
    Document,
    Dropped,
    Duplicate,
    Embedding,
    RepeatedSpan,
    SimilarityCount,
    Sketch,
    SourceFile,
)
from schemas.manifest import Output, lineage
from schemas.tokens import TokenizedDocument
from stages.base import SettingsError
from stages.ingest import forgotten
from workflows.base import Node, load_recipe
from workflows.site import load_site

if TYPE_CHECKING:
    from rich.console import Console

IDS = ("doc_id", "source_id", "row_id")  # columns that name a document
LONG = {"text", "record", "band_keys", "vector"}  # columns that are not shown, nor read
NO_ROWS = {Certificate.contract(), DedupFile.contract(), SimilarityCount.contract()}
MAX_COPIES = 10
Fields = dict[str, Any]


class Event(NamedTuple):
    """What a stage has about the document: a row of one of its tables."""

    node: str
    table: str
    contract: str
    row: Fields


def why(options: argparse.Namespace, console: "Console") -> int:
    """`parsl why`: find the document, gather its rows, print them in words or as JSON."""
    if importlib.util.find_spec("duckdb") is None:
        raise SettingsError("why needs 1 more package, duckdb: pip install -e '.[report]'")
    nodes = done_nodes(options)
    answer = life(nodes, find(nodes, options.document))
    if options.json:
        print(json.dumps(answer, ensure_ascii=False, indent=1))
        return 0
    for line in lines(answer):
        console.print(line, markup=False)
    return 0


def done_nodes(options: argparse.Namespace) -> list[Node]:
    """The recipe's nodes that are done, in its order; `SettingsError` if none is."""
    recipe = load_recipe(
        options.recipe, load_site(options.site).root, options.read_overrides(options.set, options.settings)
    )
    nodes = [n for n in recipe.nodes if n.done]
    if not nodes:
        raise SettingsError(f"nothing of {options.recipe} is done at {options.site}: parsl run {options.recipe}")
    return nodes


def find(nodes: Sequence[Node], word: str) -> str:
    """The id of the document that a word means: an id or its beginning, a DOI, a path; else the nearest are named."""
    from workflows.trace.names import Names

    last = max(nodes, key=lambda n: len(list(lineage(n.path))))
    try:
        return Names(last.path).find(word).doc_id
    except SettingsError as error:
        gone = forgotten.read(forgotten.record(last.path))
        for digest in gone:
            if digest.startswith(word.lower()):
                raise SettingsError(f"{digest} was taken down: {gone[digest]}") from None
        raise SettingsError(str(error).removeprefix("--document ")) from None


def life(nodes: Sequence[Node], doc_id: str) -> Fields:
    """All rows about a document in the order of the recipe, its copies, and what became of it."""
    events = [e for node in nodes for e in _events(node, doc_id)]
    copies = [e.row for node in nodes for e in _matching(node, Duplicate.contract(), "of", doc_id)]
    return {"doc_id": doc_id, "fate": _fate(events), "life": [e._asdict() for e in events], "copies": copies}


def _events(node: Node, doc_id: str) -> Iterator[Event]:
    for name, output in node.manifest().outputs.items():
        if output.contract not in NO_ROWS:
            columns = node.stage.outputs[name].model_fields
            for column in [c for c in IDS if c in columns]:
                yield from _matching(node, output.contract, column, doc_id)


def _matching(node: Node, contract: str, column: str, doc_id: str) -> Iterator[Event]:
    for name, output in node.manifest().outputs.items():
        if output.contract == contract:
            row = node.stage.outputs[name]
            wanted = [c for c in row.model_fields if c not in LONG]
            table = _dataset(node, output, row.arrow_schema()).to_table(wanted, filter=pc.field(column) == doc_id)
            yield from (Event(node.name, name, contract, fields) for fields in table.to_pylist())


def _dataset(node: Node, output: Output, schema: Any) -> Any:
    return ds.dataset([str(node.path / p.path) for p in output.parts], schema=schema, format="parquet")


def _fate(events: Sequence[Event]) -> str:
    for event in events:
        if event.contract == Dropped.contract():
            return f"dropped by {event.node}: {event.row['reason']}"
    tokenized = [e for e in events if e.contract == TokenizedDocument.contract()]
    if tokenized:
        return f"{tokenized[-1].row['num_tokens']} tokens of {tokenized[-1].row['split']}"
    return f"came as far as {events[-1].node}" if events else "no stage has a row about it"


# ---- in words


def lines(answer: Fields) -> Iterator[str]:
    """The answer for people, a line a stage."""
    yield f"{'document':<15}{answer['doc_id']}"
    counted = Counter((e["node"], e["table"]) for e in answer["life"])
    shown = set()
    for event in answer["life"]:
        place = (event["node"], event["table"])
        if event["contract"] in WORDS:
            yield f"{event['node']:<15}{WORDS[event['contract']](event['row'])}"
        elif place not in shown:
            shown.add(place)
            yield f"{event['node']:<15}{counted[place]} {event['table']}"
    for row in answer["copies"][:MAX_COPIES]:
        yield f"{'copy':<15}{row['doc_id']}  {_likeness(row)}"
    if (more := len(answer["copies"]) - MAX_COPIES) > 0:
        yield f"{'':<15}and {more} more copies"
    yield f"{'so':<15}{answer['fate']}"


def _source(row: Fields) -> str:
    facts = (
        row["path"],
        row["media_type"],
        row["licence"] or "no licence",
        row["doi"] and f"doi {row['doi']}",
        row["title"],
    )
    return ", ".join(f for f in facts if f)


def _document(row: Fields) -> str:
    pages = Counter(f"{p['parser']} ({p['origin']})" for p in row["pages"])
    parsers = ", ".join(f"{count} by {parser}" for parser, count in pages.most_common())
    language = f", {row['language']}" if row["language"] else ""
    return f"passed on{f', pages: {parsers}' if parsers else ''}{language}"


def _sketch(row: Fields) -> str:
    names = ", ".join(row["works"]) or "no name"
    return f"{row['num_shingles']} n-grams, quality {row['quality']:.2f}; known as {names}"


def _duplicate(row: Fields) -> str:
    of = f"copy of {row['of']}" if row["of"] else "copy of a document that only a filter has seen"
    note = f"; {row['note']}" if row["note"] else ""
    return f"{of}: {_likeness(row)}, cluster {(row['cluster'] or 'unknown')[:12]}{note}"


def _likeness(row: Fields) -> str:
    if row["method"] == "semantic":
        return f"same meaning, cosine {row['score']:.3f}"
    score = f", similarity {row['score']:.3f}" if row["score"] is not None else ""
    return f"{row['method']}{score}, {row['num_bands']} bands"


def _repeated(row: Fields) -> str:
    does = "cut" if row["cut"] else "repeated"
    return (
        f"{does}: characters {row['start']}..{row['end']}, {row['num_words']} words of passage {row['passage_id'][:12]}"
    )


def _embedding(row: Fields) -> str:
    return f"embedded from {row['num_chunks']} chunks" if row["num_chunks"] else "not embedded: it has no words"


def _tokens(row: Fields) -> str:
    return f"{row['split']}: tokens {row['start']}..{row['start'] + row['num_tokens'] - 1} of {row['bin']}"


WORDS: Mapping[str, Callable[[Fields], str]] = {
    SourceFile.contract(): _source,
    Document.contract(): _document,
    Sketch.contract(): _sketch,
    Duplicate.contract(): _duplicate,
    RepeatedSpan.contract(): _repeated,
    Embedding.contract(): _embedding,
    Dropped.contract(): lambda row: f"dropped: {row['reason']}: {row['detail']}".removesuffix(": "),
    TokenizedDocument.contract(): _tokens,
}
