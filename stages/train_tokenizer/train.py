"""The stage's work: the split, the tokenizer, the fertility. One process, for the merges of BPE need all counts.

The text is read three times as Arrow columns (sizes; training; fertility), so that memory is that of one row group, of the
sample's hashes and of the different words, and not that of the corpus.
"""

import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.table import ContractError
from schemas.tokens import SplitRule, Tokenizer
from stages.stream.split import Draws, Mask, draw, held_out, split_rule
from stages.stream.vocabulary import load, num_ids, special_id
from stages.tables import Outputs, Reader
from stages.train_tokenizer import TRAINED, TrainTokenizer, bpe, patterns
from stages.train_tokenizer.fertility import Group, measure, show
from stages.train_tokenizer.sample import LowestDraws, pieces

if TYPE_CHECKING:
    import tokenizers


class Corpus(NamedTuple):
    """The documents, which of them are held out, and the thresholds of what is looked at."""

    documents: Reader
    rule: SplitRule
    training: LowestDraws
    measured: Mapping[str, LowestDraws]


def train_tokenizer(stage: TrainTokenizer, documents: Reader, outputs: Outputs) -> None:
    """Do the stage's work; see `TrainTokenizer`."""
    if not documents.num_rows:
        words = "no document to train on: look at what the stages before dropped"
        raise ContractError(str(documents.folder), [words])
    given = _given(stage)
    corpus = _survey(stage, documents)
    outputs["split"].write(corpus.rule)
    file = outputs.folder / "tokenizer.json"
    if stage.tokenizer:
        _copy(Path(stage.tokenizer).expanduser(), file)
    else:
        outputs.progress.start("bytes (training the tokenizer)", corpus.training.num_bytes())
        cut = patterns.pieces(stage.digits, stage.whitespace)
        bpe.train(_training_texts(corpus, outputs), stage.vocab_size, cut, file)
    tokenizer = load(file)
    outputs["tokenizer"].write(_row(stage, tokenizer, outputs, file))
    if stage.fertility_bytes:
        total = sum(sample.num_bytes() for sample in corpus.measured.values())
        outputs.progress.start("bytes (measuring fertility)", total)
        trained = {} if stage.tokenizer else {TRAINED: tokenizer}
        rows = measure(_measured_texts(stage, corpus, outputs), trained | given)
        outputs["fertility"].write(rows)
        show(rows)


def _given(stage: TrainTokenizer) -> dict[str, "tokenizers.Tokenizer"]:
    """Read the given tokenizers, by name, and refuse a wrong one before any work."""
    stage.external()
    given = {label: load(file) for label, file in stage.files()}
    if stage.tokenizer:
        special_id(next(iter(given.values())), stage.eod_token)
    return given


def _survey(stage: TrainTokenizer, documents: Reader) -> Corpus:
    """Find out how the documents are split and which are looked at; text is only measured."""
    ids = (batch["doc_id"].to_pylist() for batch in documents.batches(["doc_id"]))
    rule = split_rule(ids, stage.seed, stage.validation_fraction)
    training = LowestDraws(stage.max_training_bytes)
    measured: dict[str, LowestDraws] = defaultdict(partial(LowestDraws, stage.fertility_bytes))
    for batch in documents.batches(["doc_id", "source", "text"]):
        sides, order = _sides(rule, batch)
        sizes = pc.binary_length(batch["text"]).to_numpy(zero_copy_only=False).astype(np.int64)
        training.add(order[~sides], sizes[~sides])
        for source in pc.unique(batch["source"]).to_pylist():
            mine = pc.equal(batch["source"], source).to_numpy(zero_copy_only=False)
            measured[source].add((order + ~sides)[mine], sizes[mine])  # held-out documents first
    return Corpus(documents, rule, training, measured)


def _sides(rule: SplitRule, batch: pa.RecordBatch) -> tuple[Mask, Draws]:
    """Say of each document whether it is held out, and its place in the order in which documents are sampled."""
    ids = batch["doc_id"].to_pylist()
    return held_out(rule, ids), draw(rule.seed, ids, "tokenizer")


def _training_texts(corpus: Corpus, outputs: Outputs) -> Iterator[str]:
    below = corpus.training.below()
    for batch in corpus.documents.batches(["doc_id", "text"]):
        sides, order = _sides(corpus.rule, batch)
        for text in batch["text"].filter(pa.array(~sides & (order < below))):
            yield from pieces(text.as_py())
            outputs.progress.advance(len(text.as_buffer()))


def _measured_texts(stage: TrainTokenizer, corpus: Corpus, outputs: Outputs) -> Iterator[tuple[Group, str]]:
    below = {source: sample.below() for source, sample in corpus.measured.items()}
    for batch in corpus.documents.batches(["doc_id", "source", "language", "text"]):
        sides, order = _sides(corpus.rule, batch)
        limits = np.array([below[source] for source in batch["source"].to_pylist()])
        for row in batch.filter(pa.array(order + ~sides < limits)).to_pylist():
            text = row["text"][: stage.fertility_bytes]  # of one document that is larger than the limit
            yield from ((Group(row["source"], row["language"]), piece) for piece in pieces(text))
            outputs.progress.advance(len(text.encode()))


def _copy(given: Path, file: Path) -> None:
    temporary = file.with_suffix(".tmp")
    shutil.copyfile(given, temporary)
    temporary.replace(file)


def _row(stage: TrainTokenizer, tokenizer: "tokenizers.Tokenizer", outputs: Outputs, file: Path) -> Tokenizer:
    return Tokenizer(
        file=outputs.blob(file),
        vocab_size=num_ids(tokenizer),
        eod_token=stage.eod_token,
        eod_id=special_id(tokenizer, stage.eod_token),
    )
