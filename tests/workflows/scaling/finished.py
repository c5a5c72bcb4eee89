"""Finished pretraining runs as `parsl fit-scaling` reads them, written for a test."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from schemas.health import Heartbeat
from schemas.manifest import Manifest, Shard
from schemas.table import Row
from schemas.training import DomainLoss, MeasuredDocument, Model, TrainStep, Validation
from stages.tables import Outputs

TABLES: dict[str, type[Row]] = {
    "model": Model,
    "steps": TrainStep,
    "validation": Validation,
    "domains": DomainLoss,
    "measured": MeasuredDocument,
    "heartbeats": Heartbeat,
}


def finished(
    folder: Path, weights: int, tokens: int, loss: float, changes: Mapping[str, Sequence[Row]] | None = None
) -> Path:
    """A run of two steps on one rank, measured at both; `changes` replaces tables."""
    rows: dict[str, Sequence[Row]] = {
        "model": [model(weights)],
        "steps": [step(1, tokens // 2), step(2, tokens)],
        "validation": [measured("unigram", 0, 9.0), measured("validation", 1, 8.0), measured("validation", 2, loss)],
        "domains": [of_domain("all", 2, loss - 0.1), of_domain("latex", 1, 7.0), of_domain("latex", 2, loss - 0.5)],
        "measured": [document("a", 100), document("b", 50)],
        "heartbeats": heartbeats(1),
    } | dict(changes or {})
    outputs = Outputs(folder, TABLES, (0, 1))
    for name, content in rows.items():
        outputs[name].write(content)
    tables = outputs.close()
    sizes = {"dropped": {}, "started": "", "seconds": 0.0, "peak_memory_bytes": 0, "host": "test"}
    shard = Shard.model_validate({"index": 0, "count": 1, "outputs": tables, **sizes})
    fields = {"stage": "pretrain", "version": 4, "fingerprint": "0" * 16, "settings": {}, "external": "", "inputs": {}}
    rest = {"outputs": tables, "dropped": {}, "shards": (shard,), "code_sha256": "", "git_commit": "", "packages": {}}
    Manifest.model_validate(fields | rest).write(folder)
    return folder


def model(weights: int) -> Model:
    """A model of so many weights."""
    return Model.sample(1)[0].model_copy(update={"num_parameters": weights})


def step(number: int, tokens: int, tokens_per_second: float = 1000.0) -> TrainStep:
    """A step, after which so many tokens were seen."""
    speed = {"tokens_per_second": tokens_per_second, "learning_rate": 1e-3, "gradient_norm": None}
    return TrainStep.model_validate({"phase": "pretrain", "step": number, "num_tokens": tokens, "loss": 5.0, **speed})


def measured(name: str, number: int, value: float) -> Validation:
    """A measurement."""
    return Validation(phase="pretrain", step=number, name=name, value=value, bits_per_byte=value)


def of_domain(domain: str, number: int, value: float) -> DomainLoss:
    """A measurement of a domain: `value` nats a token on ten tokens."""
    sizes = {"num_tokens": 10, "num_bytes": 30, "nats": 10 * value, "perplexity": 1.0, "bits_per_byte": 1.0}
    return DomainLoss.model_validate({"phase": "pretrain", "step": number, "domain": domain, **sizes})


def document(letter: str, tokens: int) -> MeasuredDocument:
    """A document that the loss is measured on."""
    return MeasuredDocument(doc_id=letter * 64, source="s", num_tokens=tokens, num_bytes=3 * tokens, domain="prose")


def heartbeats(ranks: int) -> list[Heartbeat]:
    """What so many ranks spent their time on."""
    (row,) = Heartbeat.sample(1)
    return [row.model_copy(update={"phase": "pretrain", "rank": rank}) for rank in range(ranks)]
