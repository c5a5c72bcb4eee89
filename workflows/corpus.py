"""From a folder of papers to token files: the data half of the life cycle."""

from stages.dedup import Dedup
from stages.filter import Filter
from stages.ingest import Ingest
from stages.parse import Parse
from stages.sketch import Sketch
from stages.tokenize import Tokenize
from stages.train_tokenizer import TrainTokenizer
from workflows.base import Node, Run

# Licences under which a model may be trained and given away. Documents that name none are kept, and counted in the report.
OPEN = ("CC0-1.0", "CC-BY-4.0", "CC-BY-3.0", "CC-BY-2.0", "CC-BY-SA-4.0", "MIT", "Apache-2.0", "BSD-3-Clause")


def workflow(run: Run) -> None:
    """Ingest, parse, filter, sketch, dedup, train_tokenizer, tokenize."""
    corpus(run)


def corpus(run: Run) -> tuple[Node, Node, Node]:
    """The nodes of the unique documents, of the tokenizer and of the tokens, for recipes that go on from there."""
    found = run(Ingest())
    parsed = run(Parse(), sources=found["sources"])
    kept = run(Filter(licences=OPEN), documents=parsed["documents"])
    sketched = run(Sketch(), documents=kept["documents"])
    unique = run(Dedup(), documents=kept["documents"], sketches=sketched["sketches"])
    made = run(TrainTokenizer(), documents=unique["documents"])
    tokens = run(Tokenize(), documents=unique["documents"], tokenizer=made["tokenizer"], split=made["split"])
    return unique, made, tokens
