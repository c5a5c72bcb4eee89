"""From a folder of papers to token files: the data half of the life cycle."""

from typing import NamedTuple

from stages.decontaminate import Decontaminate
from stages.dedup import Dedup
from stages.embed import Embed
from stages.filter import Filter
from stages.ingest import Ingest
from stages.register import Register
from stages.semantic import Semantic
from stages.sketch import Sketch
from stages.substring import Substring
from stages.tokenize import Tokenize
from stages.train_tokenizer import TrainTokenizer
from workflows.allotment import parsed
from workflows.base import Node, Run

# Licences under which a model may be trained and given away. Documents that name none are kept, and counted in the report.
OPEN = ("CC0-1.0", "CC-BY-4.0", "CC-BY-3.0", "CC-BY-2.0", "CC-BY-SA-4.0", "MIT", "Apache-2.0", "BSD-3-Clause")


def workflow(run: Run) -> None:
    """Ingest, parse, filter, sketch, dedup (substring, embed, semantic), register, decontaminate, train_tokenizer, tokenize."""
    corpus(run)


class Corpus(NamedTuple):
    """What recipes go on from: benchmarks' items, documents without copies and items, tokenizer, tokens."""

    benchmarks: Node
    clean: Node
    made: Node
    tokens: Node


def corpus(run: Run) -> Corpus:
    """The nodes from a folder of papers to token files."""
    found = run(Ingest())
    kept = run(Filter(licences=OPEN), documents=parsed(run, found["sources"])["documents"])
    sketched = run(Sketch(), documents=kept["documents"])
    unique = run(Dedup(), documents=kept["documents"], sketches=sketched["sketches"])
    if run.asked("substring"):
        unique = run(Substring(), documents=unique["documents"])
    if run.asked("embed", "semantic"):
        meant = run(Embed(), documents=unique["documents"])["embeddings"]
        unique = run(Semantic(), documents=unique["documents"], sketches=sketched["sketches"], embeddings=meant)
    benchmarks = run(Register())
    clean = run(Decontaminate(), documents=unique["documents"], items=benchmarks["items"])
    made = run(TrainTokenizer(), documents=clean["documents"])
    tokens = run(Tokenize(), documents=clean["documents"], tokenizer=made["tokenizer"], split=made["split"])
    return Corpus(benchmarks, clean, made, tokens)
