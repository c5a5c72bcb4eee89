"""Tokenize: documents to token files that a trainer can map into memory."""

from collections.abc import Mapping
from typing import Literal

from schemas.corpus import Document, Dropped
from schemas.tokens import SplitRule, TokenizedDocument, Tokenizer, TokenShard
from stages.base import Stage
from stages.tables import Outputs, Reader


class Tokenize(Stage):
    """Encode documents with a given tokenizer into Megatron `.bin/.idx` files, a pair a split and source.

    Text is text: a special token's name that stands in a document (`<|user|>`, say) is encoded as its characters and
    never becomes the special id, whichever library encodes. The only special id in the files is the tokenizer's end
    token, at the end of each document. Run as any number of shards: a source's files of all shards, one after the
    other, are the bytes that one shard writes.
    """

    name = "tokenize"
    version = 2
    inputs = {"documents": Document, "tokenizer": Tokenizer, "split": SplitRule}
    outputs = {"shards": TokenShard, "documents": TokenizedDocument, "dropped": Dropped}
    shares = ("stream",)
    packages = ("numpy", "tokenizers")
    located = frozenset({"encoder"})  # which library encodes is where the work is done: the ids are the same
    whole = frozenset({"tokenizer", "split"})
    conserves = ("documents", "documents")

    encoder: Literal["auto", "gigatoken", "fastokens", "tokenizers"] = "auto"
    """What encodes; `auto`: the fastest that is installed and gives the ids of `tokenizers`, tried before it is taken."""

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Encode the documents of this shard."""
        from stages.tokenize.encode import tokenize

        tokenize(self, inputs, outputs)
