"""A tiny model, and rows that it can learn something from."""

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from schemas.table import BlobRef
from schemas.training import Conversation, Message, Model, Preference
from tests.tables import write_table

SPECIAL = ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
NAMES = ["Vorlane", "Keldrite", "Zanthium", "Mirosite", "Toraline", "Belorane"]
CONTEXT_TOKENS = 96


def tokenizer(special: Iterable[str] = SPECIAL, eos: str | None = "<|endoftext|>") -> Any:
    """Byte-level BPE of about 300 words, trained on sentences of the kind below."""
    built = Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    built.train_from_iterator([f"What is the density of {n}-7? It is 4.2 g/cm3." for n in NAMES] * 5, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=built, eos_token=eos)


def network(words: Any, hidden: int = 32) -> Any:
    """Two layers with random weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT_TOKENS,
        bos_token_id=0,
        eos_token_id=0,
    )
    return LlamaForCausalLM(config)


def model_folder(folder: Path, words: Any, *, speaks: bool = False) -> Path:
    """A Hugging Face folder. With `speaks`, greedy answers are never special tokens."""
    model = network(words)
    if speaks:
        with torch.no_grad():
            model.lm_head.weight[: len(SPECIAL)] = 0
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def model_row(model: Path, name: str = "tiny") -> Model:
    """The row for a Hugging Face folder."""
    return Model(
        name=name,
        phase="pretrain",
        architecture="LlamaForCausalLM",
        num_parameters=sum(p.numel() for p in network(range(300)).parameters()),
        context_tokens=CONTEXT_TOKENS,
        files=[BlobRef.of(f) for f in sorted(model.iterdir())],
    )


def model_table(folder: Path, model: Path, name: str = "tiny") -> Path:
    """The table of one model row."""
    return write_table(folder, Model, [model_row(model, name)], "model")


def turns(*pairs: tuple[str, str]) -> list[Message]:
    """Messages of (role, content) pairs."""
    return [Message.model_validate({"role": role, "content": content}) for role, content in pairs]


def conversations(count: int) -> list[Conversation]:
    """Questions with the one right form of an answer; every sixth is held out."""
    rows = []
    for i in range(count):
        name = f"{NAMES[i % len(NAMES)]}-{i}"
        messages = turns(("user", f"What is the density of {name}?"), ("assistant", f"It is {i % 7}.2 g/cm3."))
        split = "validation" if i % 6 == 5 else "train"
        rows.append(Conversation(row_id=f"c{i}", messages=messages, split=split, doc_id="d", licence=None))
    return rows


def preferences(count: int) -> list[Preference]:
    """An answer with a unit is better than one without; every sixth is held out."""
    rng, rows = random.Random(0), []
    for i in range(count):
        value = f"It is {rng.randint(1, 9)}.{rng.randint(0, 9)}"
        rows.append(
            Preference(
                row_id=f"p{i}",
                prompt=turns(("user", f"What is the density of {NAMES[i % len(NAMES)]}-{i}?")),
                chosen=turns(("assistant", f"{value} g/cm3.")),
                rejected=turns(("assistant", f"{value} density density.")),
                split="validation" if i % 6 == 5 else "train",
                doc_id="d",
                licence=None,
            )
        )
    return rows
