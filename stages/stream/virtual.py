"""An order of samples that is computed, not built: nothing is stored, and any step is found from its number alone.

Which source gives a sample of a step is a closed form of the weights (`apportion`), so every step holds of each source
its share of the batch, rounded down or up. Which sample of the source comes next is a keyed permutation of its samples,
one an epoch (`feistel`), and a last permutation, one a step, mixes the batch. A source's permutations hang on the seed
and its name: another source beside it, another weight or another batch size does not change the order of its samples.

What it gives up: Megatron's order. All arrays here have one element a sample asked for.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from schemas.table import ContractError
from stages.stream.apportion import Apportionment
from stages.stream.feistel import named_keys, numbered_keys, permute, unpermute
from stages.stream.mixture import Phase
from stages.stream.order import Array, Indices, Pieces, Samples, Span, ranges

SPANS_AT_A_TIME = 1 << 20  # 16 MiB


class Packing(Protocol):
    """How a dataset is cut into samples; `len()` counts them."""

    source: str

    def __len__(self) -> int: ...

    def pieces(self, samples: Indices) -> Pieces:
        """Where the tokens of these samples lie; IndexError for one that does not exist."""

    def covering(self, start: int, length: int) -> Indices:
        """Samples, ascending, that hold any of the tokens `start : start + length`."""


class Contiguous:
    """Sample s is tokens s T .. s T + T: each token but the first is a target once, less than T at the end are not used."""

    def __init__(self, source: str, num_tokens: int, sequence_tokens: int) -> None:
        self.source, self.num_tokens, self.sequence_tokens = source, num_tokens, sequence_tokens

    def __len__(self) -> int:
        return max(self.num_tokens - 1, 0) // self.sequence_tokens

    def pieces(self, samples: Indices) -> Pieces:
        """One window a sample."""
        _check_samples(samples, self)
        return Pieces(samples, samples * self.sequence_tokens, np.full_like(samples, self.sequence_tokens + 1))

    def covering(self, start: int, length: int) -> Indices:
        """The windows that a range lies in: two where it touches the token that they share."""
        first = max(start - 1, 0) // self.sequence_tokens
        last = min((start + length - 1) // self.sequence_tokens, len(self) - 1)
        return np.arange(first, last + 1 if length else first)


class BestFit:
    """Sample s is a bin of documents: rows `ends[s - 1] .. ends[s]` of `spans` (N x 2: start, length), arrays of `packing`."""

    def __init__(self, source: str, ends: Array, spans: Array) -> None:
        self.source, self._ends, self._spans = source, ends, spans

    def __len__(self) -> int:
        return len(self._ends)

    def pieces(self, samples: Indices) -> Pieces:
        """The documents of each bin, or parts of long ones, by position."""
        _check_samples(samples, self)
        lasts, firsts = self._ends[samples], np.where(samples > 0, self._ends[samples - 1], 0)
        counts = lasts - firsts
        spans = self._spans[ranges(firsts, counts)]
        return Pieces(np.repeat(samples, counts), spans[:, 0], spans[:, 1])

    def covering(self, start: int, length: int) -> Indices:
        """The bins that hold parts of a range: one look at every span, a block at a time."""
        found = [np.empty(0, np.int64)]
        for first in range(0, len(self._spans), SPANS_AT_A_TIME):
            starts, lengths = self._spans[first : first + SPANS_AT_A_TIME].T
            rows = np.flatnonzero((starts < start + length) & (starts + lengths > start)) + first
            found.append(self._ends.searchsorted(rows, side="right"))
        return np.unique(np.concatenate(found))


def _check_samples(samples: Indices, packing: Packing) -> None:
    if (wrong := (samples < 0) | (samples >= len(packing))).any():
        raise IndexError(f"sample {samples[wrong][0]} of {packing.source}, which has {len(packing)}")


class VirtualOrder:
    """The `SampleOrder` of a mixture; `phases` have a weight for each of `packings`.

    ContractError if a source with a weight has not one sample.
    """

    def __init__(self, packings: Sequence[Packing], phases: Sequence[Phase], batch_sequences: int, seed: int) -> None:
        self.packings, self.batch_sequences = list(packings), batch_sequences
        self.sizes = np.array([len(p) for p in packings], np.int64)
        _check_supply(self.packings, phases)
        self._dataset_keys = np.stack([named_keys(f"{seed}/{p.source}") for p in packings], axis=1)
        self._step_keys = named_keys(f"{seed}")
        self._shares = [Apportionment(p.parts, batch_sequences) for p in phases]
        self._first_steps = np.array([p.first_step - 1 for p in phases])
        self._num_steps = phases[-1].last_step
        self._given = self._given_before(phases)

    @property
    def num_samples(self) -> int:
        """Samples that the run takes."""
        return self._num_steps * self.batch_sequences

    def take(self, first: int, last: int) -> Samples:
        """Samples `first : last` of the run; `IndexError` outside it."""
        if not 0 <= first <= last <= self.num_samples:
            raise IndexError(f"samples {first}:{last} of a run of {self.num_samples}")
        steps, places = np.divmod(np.arange(first, last), self.batch_sequences)
        slots = permute(places, np.int64(self.batch_sequences), numbered_keys(self._step_keys, steps))
        datasets, turns = np.empty_like(slots), np.empty_like(slots)
        phases = self._phases(steps)
        for phase in np.unique(phases):
            some = phases == phase
            datasets[some], turns[some] = self._drawn(phase, steps[some], slots[some])
        epochs, inside = np.divmod(turns, self.sizes[datasets])
        samples = permute(inside, self.sizes[datasets], self._epoch_keys(datasets, epochs))
        return Samples(datasets.astype(np.int32), samples)

    def spans(self, dataset: int, sample: int) -> list[Span]:
        """Where the tokens of a sample lie."""
        pieces = self.packings[dataset].pieces(np.array([sample]))
        return [Span(int(start), int(length)) for start, length in zip(pieces.starts, pieces.lengths, strict=True)]

    def pieces(self, dataset: int, samples: Indices) -> Pieces:
        """Where the tokens of these samples of a dataset lie."""
        return self.packings[dataset].pieces(samples)

    def covering(self, dataset: int, start: int, length: int) -> Indices:
        """Samples of a dataset, ascending, that hold any of its tokens `start : start + length`."""
        return self.packings[dataset].covering(start, length)

    def find(self, dataset: int, samples: Indices) -> Indices:
        """Positions in the run, ascending, at which any of these samples of a dataset are taken: a few a sample and epoch."""
        size, total = int(self.sizes[dataset]), int(self._given[-1, dataset])
        wanted, num_epochs = np.unique(samples), -(-total // max(size, 1))
        epochs, items = np.repeat(np.arange(num_epochs), len(wanted)), np.tile(wanted, num_epochs)
        datasets = np.full_like(items, dataset)
        turns = epochs * size + unpermute(items, np.int64(size), self._epoch_keys(datasets, epochs))
        return np.sort(self._positions(dataset, turns[turns < total]))

    def _given_before(self, phases: Sequence[Phase]) -> Indices:
        """Samples that each source has given before each phase, and at the end: (phases + 1) x K."""
        sources = np.arange(len(self.packings))
        counts = [
            share.given(np.full_like(sources, phase.num_steps), sources)
            for share, phase in zip(self._shares, phases, strict=True)
        ]
        return np.cumsum(np.stack([np.zeros_like(sources), *counts]), axis=0)

    def _phases(self, steps: Indices) -> Indices:
        return self._first_steps.searchsorted(steps, side="right") - 1

    def _drawn(self, phase: int, steps: Indices, slots: Indices) -> tuple[Indices, Indices]:
        """The source of each slot, and how many samples it has given before in the run."""
        share, batches = self._shares[phase], steps - self._first_steps[phase]
        datasets = share.source(batches, slots)
        in_batch = slots - share.first_slot(batches, datasets)
        return datasets, self._given[phase, datasets] + share.given(batches, datasets) + in_batch

    def _positions(self, dataset: int, turns: Indices) -> Indices:
        """The inverse of `_drawn`: where in the run a dataset gives its samples number `turns`."""
        positions = np.empty_like(turns)
        phases = self._given[1:, dataset].searchsorted(turns, side="right")
        for phase in np.unique(phases):
            some, share = phases == phase, self._shares[phase]
            inside = turns[some] - self._given[phase, dataset]
            datasets = np.full_like(inside, dataset)
            batches = share.batch(datasets, inside, self._num_steps)
            slots = share.first_slot(batches, datasets) + inside - share.given(batches, datasets)
            steps = batches + self._first_steps[phase]
            places = unpermute(slots, np.int64(self.batch_sequences), numbered_keys(self._step_keys, steps))
            positions[some] = steps * self.batch_sequences + places
        return positions

    def _epoch_keys(self, datasets: Indices, epochs: Indices) -> npt.NDArray[np.uint64]:
        return numbered_keys(self._dataset_keys[:, datasets], epochs)


def _check_supply(packings: Sequence[Packing], phases: Sequence[Phase]) -> None:
    problems = [
        f"{p.source}: it has a weight, but not the tokens of one sample"
        for k, p in enumerate(packings)
        if not len(p) and any(phase.parts[k] for phase in phases)
    ]
    if problems or not packings:
        raise ContractError("the training tokens", problems or ["no source"])
