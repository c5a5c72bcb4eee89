"""Tokenize: documents to token files that a trainer can map into memory."""

from collections.abc import Mapping

from schemas.corpus import Document, Dropped
from schemas.tokens import TokenizedDocument, Tokenizer, TokenShard
from stages.base import Stage
from stages.tables import Outputs, Reader


class Tokenize(Stage):
    """Encode documents with a byte-level BPE, trained here or given, into Megatron `.bin/.idx` files."""

    name = "tokenize"
    inputs = {"documents": Document}
    outputs = {"shards": TokenShard, "documents": TokenizedDocument, "tokenizer": Tokenizer, "dropped": Dropped}
    conserves = ("documents", "documents")

    tokenizer: str = ""
    vocab_size: int = 4096
    validation_fraction: float = 0.1
    seed: int = 0

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Train or load the tokenizer, then encode."""
        from stages.tokenize.encode import tokenize

        tokenize(self, inputs["documents"], outputs)
