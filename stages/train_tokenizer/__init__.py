"""Train a tokenizer, or take one, decide which documents are held out, and say how well text is told in it."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.corpus import Document
from schemas.tokens import Fertility, SplitRule, Tokenizer
from stages.base import Place, Places, SettingsError, Stage
from stages.stream.vocabulary import SPECIAL_TOKENS
from stages.tables import Outputs, Reader

MIN_VOCAB = 256 + len(SPECIAL_TOKENS)  # every byte is a token, so any text can be written
TRAINED = "trained"


class TrainTokenizer(Stage):
    """Train a byte-level BPE on the training documents, or take a given one; split documents; measure fertility.

    Text is text: nothing is normalised, so ids decode to the exact bytes, and a special token's name that stands in a
    document (`<|user|>`, say) is encoded as its characters.
    """

    name = "train_tokenizer"
    undivided = "one tokenizer is made of all documents"
    inputs = {"documents": Document}
    outputs = {"tokenizer": Tokenizer, "split": SplitRule, "fertility": Fertility}
    shares = ("stream",)
    packages = ("numpy", "tokenizers")
    located = frozenset({"tokenizer", "compare"})

    tokenizer: Place = ""
    """A `tokenizer.json` (Hugging Face format) to use; empty: train one on the training documents."""
    vocab_size: Annotated[int, Field(ge=MIN_VOCAB, le=1 << 20)] = 2048
    """Most tokens that training may make; a small corpus may give fewer. Unused with a given tokenizer."""
    eod_token: Annotated[str, Field(min_length=1)] = SPECIAL_TOKENS[0]
    """The token that ends a document."""
    digits: Literal["single", "triples", "thousands", "runs"] = "single"
    """A number is cut into its digits, threes from the left, threes from the right, or not at all: see `patterns`."""
    whitespace: Literal["code", "lines", "gpt2"] = "code"
    """Which white space a token may hold: see `patterns`."""
    max_training_bytes: Annotated[int, Field(ge=1)] = 512 << 20
    """Most text that training reads: of a larger corpus, the documents with the lowest hashes."""
    validation_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of documents held out, by hash of seed and doc_id; above 0, two documents or more give at least one."""
    seed: int = 0
    fertility_bytes: Annotated[int, Field(ge=0)] = 4 << 20
    """Most text of a source that fertility is measured on, held-out documents first; 0: none."""
    compare: Places = ()
    """Other `tokenizer.json` files to measure beside, known by their file's name or, if that is usual, their folder's."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        """Refuse, before any work, an end token that training would not make, and two tokenizers of one name."""
        if not self.tokenizer and self.eod_token not in SPECIAL_TOKENS:
            raise ValueError(f"eod_token: expected one of {', '.join(SPECIAL_TOKENS)}, as no tokenizer is given")
        labels = [label for label, _ in self.files()]
        if not self.tokenizer:
            labels.append(TRAINED)
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(
                f"compare: more than one tokenizer is called {', '.join(twice)}; rename a file or a folder"
            )
        return self

    def files(self) -> list[tuple[str, Path]]:
        """Names and places of the given files, the tokenizer itself first."""
        paths = [Path(f) for f in (self.tokenizer, *self.compare) if f]
        return [(p.parent.resolve().name if p.name == "tokenizer.json" else p.stem, p) for p in paths]

    def external(self) -> str:
        """Return a digest of the given tokenizers and of what they are called, wherever they lie."""
        if missing := [str(file) for _, file in self.files() if not file.is_file()]:
            words = ", ".join(missing)
            raise SettingsError(f"train_tokenizer: no file {words}; give a tokenizer.json, or tokenizer='' to train")
        known = [f"{label} {hashlib.sha256(file.read_bytes()).hexdigest()}" for label, file in self.files()]
        return hashlib.sha256("\n".join(known).encode()).hexdigest() if known else ""

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Split, train or take, measure."""
        from stages.train_tokenizer.train import train_tokenizer

        train_tokenizer(self, inputs["documents"], outputs)
