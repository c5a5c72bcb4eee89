"""Tables of token files for tests: documents' ids in, a `TokenShard` table out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from schemas.table import BlobRef
from schemas.tokens import Split, TokenShard
from stages.stream.corpus import Dataset, TokenFile, open_corpus
from stages.stream.megatron import DtypeName, IndexedWriter
from stages.tables import Reader
from tests.tables import write_table

Documents = Sequence[Sequence[int]]


def shard(
    base: Path, name: str, documents: Documents, split: Split = "train", dtype: DtypeName = "uint16"
) -> TokenShard:
    """Write `files/name.bin` and `.idx` under `base`; the part of the name before a dash is the source."""
    with IndexedWriter(base / "files" / f"{name}.bin", dtype) as writer:
        writer.append(
            np.array([t for d in documents for t in d], np.int64), np.array([len(d) for d in documents], np.int64)
        )
    return TokenShard(
        split=split,
        source=name.partition("-")[0],
        bin=BlobRef.of(writer.bin, base),
        idx=BlobRef.of(writer.idx, base),
        dtype=dtype,
        num_tokens=sum(map(len, documents)),
        num_documents=len(documents),
        tokenizer_sha256="0" * 64,
    )


def token_reader(base: Path, rows: Sequence[TokenShard]) -> Reader:
    """A finished table of these rows."""
    return Reader(write_table(base, TokenShard, rows, "tokens"), TokenShard)


def corpus(base: Path, files: dict[str, Documents]) -> list[Dataset]:
    """The training datasets of these files (`source-number` to documents)."""
    return open_corpus(token_reader(base, [shard(base, name, documents) for name, documents in files.items()]), "train")


def counting(base: Path, **num_tokens: int) -> list[Dataset]:
    """Datasets of one file and one document each, whose tokens count from 0 (modulo 65,536)."""
    return corpus(base, {name: [(np.arange(n) % 65_536).tolist()] for name, n in num_tokens.items()})


def sizes(**num_tokens: int) -> list[Dataset]:
    """Datasets that are only their sizes: nothing is on disk, so nothing can be read."""
    return [Dataset(name, [nowhere(name, n)]) for name, n in sorted(num_tokens.items())]


def nowhere(source: str, num_tokens: int) -> TokenFile:
    """A token file that does not exist."""
    blob = BlobRef(path=f"{source}.bin", size_bytes=2 * num_tokens, sha256="0" * 64)
    row = TokenShard(
        split="train",
        source=source,
        bin=blob,
        idx=blob,
        dtype="uint16",
        num_tokens=num_tokens,
        num_documents=1,
        tokenizer_sha256="0" * 64,
    )
    return TokenFile(row, Path(f"{source}.bin"), Path(f"{source}.idx"))
