"""Tokenize: documents to token files that a trainer can map into memory."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from schemas.corpus import Document, Dropped
from schemas.tokens import TokenizedDocument, Tokenizer, TokenShard
from stages.base import SettingsError, Stage
from stages.stream.vocabulary import SPECIAL_TOKENS
from stages.tables import Outputs, Reader

MIN_VOCAB = 256 + len(SPECIAL_TOKENS)  # every byte is a token, so any text can be written


class Tokenize(Stage):
    """Encode documents with a byte-level BPE, trained here or given, into Megatron `.bin/.idx` files.

    Text is text: a special token's name that stands in a document (`<|user|>`, say) is encoded as its characters and
    never becomes the special id. The only special id in the files is `eod_token`, at the end of each document.
    """

    name = "tokenize"
    inputs = {"documents": Document}
    outputs = {"shards": TokenShard, "documents": TokenizedDocument, "tokenizer": Tokenizer, "dropped": Dropped}
    shares = ("stream",)
    packages = ("numpy", "tokenizers")
    located = frozenset({"tokenizer"})
    conserves = ("documents", "documents")

    tokenizer: str = ""
    """A `tokenizer.json` (Hugging Face format) to use; empty: train one on the training documents."""
    vocab_size: Annotated[int, Field(ge=MIN_VOCAB, le=1 << 20)] = 2048
    """Most tokens that training may make; a small corpus may give fewer. Unused with a given tokenizer."""
    eod_token: Annotated[str, Field(min_length=1)] = SPECIAL_TOKENS[0]
    validation_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of documents held out, by hash of seed and doc_id; above 0, two documents or more give at least one."""
    seed: int = 0

    @field_validator("eod_token")
    @classmethod
    def _is_made(cls, token: str, info: ValidationInfo) -> str:
        """Refuse, before any work, an end token that a tokenizer trained here would not have."""
        if not info.data.get("tokenizer") and token not in SPECIAL_TOKENS:
            raise ValueError(f"expected one of {', '.join(SPECIAL_TOKENS)}, as no tokenizer is given")
        return token

    def external(self) -> str:
        """Return the digest of the given tokenizer, wherever it lies."""
        if not self.tokenizer:
            return ""
        file = Path(self.tokenizer).expanduser()
        if not file.is_file():
            raise SettingsError(
                f"tokenize.tokenizer: no file {self.tokenizer!r}; give a tokenizer.json, or '' to train"
            )
        return hashlib.sha256(file.read_bytes()).hexdigest()

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Train or load the tokenizer, then encode."""
        from stages.tokenize.encode import tokenize

        tokenize(self, inputs["documents"], outputs)
