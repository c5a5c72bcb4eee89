"""The whole life cycle: from a folder of papers to a served, evaluated model."""

from stages.dedup import Dedup
from stages.deploy import Deploy
from stages.evaluate import Evaluate
from stages.filter import Filter
from stages.ingest import Ingest
from stages.parse import Parse
from stages.posttrain import Posttrain
from stages.pretrain import Pretrain
from stages.synthesize import Synthesize
from stages.tokenize import Tokenize
from workflows.base import Run


def workflow(run: Run) -> None:
    """Ingest, parse, filter, dedup, tokenize, synthesize, pretrain, posttrain, evaluate, deploy."""
    found = run(Ingest())
    parsed = run(Parse(), sources=found["sources"])
    kept = run(Filter(), documents=parsed["documents"])
    unique = run(Dedup(), documents=kept["documents"])
    tokens = run(Tokenize(), documents=unique["documents"])
    rows = run(Synthesize(), documents=unique["documents"], tokenized=tokens["documents"])
    base = run(
        Pretrain(), shards=tokens["shards"], documents=tokens["documents"], tokenizer=tokens["tokenizer"]
    )
    tuned = run(
        Posttrain(), model=base["model"], conversations=rows["conversations"], preferences=rows["preferences"]
    )
    held_out = {"questions": rows["questions"], "documents": unique["documents"], "tokenized": tokens["documents"]}
    run(Evaluate(), name="evaluate_base", model=base["model"], **held_out)
    run(Evaluate(), model=tuned["model"], **held_out)
    run(Deploy(), model=tuned["model"])
