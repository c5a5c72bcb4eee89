"""A whole run as it could come out, small: finished outputs of every stage with plausible rows, nothing computed."""

import hashlib
import json
import math
import os
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from schemas import corpus
from schemas.corpus import Document, Dropped, Duplicate, PageSpan, SourceFile
from schemas.evaluation import Question, Sample, Score
from schemas.manifest import Input, Manifest, Shard
from schemas.serving import Endpoint
from schemas.table import BlobRef, Row
from schemas.training import Checkpoint, Conversation, DomainLoss, Message, Model, Preference, TrainStep, Validation
from stages.base import Stage
from stages.dedup import Dedup
from stages.deploy import Deploy
from stages.evaluate import Evaluate
from stages.filter import Filter
from stages.ingest import Ingest
from stages.parse import Parse
from stages.posttrain import Posttrain
from stages.pretrain import Pretrain
from stages.sketch import Sketch
from stages.synthesize import Synthesize
from stages.tables import Outputs
from stages.tokenize import Tokenize
from stages.train_tokenizer import TrainTokenizer
from tests.workflows.report import fake_stream

START = datetime(2026, 11, 25, 9, 30, tzinfo=UTC)
LICENCES = ("CC-BY-4.0", "CC-BY-4.0", "CC-BY-4.0", "CC0-1.0", None)
HOSTILE = "papers/<script>alert(1)</script>.pdf"
NUM_FILES = 88
NUM_STEPS = 300
BLOB = BlobRef(path="blob", size_bytes=1000, sha256="0" * 64)


class Port(NamedTuple):
    """A stand-in for `workflows.base.Port`."""

    node: "Node"
    output: str


@dataclass(frozen=True)
class Node:
    """A stand-in for `workflows.base.Node`, with exactly what the report asks for."""

    name: str
    stage: Stage
    inputs: Mapping[str, Port]
    path: Path
    fingerprint: str

    def __getitem__(self, output: str) -> Port:
        return Port(self, output)


def digest(words: object) -> str:
    """A SHA-256 of anything that prints."""
    return hashlib.sha256(str(words).encode()).hexdigest()


class FakeRun:
    """Makes nodes and finishes them; `nodes` is what the report is given."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.nodes: list[Node] = []
        self._clock = START

    def node(self, stage: Stage, name: str = "", **inputs: Port) -> Node:
        """Add a node that has not run."""
        name = name or stage.name
        fingerprint = digest(name)[:16]
        self.nodes.append(Node(name, stage, inputs, self.root / stage.name / fingerprint, fingerprint))
        return self.nodes[-1]

    def finish(self, node: Node, seconds: float, **tables: Iterable[Row]) -> Node:
        """Write a node's tables and its manifest, the dropped rows counted by reason."""
        outputs = Outputs(node.path, node.stage.outputs, (0, 1))
        for name, rows in tables.items():
            for row in rows:
                if isinstance(row, Dropped):
                    outputs.drop(row.row_id, row.reason, row.detail, row.path)
                else:
                    outputs[name].write(row)
        written = outputs.close()
        shard = Shard(
            index=0, count=1, outputs=written, dropped=dict(outputs.dropped), started=self._clock.isoformat(),
            seconds=seconds, peak_memory_bytes=int(3e8 + seconds * 2e7), host="laptop-7",
        )  # fmt: skip
        self._clock += timedelta(seconds=seconds)
        self.manifest(node, (shard,)).write(node.path)
        return node

    def manifest(self, node: Node, shards: tuple[Shard, ...], *, stub: bool = False) -> Manifest:
        """What the core would write for these shards."""
        inputs = {}
        for key, port in node.inputs.items():
            rows = Manifest.read(port.node.path).outputs[port.output].num_rows
            path = os.path.relpath(port.node.path / port.output, node.path)
            inputs[key] = Input(fingerprint=port.node.fingerprint, path=path, num_rows=rows)
        return Manifest(
            stage=node.stage.name, version=node.stage.version, fingerprint=node.fingerprint,
            settings=node.stage.settings(), external=digest("files") if not inputs else "", inputs=inputs,
            outputs=shards[0].outputs, dropped=dict(sum((Counter(s.dropped) for s in shards), Counter())),
            shards=shards, code_sha256=digest(node.stage.name), git_commit=digest("commit")[:40],
            packages={"pyarrow": "26.0.0", "pydantic": "2.14.1"}, stub=stub,
        )  # fmt: skip


def life_cycle(root: Path) -> FakeRun:
    """The graph of `workflows/pretrain.py`, with nothing run."""
    run = FakeRun(root)
    found = run.node(Ingest())
    parsed = run.node(Parse(), sources=found["sources"])
    kept = run.node(Filter(), documents=parsed["documents"])
    sketched = run.node(Sketch(), documents=kept["documents"])
    unique = run.node(Dedup(), documents=kept["documents"], sketches=sketched["sketches"])
    trained = run.node(TrainTokenizer(), documents=unique["documents"])
    bpe = trained["tokenizer"]
    tokens = run.node(Tokenize(), documents=unique["documents"], tokenizer=bpe, split=trained["split"])
    order = run.node(fake_stream.STEPS, tokens=tokens["shards"], tokenizer=bpe)
    rows = run.node(Synthesize(), documents=unique["documents"], tokenized=tokens["documents"])
    fixed = {name: order[name] for name in order.stage.outputs}
    base = run.node(Pretrain(), tokens=tokens["shards"], documents=tokens["documents"], tokenizer=bpe, **fixed)
    talks, pairs = rows["conversations"], rows["preferences"]
    tuned = run.node(Posttrain(), model=base["model"], conversations=talks, preferences=pairs)
    for name, model in (("evaluate_base", base), ("evaluate", tuned)):
        run.node(
            Evaluate(),
            name,
            model=model["model"],
            questions=rows["questions"],
            documents=unique["documents"],
            tokenized=tokens["documents"],
        )
    run.node(Deploy(), model=tuned["model"])
    return run


def finished(root: Path) -> FakeRun:
    """The whole life cycle, done."""
    run = life_cycle(root)
    by_name = {n.name: n for n in run.nodes}
    sources = _sources()
    documents = [_document(i, s) for i, s in enumerate(sources) if i % 22 != 7]
    kept = [d for i, d in enumerate(documents) if i % 13 != 5]
    unique = [d for i, d in enumerate(kept) if i % 12 != 3]
    run.finish(by_name["ingest"], 1.84, sources=sources, dropped=_ingest_drops())
    run.finish(by_name["parse"], 71.2, documents=documents, dropped=_parse_drops(sources))
    run.finish(by_name["filter"], 2.31, documents=kept, dropped=_filter_drops(documents))
    run.finish(by_name["sketch"], 0.61, sketches=corpus.Sketch.sample(len(kept)))
    run.finish(by_name["dedup"], 0.51, documents=unique, **_dedup(kept))
    run.finish(by_name["train_tokenizer"], 2.4, **fake_stream.trained(BLOB))
    tokens = run.finish(by_name["tokenize"], 1.5, **fake_stream.tokenized(by_name["tokenize"].path, unique))
    order, ledger = fake_stream.indexed(tokens.path / "shards")
    run.finish(by_name["index"], 0.3, **order)
    run.finish(by_name["synthesize"], 0.84, **_synthesized(unique))
    run.finish(by_name["pretrain"], 262.5, **pretraining(), ledger=ledger)
    run.finish(by_name["posttrain"], 98.7, **_posttraining())
    for name, model, skill in (("evaluate_base", "borealis-base", 0.29), ("evaluate", "borealis-chat", 0.41)):
        run.finish(by_name[name], 33.3, **evaluated(model, skill))
    run.finish(by_name["deploy"], 14.6, endpoint=[_endpoint()])
    return run


def _sources() -> list[SourceFile]:
    kinds = ["application/pdf"] * 8 + ["application/jats+xml", "text/markdown"]
    return [
        SourceFile(
            source_id=digest(i), path=HOSTILE if i == 7 else f"papers/article-{i:03d}.pdf", media_type=kinds[i % 10],
            blob=BLOB, record=None, source="papers" if i % 10 < 8 else "notes", licence=LICENCES[i % 5],
            title=f"Article {i}", doi=None,
        )
        for i in range(NUM_FILES)
    ]  # fmt: skip


def _document(i: int, source: SourceFile) -> Document:
    pdf = source.media_type == "application/pdf"
    origin, parser = (
        ("native", "lxml") if not pdf else ("ocr", "tesseract") if i % 9 == 0 else ("text layer", "pypdfium2")
    )
    pages = [
        PageSpan(page=p + 1, start=p * 50, end=p * 50 + 50, parser=parser, origin=origin) for p in range(1 + i % 4)
    ]
    text = f"Document {i} says that the density of sample {i} is {i / 7:.2f} g/cm3. " * 4
    fields = source.model_dump(include={"media_type", "path", "source", "licence", "title", "doi"})
    return Document(doc_id=source.source_id, text=text, pages=pages, language="en", **fields)


def _drop(row_id: str, path: str, reason: str, detail: str) -> Dropped:
    return Dropped(row_id=row_id, path=path, reason=reason, detail=detail)


def _ingest_drops() -> list[Dropped]:
    return [
        _drop("a", "papers/empty.pdf", "empty file", ""),
        _drop("b", "papers/x.bin", "unknown type", "8 zero bytes"),
    ]


def _parse_drops(sources: list[SourceFile]) -> list[Dropped]:
    lost = [s for i, s in enumerate(sources) if i % 22 == 7]
    reasons = [("encrypted", "needs a password"), ("damaged", "no page tree & no <xref>")]
    return [_drop(s.source_id, s.path, *reasons[i % 2]) for i, s in enumerate(lost)]


def _filter_drops(documents: list[Document]) -> list[Dropped]:
    lost = [d for i, d in enumerate(documents) if i % 13 == 5]
    return [_drop(d.doc_id, d.path, "language" if i else "too short", "de, 0.98") for i, d in enumerate(lost)]


def _dedup(kept: list[Document]) -> dict[str, list[Any]]:
    lost = [d for i, d in enumerate(kept) if i % 12 == 3]
    repeats = [
        Duplicate(
            doc_id=d.doc_id,
            of=kept[0].doc_id if i == 0 else None,
            cluster=kept[0].doc_id if i == 0 else None,
            method="near" if i else "exact",
            score=None if i else 1.0,
            num_bands=14 - i,
            note="",
        )
        for i, d in enumerate(lost)
    ]
    drops = [_drop(d.doc_id, d.path, "near duplicate" if i else "exact duplicate", "") for i, d in enumerate(lost)]
    return {"duplicates": repeats, "dropped": drops}


def _synthesized(unique: list[Document]) -> dict[str, list[Any]]:
    ids = [d.doc_id for d in unique]
    turns = [Message(role="user", content="Q"), Message(role="assistant", content="A")]
    talks = [Conversation(row_id=i, messages=turns, split="train", doc_id=i, licence=None) for i in ids]
    prompt = {"prompt": turns[:1], "chosen": turns[1:], "rejected": turns[1:]}
    pairs = [Preference(row_id=i, split="train", doc_id=i, licence=None, **prompt) for i in ids]
    questions = [Question(row_id=i, question="?", choices=["a", "b"], answer=0, doc_id=i, licence=None) for i in ids]
    return {"conversations": talks, "preferences": pairs, "questions": questions}


def _curve(phase: str, num_steps: int, first: float, last: float, rate: float) -> list[TrainStep]:
    chance, rows = random.Random(phase), []
    for step in range(1, num_steps + 1):
        done = step / num_steps
        loss = last + (first - last) * math.exp(-5 * done) + chance.gauss(0, 0.04)
        learning_rate = rate * min(1.0, 12 * done) * (0.55 + 0.45 * math.cos(math.pi * done))
        norm = 0.4 + 3 * math.exp(-9 * done) + abs(chance.gauss(0, 0.08))
        speed = 9200 + chance.gauss(0, 260)
        rows.append(
            TrainStep(
                phase=phase, step=step, num_tokens=step * 4096, loss=loss, gradient_norm=norm,
                learning_rate=learning_rate, tokens_per_second=speed,
            )
        )  # fmt: skip
    return rows


def _measured(phase: str, name: str, points: Mapping[int, float], *, bytes_known: bool = False) -> list[Validation]:
    return [
        Validation(
            phase=phase, step=s, name=name, value=v, bits_per_byte=v / math.log(2) / 3.4 if bytes_known else None
        )
        for s, v in points.items()
    ]


DOMAINS = {  # bytes, and how much harder than all text
    "all": (91_000, 1.0),
    "prose": (70_000, 0.93),
    "latex": (9_000, 1.2),
    "code": (3_000, 0.8),
    "number": (5_000, 1.9),
    "smiles": (4_000, 1.4),
}


def pretraining() -> dict[str, list[Any]]:
    """Rows of a pretraining that beats its unigram baseline."""
    values = {s: 3.15 + 5.2 * math.exp(-5 * s / NUM_STEPS) for s in range(50, NUM_STEPS + 1, 50)}
    held_out = _measured("pretrain", "unigram", {0: 6.31}, bytes_known=True)
    held_out += _measured("pretrain", "validation", values, bytes_known=True)
    checkpoints = [
        Checkpoint(
            phase="pretrain", step=s, num_tokens=s * 4096, folder=f"checkpoints/step-{s:06d}", size_bytes=21_400_000
        )
        for s in (250, 300)
    ]
    domains = [_domain(name, s, value) for s, value in values.items() for name in DOMAINS]
    steps = _curve("pretrain", NUM_STEPS, 8.3, 3.05, 2e-3)
    return {
        "model": [_model("borealis-base", "pretrain")],
        "steps": steps,
        "validation": held_out,
        "domains": domains,
        "checkpoints": checkpoints,
    }


def _domain(name: str, step: int, nats: float) -> DomainLoss:
    num_bytes, harder = DOMAINS[name]
    nats, num_tokens = nats * harder, num_bytes // 3
    sizes = {"num_tokens": num_tokens, "num_bytes": num_bytes, "nats": nats * num_tokens}
    bits = nats * num_tokens / math.log(2) / num_bytes
    return DomainLoss.model_validate(
        {
            "phase": "pretrain",
            "step": step,
            "domain": name,
            **sizes,
            "perplexity": math.exp(nats),
            "bits_per_byte": bits,
        }
    )


def _posttraining() -> dict[str, list[Any]]:
    steps = _curve("sft", 60, 3.9, 1.6, 3e-4) + _curve("dpo", 30, 0.70, 0.48, 5e-5)
    held_out = _measured("sft", "held-out loss", {0: 3.92, 60: 1.78})
    held_out += _measured("dpo", "held-out loss", {0: 0.6931, 30: 0.533})
    held_out += _measured("dpo", "preference accuracy", {0: 0.5, 30: 0.81})
    return {"model": [_model("borealis-chat", "dpo")], "steps": steps, "validation": held_out}


def _model(name: str, phase: str) -> Model:
    files = [
        BlobRef(path=f"model/{f}", size_bytes=b, sha256="0" * 64)
        for f, b in (("config.json", 700), ("model.safetensors", 14_200_000))
    ]
    shape = {"architecture": "LlamaForCausalLM", "num_parameters": 3_540_000, "context_tokens": 256}
    return Model(name=name, phase=phase, files=files, **shape)


def evaluated(model: str, skill: float, num_items: int = 80) -> dict[str, list[Any]]:
    """Scores of a model that is right on a `skill` part of the questions, and its samples."""
    chance = random.Random(f"{model} {skill}")
    hits = [chance.random() < skill for _ in range(num_items)]
    samples = [_item(model, i, chance, right=hit) for i, hit in enumerate(hits)]
    samples += [
        Sample(
            model=model, task="answers", sample_id=i, prompt=f"What is the density of sample {i}?",
            target=f"{i / 7:.2f} g/cm³", metrics="{}", responses=[],
            choices=[f"The density of sample {i} is {i / 7 + (1 - skill):.2f} g/cm³ & <b>not</b> more."],
        )
        for i in range(4)
    ]  # fmt: skip
    acc = sum(hits) / num_items
    error = math.sqrt(acc * (1 - acc) / num_items)
    found = [
        ("corpus_mcq", "acc", acc, error, True),
        ("corpus_mcq", "acc_norm", acc + 0.06, error, True),
        ("corpus_mcq", "chance", 0.25, None, True),
        ("held_out_perplexity", "bits_per_byte", 2.1 - skill, 0.08, False),
        ("held_out_perplexity", "unigram_bits_per_byte", 2.68, None, False),
        ("held_out_perplexity", "word_perplexity", 900 - 1000 * skill, 120.0, False),
    ]
    scores = [
        Score(model=model, task=t, metric=m, value=v, standard_error=e, num_samples=num_items, higher_is_better=h)
        for t, m, v, e, h in found
    ]
    return {"scores": scores, "samples": samples}


def _item(model: str, i: int, chance: random.Random, *, right: bool) -> Sample:
    choices = [f"{(i + k) / 7:.2f} g/cm³" for k in range(4)]
    truth = i % 4
    chosen = truth if right else (truth + 1) % 4
    responses = [-chance.uniform(4, 9) for _ in range(4)]
    responses[chosen] = -2.0
    metrics = json.dumps({"acc": float(right)})
    prompt = f"According to article {i}, what was the density of sample {i} at 20 °C?"
    return Sample(
        model=model, task="corpus_mcq", sample_id=i, prompt=prompt, target=choices[truth], choices=choices,
        responses=responses, metrics=metrics,
    )  # fmt: skip


def _endpoint() -> Endpoint:
    return Endpoint(
        url="http://127.0.0.1:40123/v1", model="borealis-chat", host="laptop-7", pid=4711, process_started=0.0,
        prompt="What isn't the density of sample 3?", answer="The density of sample 3 is 0.43 g/cm³.",
    )  # fmt: skip
