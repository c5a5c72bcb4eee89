"""Small corpora whose every token's document is known, orders of samples written out as lists, and answers by counting."""

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from schemas.tokens import TokenizedDocument, TokenShard
from stages.stream.corpus import Dataset, open_corpus
from stages.stream.gpt_index import Cutting, build
from stages.stream.megatron_order import MegatronOrder, ShuffledDataset
from stages.stream.order import Indices, Pieces, SampleOrder, Samples, Span
from stages.tables import Reader
from tests.stages.model.token_files import shard_row, write_pair
from tests.tables import write_table
from workflows.trace.documents import Documents
from workflows.trace.exposure import Exposure

LICENCES = ("CC-BY-4.0", "CC0-1.0", None)
TOKENIZER = "0" * 64


@dataclass(frozen=True)
class Corpus:
    """Tables of random tokens: `owners[dataset][position]` is the document of every training token."""

    shards: Reader
    documents: Reader
    datasets: list[Dataset]
    rows: dict[str, TokenizedDocument]
    owners: list[list[str]]


def write_corpus(folder: Path, num_files: dict[str, int], seed: int = 0, max_tokens: int = 40) -> Corpus:
    """Sources with so many files each, some of them without documents, and a held-out document a source."""
    chance = random.Random(seed)
    shards: list[TokenShard] = []
    rows: list[TokenizedDocument] = []
    for source, count in num_files.items():
        for part in range(count):
            lengths = [chance.randint(1, max_tokens) for _ in range(chance.randint(part == 0, 9))]
            shard, some = _file(folder / "files", "train", source, part, lengths)
            shards, rows = [*shards, shard], [*rows, *some]
        shard, some = _file(folder / "files", "validation", source, 0, [7])
        shards, rows = [*shards, shard], [*rows, *some]
    tables = Reader(write_table(folder / "shards", TokenShard, shards, "shards"), TokenShard)
    documents = Reader(write_table(folder / "documents", TokenizedDocument, rows, "documents"), TokenizedDocument)
    datasets = open_corpus(tables, "train")
    return Corpus(tables, documents, datasets, {r.doc_id: r for r in rows}, [owners(d, rows) for d in datasets])


def _file(
    folder: Path, split: str, source: str, part: int, lengths: Sequence[int]
) -> tuple[TokenShard, list[TokenizedDocument]]:
    ids = [np.arange(n) % 50 for n in lengths] or [np.zeros(0, np.int64)]
    shard = shard_row(write_pair(folder, f"{split}-{source}-{part}", ids), split, source, TOKENIZER)
    rows, start = [], 0
    for i, length in enumerate(lengths):
        doc_id = hashlib.sha256(f"{split} {source} {part} {i}".encode()).hexdigest()
        place = {"bin": shard.bin.path, "start": start, "num_tokens": length, "num_bytes": length}
        licence = LICENCES[(i + part) % len(LICENCES)]
        rows.append(TokenizedDocument(doc_id=doc_id, split=split, source=source, licence=licence, **place))
        start += length
    return shard, rows


def owners(dataset: Dataset, rows: Sequence[TokenizedDocument]) -> list[str]:
    """The document of each token of a dataset."""
    by_bin: dict[str, list[TokenizedDocument]] = defaultdict(list)
    for row in rows:
        by_bin[row.bin].append(row)
    return [r.doc_id for f in dataset.files for r in by_bin[f.shard.bin.path] for _ in range(r.num_tokens)]


class Listed:
    """An order that is a list: `spans[dataset][sample]`, and the samples that the run takes."""

    def __init__(self, spans: list[list[list[Span]]], taken: list[tuple[int, int]]) -> None:
        self._spans, self._taken = spans, taken

    @property
    def num_samples(self) -> int:
        """Samples of the run."""
        return len(self._taken)

    def take(self, first: int, last: int) -> Samples:
        """Samples of the run."""
        some = self._taken[first:last]
        return Samples(np.array([d for d, _ in some], np.int32), np.array([s for _, s in some], np.int64))

    def spans(self, dataset: int, sample: int) -> list[Span]:
        """The spans of a sample."""
        return self._spans[dataset][sample]

    def pieces(self, dataset: int, samples: Indices) -> Pieces:
        """The spans of samples."""
        flat = [(s, *span) for s in samples.tolist() for span in self._spans[dataset][s]]
        return Pieces(*np.array(flat, np.int64).reshape(-1, 3).T)

    def covering(self, dataset: int, start: int, length: int) -> Indices:
        """Samples with any of these tokens."""
        hit = [
            i
            for i, spans in enumerate(self._spans[dataset])
            if any(s.start < start + length and start < s.start + s.length for s in spans)
        ]
        return np.array(hit, np.int64)

    def find(self, dataset: int, samples: Indices) -> Indices:
        """Positions of samples."""
        wanted = {(dataset, s) for s in samples.tolist()}
        return np.array([i for i, key in enumerate(self._taken) if key in wanted], np.int64)


def contiguous(corpus: Corpus, sequence_tokens: int) -> list[list[list[Span]]]:
    """Every T tokens a sample of T + 1."""
    sizes = [(len(d) - 1) // sequence_tokens for d in corpus.datasets]
    return [[[Span(s * sequence_tokens, sequence_tokens + 1)] for s in range(n)] for n in sizes]


def shuffled(corpus: Corpus, sequence_tokens: int, seed: int) -> list[list[list[Span]]]:
    """Documents in a random order, twice over, and that stream cut every T tokens, as Megatron does."""
    chance = random.Random(seed)
    found = []
    for dataset in corpus.datasets:
        lengths = dataset.document_lengths().tolist()
        ends = np.cumsum(lengths).tolist()
        order = [i for _ in range(2) for i in chance.sample(range(len(lengths)), len(lengths))]
        stream = [p for i in order for p in range(ends[i] - lengths[i], ends[i])]
        count = max(0, (len(stream) - 1) // sequence_tokens)
        windows = [stream[s * sequence_tokens : s * sequence_tokens + sequence_tokens + 1] for s in range(count)]
        found.append([spans_of(w) for w in windows])
    return found


def packed(corpus: Corpus, sequence_tokens: int) -> list[list[list[Span]]]:
    """Whole documents that fit into T + 1 tokens together, longer ones cut: some samples are not full."""
    found = []
    for dataset in corpus.datasets:
        samples: list[list[Span]] = []
        start = 0
        for length in dataset.document_lengths().tolist():
            for first in range(0, length, sequence_tokens + 1):
                span = Span(start + first, min(sequence_tokens + 1, length - first))
                fits = next((s for s in samples if sum(x.length for x in s) + span.length <= sequence_tokens + 1), None)
                if fits is None:
                    samples.append([span])
                else:
                    fits.append(span)
            start += length
        found.append(samples)
    return found


def spans_of(positions: list[int]) -> list[Span]:
    """Positions as runs."""
    spans: list[Span] = []
    for p in positions:
        if spans and p == spans[-1].start + spans[-1].length:
            spans[-1] = Span(spans[-1].start, spans[-1].length + 1)
        else:
            spans.append(Span(p, 1))
    return spans


def listed(spans: list[list[list[Span]]], num_samples: int, seed: int) -> Listed:
    """A run that takes samples at random, some of them many times."""
    chance = random.Random(seed)
    every = [(d, s) for d, samples in enumerate(spans) for s in range(len(samples))]
    return Listed(spans, [chance.choice(every) for _ in range(num_samples)])


def megatron(corpus: Corpus, sequence_tokens: int, num_samples: int, seed: int) -> MegatronOrder:
    """Megatron's own shuffles of each dataset, over more than one epoch, taken in turns by chance."""
    chance = np.random.default_rng(seed)
    dataset_index = chance.integers(0, len(corpus.datasets), num_samples).astype(np.int16)
    sample_index, parts = np.zeros(num_samples, np.int64), []
    for number, dataset in enumerate(corpus.datasets):
        mine = np.flatnonzero(dataset_index == number)
        sample_index[mine] = np.arange(len(mine))
        arrays = build(dataset.document_lengths(), Cutting(sequence_tokens), seed, len(mine))
        parts.append(ShuffledDataset(dataset, *arrays))
    return MegatronOrder(parts, dataset_index, sample_index, num_samples)


def exposed(corpus: Corpus, order: SampleOrder, sequence_tokens: int, batch_sequences: int) -> Exposure:
    """A run over this order with the ledger that it would have written."""
    num_steps = order.num_samples // batch_sequences
    digests = [order.take(s * batch_sequences, (s + 1) * batch_sequences).digest() for s in range(num_steps)]
    return Exposure(
        order=order,
        documents=Documents(corpus.documents, corpus.datasets),
        sources=[d.source for d in corpus.datasets],
        sequence_tokens=sequence_tokens,
        batch_sequences=batch_sequences,
        ledger=dict(enumerate(digests, 1)),
    )


# ---- the same answers, one token at a time


def tokens_of(exposure: Exposure, corpus: Corpus, step: int) -> list[tuple[int, int, str, bool]]:
    """Every token of a step: sequence from 1, place in it, document, whether it is an input."""
    size = exposure.batch_sequences
    taken = exposure.order.take((step - 1) * size, step * size)
    found = []
    for number, (dataset, sample) in enumerate(zip(taken.datasets.tolist(), taken.samples.tolist(), strict=True), 1):
        spans = exposure.order.spans(dataset, sample)
        positions = [p for span in spans for p in range(span.start, span.start + span.length)]
        for place, p in enumerate(positions):
            found.append((number, place, corpus.owners[dataset][p], place < exposure.sequence_tokens))
    return found


def counted(exposure: Exposure, corpus: Corpus) -> dict[int, Counter[str]]:
    """Inputs of each document by step; 0 where only a last target was of it."""
    steps: dict[int, Counter[str]] = {}
    for step in range(1, exposure.num_steps + 1):
        steps[step] = Counter()
        for _, _, doc_id, is_input in tokens_of(exposure, corpus, step):
            steps[step][doc_id] += is_input
    return steps
