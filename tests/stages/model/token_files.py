"""Finished tables of tokens, written for a test from documents' ids, with a writer of its own for the file layout."""

import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from schemas.table import BlobRef, Row
from schemas.tokens import Split, TokenizedDocument, Tokenizer, TokenShard
from tests.tables import write_table

EOD = "<|endoftext|>"


class TokenTables(NamedTuple):
    """Table folders, by the names of the stage's inputs."""

    tokens: Path
    documents: Path
    tokenizer: Path

    def flags(self) -> list[str]:
        """`--tokens DIR --documents DIR --tokenizer DIR`."""
        return [word for name, folder in self._asdict().items() for word in (f"--{name}", str(folder))]


def train_bpe(texts: Sequence[str], vocab_size: int, file: Path) -> tokenizers.Tokenizer:
    """A byte-level BPE with an end token, written to `file`."""
    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[EOD], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.save(str(file))
    return bpe


def write_pair(folder: Path, name: str, documents: Sequence[Sequence[int]]) -> tuple[Path, Path]:
    """`name.bin` and `name.idx` in the Megatron layout, uint16."""
    folder.mkdir(parents=True, exist_ok=True)
    lengths = np.array([len(d) for d in documents], "<i4")
    pointers = (np.cumsum(lengths, dtype="<i8") - lengths) * 2
    head = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 8, len(lengths), len(lengths) + 1)
    marks = np.arange(len(lengths) + 1, dtype="<i8")
    (folder / f"{name}.bin").write_bytes(np.concatenate([np.array(d, "<u2") for d in documents]).tobytes())
    (folder / f"{name}.idx").write_bytes(head + lengths.tobytes() + pointers.tobytes() + marks.tobytes())
    return folder / f"{name}.bin", folder / f"{name}.idx"


def write_tables(folder: Path, rows: dict[str, tuple[type[Row], list[Row]]]) -> dict[str, Path]:
    """Each table in a finished output of its own, `folder/<name>`, so that paths are relative to `../files`."""
    return {name: write_table(folder / name, row, content, name) for name, (row, content) in rows.items()}


def write_tokens(
    folder: Path,
    splits: dict[Split, Sequence[str]],
    vocab_size: int,
    num_files: int = 2,
    sources: Sequence[str] = ("test",),
) -> TokenTables:
    """Tokenize texts and write all that an order of them needs.

    Sources take turns in a split's texts; a source's documents are spread over `num_files` files, of which none is empty.
    """
    files = folder / "files"
    files.mkdir(parents=True)
    bpe = train_bpe([t for texts in splits.values() for t in texts], vocab_size, files / "tokenizer.json")
    eod_id = bpe.token_to_id(EOD)
    blob = BlobRef.of(files / "tokenizer.json")
    tokenizer = Tokenizer(file=blob, vocab_size=bpe.get_vocab_size(), eod_token=EOD, eod_id=eod_id)
    shards: list[Row] = []
    documents: list[Row] = []
    for split, texts in splits.items():
        for number, source in enumerate(sources):
            own = list(texts)[number :: len(sources)]
            parts = [own[len(own) * p // num_files : len(own) * (p + 1) // num_files] for p in range(num_files)]
            for part, some in enumerate(filter(None, parts)):
                ids = [[*bpe.encode(t).ids, eod_id] for t in some]
                pair = write_pair(files, f"{split}-{source}-{part}", ids)
                shards.append(shard_row(pair, split, source, blob.sha256))
                documents += document_rows(some, ids, shards[-1])
    rows = {"tokens": (TokenShard, shards), "documents": (TokenizedDocument, documents)}
    return TokenTables(**write_tables(folder, {**rows, "tokenizer": (Tokenizer, [tokenizer])}))


def shard_row(pair: tuple[Path, Path], split: Split, source: str, tokenizer_sha256: str) -> TokenShard:
    """What the table says of a pair of files that `write_pair` wrote."""
    return TokenShard(
        split=split,
        source=source,
        bin=BlobRef.of(pair[0]),
        idx=BlobRef.of(pair[1]),
        dtype="uint16",
        num_tokens=pair[0].stat().st_size // 2,
        num_documents=(pair[1].stat().st_size - 42) // 20,  # a header of 34 bytes, 12 a document, 8 a mark
        tokenizer_sha256=tokenizer_sha256,
    )


def document_rows(texts: Sequence[str], ids: Sequence[Sequence[int]], shard: TokenShard) -> list[TokenizedDocument]:
    """The rows of a file's documents, one after the other from its first token."""
    lengths = np.array([len(i) for i in ids])
    return [
        TokenizedDocument(
            doc_id=hashlib.sha256(text.encode()).hexdigest(),
            split=shard.split,
            bin=shard.bin.path,
            start=start,
            num_tokens=length,
            num_bytes=len(text.encode()),
            source=shard.source,
            licence=None,
        )
        for text, start, length in zip(texts, (np.cumsum(lengths) - lengths).tolist(), lengths.tolist(), strict=True)
    ]
