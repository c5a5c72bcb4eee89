"""Tables of tokens: the tokenizer, the token files, and which document each run of tokens came from."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.corpus import Int32, Sha256
from schemas.table import BlobRef, Row

Split = Literal["train", "validation"]


class Tokenizer(Row):
    """A `tokenizer.json` (Hugging Face format) and what a trainer must know of it."""

    file: BlobRef
    vocab_size: Annotated[Int32, Field(ge=1)]
    eod_token: str
    eod_id: Int32


class TokenShard(Row):
    """A pair of token files in the Megatron `.bin/.idx` layout (`name.bin`, `name.idx`)."""

    split: Split
    bin: BlobRef
    idx: BlobRef
    dtype: Literal["uint16", "int32"]
    num_tokens: Annotated[int, Field(ge=0)]
    num_documents: Annotated[int, Field(ge=0)]
    tokenizer_sha256: Sha256


class TokenizedDocument(Row):
    """Tokens `start : start + num_tokens` of a split's token stream are this document (its end token included)."""

    doc_id: Sha256
    split: Split
    shard: Int32
    start: int
    num_tokens: int
    num_bytes: int
    source: str
    licence: str | None
