"""Tables of tokens: the tokenizer, the token files, and which document each run of tokens came from."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.corpus import Int32, Sha256
from schemas.table import BlobRef, Row

Split = Literal["train", "validation"]
TextKind = Literal["prose", "latex", "code", "smiles", "table", "number"]


class Tokenizer(Row):
    """A `tokenizer.json` (Hugging Face format) and what a trainer must know of it."""

    file: BlobRef
    vocab_size: Annotated[Int32, Field(ge=1)]
    eod_token: str
    eod_id: Int32


class SplitRule(Row):
    """A document is held out for validation when its draw in [0, 1), a hash of seed and doc_id, is under `below`."""

    seed: int
    validation_fraction: float
    below: float


class Fertility(Row):
    """How many tokens a tokenizer makes of one kind of text of one source and language."""

    tokenizer: str
    source: str
    language: str | None
    kind: TextKind
    num_bytes: int
    num_characters: int
    num_words: int
    num_tokens: int


class TokenShard(Row):
    """A pair of token files in the Megatron `.bin/.idx` layout (`name.bin`, `name.idx`), of one source."""

    contract_version = 2

    split: Split
    source: str
    bin: BlobRef
    idx: BlobRef
    dtype: Literal["uint16", "int32"]
    num_tokens: Annotated[int, Field(ge=0)]
    num_documents: Annotated[int, Field(ge=0)]
    tokenizer_sha256: Sha256


class TokenizedDocument(Row):
    """Tokens `start : start + num_tokens` of the file `bin` (`TokenShard.bin.path`) are this document, end token included."""

    contract_version = 2

    doc_id: Sha256
    split: Split
    bin: str
    start: int
    num_tokens: int
    num_bytes: int
    source: str
    licence: str | None


class TokenOrder(Row):
    """How a run of training takes its tokens; with the mixture and the token files it says every batch."""

    kind: Literal["virtual", "megatron"]
    packing: Literal["contiguous", "best_fit"]
    sequence_tokens: Annotated[Int32, Field(ge=1)]
    batch_sequences: Annotated[Int32, Field(ge=1)]
    num_steps: Annotated[int, Field(ge=1)]
    seed: int
    middle_fraction: float
    middle_sources: list[str]
    tokens_sha256: Sha256


class MixtureShare(Row):
    """What one source gives in one phase of training: steps `first_step..last_step`, counted from 1.

    `num_tokens` and `num_samples` are what the source has, `num_taken` the samples that the phase takes, `epochs` how
    often the run has gone through the source when the phase ends.
    """

    phase: Int32
    first_step: int
    last_step: int
    source: str
    weight: float
    num_tokens: int
    num_samples: int
    num_taken: int
    epochs: float


class IndexFile(Row):
    """An array (`.npy`) that an order stores: of one source, or of the blend of all of them (`source` empty)."""

    source: str
    name: Literal[
        "document_index",
        "sample_index",
        "shuffle_index",
        "dataset_index",
        "dataset_sample_index",
        "bin_ends",
        "bin_spans",
    ]
    file: BlobRef
