"""The token stream of the fake run: token files of zeros with real sizes, a mixture, an order and the ledger of it."""

import random
from pathlib import Path
from typing import Any

import numpy as np

from schemas.corpus import Document
from schemas.table import BlobRef
from schemas.tokens import Fertility, SplitRule, TokenizedDocument, Tokenizer, TokenOrder, TokenShard
from schemas.training import BatchLedger
from stages.index import Index
from stages.stream.corpus import open_corpus
from stages.stream.megatron import IndexedWriter
from stages.stream.mixture import Supply, plan, shares
from stages.stream.opening import tokens_sha256
from stages.stream.virtual import Contiguous, VirtualOrder
from stages.tables import Reader

WEIGHTS = {"papers": 3.0, "notes": 1.0}
FERTILITY = {"prose": 0.24, "latex": 0.38, "code": 0.35, "smiles": 0.71, "table": 0.52, "number": 0.93}
STEPS = Index(sequence_tokens=256, batch_sequences=16, num_steps=300, weights=WEIGHTS)


def trained(blob: BlobRef) -> dict[str, list[Any]]:
    """What train_tokenizer writes, with another tokenizer measured beside."""
    chance, rows = random.Random(3), []
    for tokenizer, factor in (("trained", 1.0), ("gpt2", 1.12)):
        for source, size in (("papers", 900_000), ("notes", 40_000)):
            for kind, value in FERTILITY.items():
                tokens = int(size * value * factor * chance.uniform(0.93, 1.07))
                counts = {"num_bytes": size, "num_characters": size, "num_words": size // 6, "num_tokens": tokens}
                rows.append(Fertility(tokenizer=tokenizer, source=source, language="en", kind=kind, **counts))
    rule = SplitRule(seed=0, validation_fraction=0.1, below=0.1)
    tokenizer = Tokenizer(file=blob, vocab_size=4096, eod_token="<|eod|>", eod_id=0)
    return {"tokenizer": [tokenizer], "split": [rule], "fertility": rows}


def tokenized(folder: Path, documents: list[Document]) -> dict[str, list[Any]]:
    """What tokenize writes: a pair of files a split and source, every tenth document held out."""
    chance, lengths, rows = random.Random(1), {}, []
    for i, d in enumerate(documents):
        key, count = ("validation" if i % 10 == 0 else "train", d.source), int(chance.lognormvariate(7.3, 0.5))
        mine = lengths.setdefault(key, [])
        place = {"split": key[0], "bin": f"tokens/{'-'.join(key)}.bin", "start": sum(mine), "num_tokens": count}
        fields = {"doc_id": d.doc_id, "source": d.source, "licence": d.licence, "num_bytes": int(count * 3.4)}
        rows.append(TokenizedDocument(**fields, **place))
        mine.append(count)
    shards = [_shard(folder, split, source, counts) for (split, source), counts in lengths.items()]
    return {"shards": shards, "documents": rows}


def _shard(folder: Path, split: str, source: str, lengths: list[int]) -> TokenShard:
    with IndexedWriter(folder / "tokens" / f"{split}-{source}.bin", "uint16") as writer:
        writer.append(np.zeros(sum(lengths), np.uint16), np.array(lengths, np.int32))
    pair = {"bin": BlobRef.of(writer.bin, folder), "idx": BlobRef.of(writer.idx, folder)}
    counts = {"num_tokens": sum(lengths), "num_documents": len(lengths), "tokenizer_sha256": "0" * 64}
    return TokenShard(split=split, source=source, dtype="uint16", **pair, **counts)


def indexed(shards: Path) -> tuple[dict[str, list[Any]], list[BatchLedger]]:
    """What index writes of a table of shards, and the ledger of a run that takes it."""
    datasets = open_corpus(Reader(shards, TokenShard), "train")
    packings = [Contiguous(d.source, len(d), STEPS.sequence_tokens) for d in datasets]
    phases = plan([(1.0, WEIGHTS)], [d.source for d in datasets], STEPS.num_steps)
    supplies = [Supply(d.source, len(d), len(p)) for d, p in zip(datasets, packings, strict=True)]
    order = VirtualOrder(packings, phases, STEPS.batch_sequences, STEPS.seed)
    row = TokenOrder(
        kind="virtual", packing="contiguous", sequence_tokens=STEPS.sequence_tokens, num_steps=STEPS.num_steps,
        batch_sequences=STEPS.batch_sequences, seed=STEPS.seed, middle_fraction=0, middle_sources=[],
        tokens_sha256=tokens_sha256(datasets),
    )  # fmt: skip
    size = STEPS.batch_sequences
    ledger = [
        BatchLedger(
            phase="pretrain", step=s, num_samples=size, samples_sha=order.take((s - 1) * size, s * size).digest()
        )
        for s in range(1, STEPS.num_steps + 1)
    ]
    return {"order": [row], "mixture": shares(phases, supplies, size)}, ledger
