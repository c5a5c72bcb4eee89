"""From a folder of papers to token files: the data half of the life cycle."""

from stages.dedup import Dedup
from stages.filter import Filter
from stages.ingest import Ingest
from stages.parse import Parse
from stages.tokenize import Tokenize
from workflows.base import Node, Run


def workflow(run: Run) -> None:
    """Ingest, parse, filter, dedup, tokenize."""
    corpus(run)


def corpus(run: Run) -> tuple[Node, Node]:
    """The nodes of the unique documents and of their tokens, for recipes that go on from there."""
    found = run(Ingest())
    parsed = run(Parse(), sources=found["sources"])
    kept = run(Filter(), documents=parsed["documents"])
    unique = run(Dedup(), documents=kept["documents"])
    return unique, run(Tokenize(), documents=unique["documents"])
