"""A tiny random Llama with a byte-level tokenizer, questions and held-out texts, and the stage run on them."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# Read at import, which a test does before the stage can.
os.environ.update({"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"})

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from schemas.corpus import Document
from schemas.evaluation import BLANK, BenchmarkItem, ItemOverlap, Question
from schemas.table import BlobRef
from schemas.tokens import TokenizedDocument
from schemas.training import Model
from stages.command import main
from stages.evaluate import Evaluate
from stages.tables import Reader
from tests.tables import write_table

CONTEXT = 64
END = "<|endoftext|>"
CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TEXTS = [
    f"The density of alloy {i} is {3 + i / 7:.2f} g/cm³, and its melting point is {700 + 13 * i} °C. "
    f"It was measured {i + 2} times, with care, and without any doubt about the result. " * (i % 3 + 1)
    for i in range(12)
]
Tables = dict[str, list[dict[str, Any]]]


class Inputs(NamedTuple):
    """The stage's inputs as arguments, and the model's folder."""

    arguments: list[str]
    folder: Path


Runner = Callable[..., Tables]


def build_model(folder: Path, *, context: int = CONTEXT, chat: bool = False) -> Path:
    """A Llama of 30,000 random parameters in float32, and a tokenizer trained on `TEXTS`."""
    folder.mkdir(parents=True)
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(TEXTS, vocab_size=320, special_tokens=[END], show_progress=False)
    bpe.save(str(folder / "bpe.json"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "bpe.json"), eos_token=END, bos_token=END)
    (folder / "bpe.json").unlink()
    if chat:
        tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=0.5,  # far from uniform, so that choices differ
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def questions(count: int = 10) -> list[Question]:
    """Cloze questions, one of them without a blank."""
    rows = []
    for i in range(count):
        text = f"The density of alloy {i} is {BLANK}, and its melting point is high." if i else "What is light?"
        choices = [f"{3 + (i + j) / 7:.2f} g/cm³" for j in range(4)]
        fields = {"row_id": f"q{i}", "question": text, "choices": choices, "answer": i * 3 % 4}
        rows.append(Question(**fields, doc_id=f"d{i}", licence=None))
    return rows


def documents(texts: Sequence[str] = TEXTS) -> list[Document]:
    """A document a text."""
    columns: dict[str, Any] = dict.fromkeys(("licence", "title", "doi", "language"))
    return [
        Document(
            doc_id=hashlib.sha256(text.encode()).hexdigest(),
            text=text,
            pages=[],
            media_type="text/plain",
            path=f"{i}.txt",
            source="test",
            **columns,
        )
        for i, text in enumerate(texts)
    ]


BENCHMARK = [
    BenchmarkItem(
        benchmark="toy/stars",
        item_id=str(i),
        question=f"Which of these is star number {i}?",
        choices=[f"Vega {i}", f"Deneb {i}", "the Moon"],
        answer=f"Deneb {i}",
        context="Stars have names." if i % 2 else "",
    )
    for i in range(6)
] + [BenchmarkItem(benchmark="toy/free", item_id="0", question="Why?", choices=[], answer="So.", context="")]
DIRTY = ("2", "5")  # item ids that were found in the corpus


def write_inputs(
    folder: Path, model: Path, asked: Sequence[Question], texts: Sequence[str], items: Sequence[BenchmarkItem] = ()
) -> Inputs:
    """All tables; of the documents every second is held out."""
    rows = documents(texts)
    tokenized = [
        TokenizedDocument(
            doc_id=d.doc_id,
            split="train" if i % 2 else "validation",
            bin="tokens/x.bin",
            start=0,
            num_tokens=1,
            num_bytes=len(d.text.encode()),
            source=d.source,
            licence=None,
        )
        for i, d in enumerate(rows)
    ]
    files = [BlobRef.of(f) for f in sorted(model.iterdir())]
    fields = {"name": "tiny", "phase": "pretrain", "architecture": "LlamaForCausalLM"}
    row = Model(**fields, num_parameters=1, context_tokens=CONTEXT, files=files)
    tables = {
        "model": write_table(folder / "model", Model, [row], name="model"),
        "questions": write_table(folder / "questions", Question, asked, name="questions"),
        "documents": write_table(folder / "documents", Document, rows, name="documents"),
        "tokenized": write_table(folder / "tokenized", TokenizedDocument, tokenized, name="documents"),
        "items": write_table(folder / "items", BenchmarkItem, items, name="items"),
        "overlaps": write_table(folder / "overlaps", ItemOverlap, _overlaps(rows) if items else [], name="overlaps"),
    }
    return Inputs([word for name, table in tables.items() for word in (f"--{name}", str(table))], model)


def _overlaps(found_in: Sequence[Document]) -> list[ItemOverlap]:
    where = {"doc_id": found_in[0].doc_id if found_in else "0" * 64, "start": 0, "end": 1}
    return [ItemOverlap(benchmark="toy/stars", item_id=i, tier="verbatim", score=1.0, **where) for i in DIRTY]


def run_stage(inputs: Inputs, out: Path, **settings: Any) -> Tables:
    """Run the stage in this process; rows of both tables."""
    out.parent.mkdir(parents=True, exist_ok=True)
    config = out.parent / f"{out.name}.json"
    config.write_text(json.dumps(settings))
    with pytest.raises(SystemExit) as end:
        main(Evaluate, [*inputs.arguments, "--config", str(config), "--out", str(out)])
    if end.value.code:
        raise SystemExit(end.value.code)
    return {name: Reader(out / name, row).table().to_pylist() for name, row in Evaluate.outputs.items()}


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, made once."""
    return build_model(tmp_path_factory.mktemp("evaluate") / "hf")


@pytest.fixture(scope="session")
def inputs(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """All inputs, written once."""
    return write_inputs(tmp_path_factory.mktemp("inputs"), model_folder, questions(), TEXTS)


@pytest.fixture(scope="session")
def evaluated(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tables]:
    """The output folder and tables of one run with default settings."""
    out = tmp_path_factory.mktemp("evaluated") / "out"
    return out, run_stage(inputs, out, num_answers=2, max_answer_tokens=8)
