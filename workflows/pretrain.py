"""The whole life cycle: from a folder of papers to a served, evaluated model."""

from stages.deploy import Deploy
from stages.evaluate import Evaluate
from stages.index import Index
from stages.posttrain import Posttrain
from stages.pretrain import Pretrain
from stages.synthesize import Synthesize
from workflows.base import Run
from workflows.corpus import corpus


def workflow(run: Run) -> None:
    """The corpus and its tokens, then synthesize, index, pretrain, posttrain, evaluate, deploy."""
    benchmarks, clean, made, tokens = corpus(run)
    rows = run(Synthesize(), documents=clean["documents"], tokenized=tokens["documents"])
    index = run(Index(), tokens=tokens["shards"], tokenizer=made["tokenizer"])
    base = run(
        Pretrain(),
        tokens=tokens["shards"],
        documents=tokens["documents"],
        tokenizer=made["tokenizer"],
        order=index["order"],
        mixture=index["mixture"],
        arrays=index["arrays"],
    )
    tuned = run(Posttrain(), model=base["model"], conversations=rows["conversations"], preferences=rows["preferences"])
    for name, model in (("evaluate_base", base), ("evaluate", tuned)):
        run(
            Evaluate(),
            name=name,
            model=model["model"],
            questions=rows["questions"],
            documents=clean["documents"],
            tokenized=tokens["documents"],
            items=benchmarks["items"],
            overlaps=clean["overlaps"],
        )
    run(Deploy(), model=tuned["model"])
