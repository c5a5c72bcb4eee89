"""What a step saw, which steps saw a document, and how many tokens of each licence a model saw: exact, no sampling."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.table import ContractError
from stages.base import SettingsError
from stages.stream.order import Indices, SampleOrder, Samples
from workflows.trace.documents import Documents, Placed
from workflows.trace.overlap import runs

TAKEN, CUT = 1 << 20, 1 << 16  # samples at a time, taken and cut at documents: about 100 MB
NO_DOCUMENT = "of no known document"
Counts = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Exposure:
    """A finished run of training: its order, its documents and its ledger (digest by step)."""

    order: SampleOrder
    documents: Documents
    sources: Sequence[str]
    sequence_tokens: int
    batch_sequences: int
    ledger: Mapping[int, str]

    @property
    def num_steps(self) -> int:
        """The last step of the ledger."""
        return max(self.ledger, default=0)

    def samples(self, step: int) -> Samples:
        """The samples of a step, computed anew; `ContractError` where they are not those that the run recorded."""
        if not 1 <= step <= self.num_steps:
            raise SettingsError(f"--step {step}: the run's ledger has the steps 1..{self.num_steps}")
        taken = self.order.take((step - 1) * self.batch_sequences, step * self.batch_sequences)
        self._compare(step, taken)
        return taken

    def blocks(self) -> Iterator[Samples]:
        """All samples that the run took, in order, compared with the ledger."""
        size = self.batch_sequences
        steps = max(1, TAKEN // size)
        for first in range(0, self.num_steps, steps):
            last = min(first + steps, self.num_steps)
            taken = self.order.take(first * size, last * size)
            for step in range(first + 1, last + 1):
                rows = slice((step - 1 - first) * size, (step - first) * size)
                self._compare(step, Samples(taken.datasets[rows], taken.samples[rows]))
            yield taken

    def _compare(self, step: int, taken: Samples) -> None:
        recorded, found = self.ledger.get(step, "no row"), taken.digest()
        if recorded != found:
            words = f"step {step}: the ledger says {recorded}, the order gives {found}"
            why = "token files, index or code are not those that the run used, so its steps cannot be traced"
            raise ContractError("the ledger", [f"{words}; {why}"])


def ledger_digest(digests: str) -> str:
    """32 hex digits for a whole ledger, from those of its steps in order, one after the other."""
    return hashlib.blake2b(digests.encode(), digest_size=16).hexdigest()


class Run(NamedTuple):
    """Tokens of one document in one sequence of a step (`sequence` from 1): `start : start + length` of the document.

    `num_tokens` of them are inputs; all but the last of a sequence are.
    """

    document: Placed
    sequence: int
    place: int
    start: int
    length: int
    num_tokens: int


def at_step(exposure: Exposure, step: int) -> list[Run]:
    """The documents of a step, sequence by sequence and in their order there."""
    taken = exposure.samples(step)
    pieces = {}
    for dataset in np.unique(taken.datasets).tolist():
        pieces[dataset] = exposure.order.pieces(dataset, np.unique(taken.samples[taken.datasets == dataset]))
    documents = exposure.documents.touched(pieces)
    found: dict[tuple[int, int], list[Run]] = {}
    for dataset, some in pieces.items():
        mine = [d for d in documents if d.dataset == dataset]
        starts, lengths = (np.array([getattr(d, n) for d in mine], np.int64) for n in ("start", "num_tokens"))
        cut = runs(some, starts, lengths)
        for sample, number, *rest in zip(
            *(c.tolist() for c in (*cut, cut.inputs(exposure.sequence_tokens))), strict=True
        ):
            start, length, place, inputs = rest
            run = Run(mine[number], 0, place, start - mine[number].start, length, inputs)
            found.setdefault((dataset, sample), []).append(run)
    keys = zip(taken.datasets.tolist(), taken.samples.tolist(), strict=True)
    return [run._replace(sequence=i) for i, key in enumerate(keys, 1) for run in found.get(key, [])]


class StepShare(NamedTuple):
    """How many tokens of a document a step saw, and how many of its sequences had some."""

    step: int
    num_tokens: int
    num_sequences: int


def of_document(exposure: Exposure, document: Placed) -> list[StepShare]:
    """The steps that saw any token of a document, ascending. 0 tokens: one was the last target of a sequence."""
    order, dataset = exposure.order, document.dataset
    samples = order.covering(dataset, document.start, document.num_tokens)
    if not len(samples):
        return []
    cut = runs(order.pieces(dataset, samples), np.array([document.start]), np.array([document.num_tokens]))
    tokens = np.zeros(len(samples), np.int64)
    np.add.at(tokens, samples.searchsorted(cut.samples), cut.inputs(exposure.sequence_tokens))
    positions = order.find(dataset, samples)
    shares = []
    for step in np.unique(positions // exposure.batch_sequences + 1).tolist():
        if step <= exposure.num_steps:
            taken = exposure.samples(step)
            mine = taken.samples[(taken.datasets == dataset) & np.isin(taken.samples, samples)]
            shares.append(StepShare(step, int(tokens[samples.searchsorted(mine)].sum()), len(mine)))
    return shares


class LicenceShare(NamedTuple):
    """Tokens of a source and licence that a model saw, and the documents that they are from."""

    source: str
    licence: str
    num_tokens: int
    num_documents: int


def by_licence(exposure: Exposure) -> list[LicenceShare]:
    """Tokens by source and licence over the whole ledger; together with padding they are steps x batch x T.

    Memory: 4 bytes a sample that was taken, some 60 bytes a document of the largest source.
    """
    counts: dict[int, Counts] = {}
    for taken in exposure.blocks():
        for dataset in np.unique(taken.datasets).tolist():
            ids, times = np.unique(taken.samples[taken.datasets == dataset], return_counts=True)
            counts[dataset] = _grown(counts.get(dataset), int(ids[-1]) + 1)
            counts[dataset][ids] += times.astype(np.int32)
    return [share for dataset in sorted(counts) for share in _dataset_shares(exposure, dataset, counts[dataset])]


def _grown(counts: Counts | None, size: int) -> Counts:
    if counts is None:
        return np.zeros(size, np.int32)
    if size <= len(counts):
        return counts
    return np.concatenate([counts, np.zeros(max(size, 2 * len(counts)) - len(counts), np.int32)])


def _dataset_shares(exposure: Exposure, dataset: int, counts: Counts) -> Iterator[LicenceShare]:
    licensed, source = exposure.documents.licensed(dataset), exposure.sources[dataset]
    seen, total = np.zeros(len(licensed.starts), np.int64), 0
    for first in range(0, len(counts), CUT):
        samples: Indices = first + np.flatnonzero(counts[first : first + CUT])
        pieces = exposure.order.pieces(dataset, samples)
        sizes = np.zeros(len(samples), np.int64)
        np.add.at(sizes, samples.searchsorted(pieces.samples), pieces.lengths)
        total += int((np.minimum(sizes, exposure.sequence_tokens) * counts[samples]).sum())
        cut = runs(pieces, licensed.starts, licensed.lengths)
        np.add.at(seen, cut.documents, cut.inputs(exposure.sequence_tokens) * counts[cut.samples])
    for code in np.argsort(licensed.names).tolist():
        mine = seen[licensed.codes == code]
        if tokens := int(mine.sum()):
            yield LicenceShare(source, licensed.names[code], tokens, int(np.count_nonzero(mine)))
    if left := total - int(seen.sum()):
        yield LicenceShare(source, NO_DOCUMENT, left, 0)
