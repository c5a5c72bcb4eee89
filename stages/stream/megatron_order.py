"""The order of samples of Megatron's `BlendedMegatronDatasetBuilder`, read from arrays that `megatron_arrays` stored.

A run may go on in Megatron: with the files of each source merged (`python -m stages.stream.merge`), the same weights,
seed, sequence length and number of samples it takes the same tokens in the same order. Arrays are mapped, and a step
reads what it needs of them. The samples of a dataset are the rows of its sample index, so numbers after shuffling.

What it gives up: weights staged over training, packing, and a start without reading; `virtual.py` has them.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from schemas.table import ContractError
from stages.stream.corpus import Dataset
from stages.stream.order import Array, Indices, Pieces, Samples, Span, ranges

AT_A_TIME = 1 << 22  # elements of a mapped array that a scan looks at together

Files = Mapping[tuple[str, str], Path]


class ShuffledDataset:
    """A dataset whose documents, and then samples, were shuffled: sample `s` lies between rows `s` and `s + 1`."""

    def __init__(self, dataset: Dataset, document_index: Array, sample_index: Array, shuffle_index: Array) -> None:
        self.dataset = dataset
        self.document_index, self.sample_index, self.shuffle_index = document_index, sample_index, shuffle_index
        if len(sample_index) != len(shuffle_index) + 1:
            problem = f"{len(sample_index) - 1} samples in the sample index, {len(shuffle_index)} in the shuffle index"
            raise ContractError(dataset.source, [f"{problem}: run index again"])

    def __len__(self) -> int:
        return len(self.shuffle_index)

    def pieces(self, samples: Indices) -> Pieces:
        """Parts of documents in their shuffled order; those that follow each other in the dataset are one piece."""
        if (wrong := (samples < 0) | (samples >= len(self))).any():
            raise IndexError(f"sample {samples[wrong][0]} of {self.dataset.source}, which has {len(self)}")
        (first, skip), (last, end) = (self.sample_index[samples + more].astype(np.int64).T for more in (0, 1))
        counts = last - first + 1
        places = ranges(first, counts)
        of, starts, lengths = np.repeat(samples, counts), *self.dataset.document_spans(self.document_index[places])
        heads, tails = np.cumsum(counts) - counts, np.cumsum(counts) - 1
        lengths[tails] = end + 1
        starts[heads] += skip
        lengths[heads] -= skip
        return _joined(np.repeat(np.arange(len(samples)), counts), Pieces(of, starts, lengths))

    def covering(self, start: int, length: int) -> Indices:
        """Samples, ascending, that hold any of the tokens `start : start + length` of the dataset."""
        documents = self.dataset.documents_in(start, length)
        starts, lengths = self.dataset.document_spans(np.arange(documents.start, documents.stop))
        found = [np.empty(0, np.int64)]
        for places in _where_between(self.document_index, documents.start, documents.stop):
            inside = self.document_index[places].astype(np.int64) - documents.start
            first = np.maximum(start - starts[inside], 0)
            last = np.minimum(start + length - starts[inside], lengths[inside]) - 1
            lows = np.maximum(self._rows_until(places, first - 1) - 1, 0)
            highs = np.minimum(self._rows_until(places, last), len(self))
            found.append(ranges(lows, np.where(last >= first, np.maximum(highs - lows, 0), 0)))
        return np.unique(np.concatenate(found))

    def turns(self, samples: Indices) -> Indices:
        """When these samples have their turn among the dataset's samples, ascending."""
        blocks = [slice(first, first + AT_A_TIME) for first in range(0, len(self), AT_A_TIME)]
        found = [np.flatnonzero(np.isin(self.shuffle_index[block], samples)) + block.start for block in blocks]
        return np.concatenate([np.empty(0, np.int64), *found])

    def _rows_until(self, places: Indices, offsets: Indices) -> Indices:
        """How many rows are at or before these (place, offset), by bisection."""
        low, high = np.zeros_like(places), np.full_like(places, len(self.sample_index))
        while (open_ := low < high).any():
            middle = np.where(open_, (low + high) // 2, 0)
            place, offset = self.sample_index[middle].astype(np.int64).T
            before = (place < places) | ((place == places) & (offset <= offsets))
            low, high = np.where(open_ & before, middle + 1, low), np.where(open_ & ~before, middle, high)
        return low


class MegatronOrder:
    """The `SampleOrder` of stored arrays: `parts` are the datasets by number, None for those that the run leaves out.

    `dataset_index` (int16) counts only the parts that are not None.
    """

    def __init__(
        self, parts: Sequence[ShuffledDataset | None], dataset_index: Array, sample_index: Array, num_samples: int
    ) -> None:
        self.parts, self.num_samples = list(parts), num_samples
        self._numbers = np.array([k for k, part in enumerate(parts) if part is not None], np.int32)
        self._dataset_index, self._sample_index = dataset_index, sample_index
        if not num_samples <= len(dataset_index) == len(sample_index):
            found = f"{len(dataset_index)} and {len(sample_index)}"
            raise ContractError(
                "the blend", [f"expected {num_samples} samples or more, found {found}: run index again"]
            )

    def take(self, first: int, last: int) -> Samples:
        """Samples `first : last` of the run; `IndexError` outside it."""
        if not 0 <= first <= last <= self.num_samples:
            raise IndexError(f"samples {first}:{last} of a run of {self.num_samples}")
        datasets = self._numbers[self._dataset_index[first:last]]
        samples = np.array(self._sample_index[first:last], np.int64)
        for number in np.unique(datasets):
            some = datasets == number
            samples[some] = self._part(int(number)).shuffle_index[samples[some]]
        return Samples(datasets, samples)

    def spans(self, dataset: int, sample: int) -> list[Span]:
        """Where the tokens of a sample lie, in order."""
        pieces = self.pieces(dataset, np.array([sample]))
        return [Span(int(start), int(length)) for start, length in zip(pieces.starts, pieces.lengths, strict=True)]

    def pieces(self, dataset: int, samples: Indices) -> Pieces:
        """Where the tokens of these samples of a dataset lie; of a dataset that is left out one can ask for none."""
        if not len(samples):
            return Pieces(samples, samples, samples)
        return self._part(dataset).pieces(samples)

    def covering(self, dataset: int, start: int, length: int) -> Indices:
        """Samples of a dataset, ascending, that hold any of its tokens `start : start + length`."""
        part = self.parts[dataset]
        return part.covering(start, length) if part else np.empty(0, np.int64)

    def find(self, dataset: int, samples: Indices) -> Indices:
        """Positions in the run, ascending, at which any of these samples of a dataset are taken: a scan of the blend."""
        part, seen, found = self.parts[dataset], 0, [np.empty(0, np.int64)]
        turns = part.turns(samples) if part else found[0]
        number = int(self._numbers.searchsorted(dataset))
        for places in _where_between(self._dataset_index[: self.num_samples], number, number + 1):
            low, high = turns.searchsorted([seen, seen + len(places)])
            found.append(places[turns[low:high] - seen])
            seen += len(places)
        return np.concatenate(found) if part else found[0]

    def _part(self, dataset: int) -> ShuffledDataset:
        part = self.parts[dataset]
        if part is None:
            raise IndexError(f"dataset {dataset} is not part of this order")
        return part


def open_megatron(datasets: Sequence[Dataset], files: Files, num_samples: int) -> MegatronOrder:
    """The order of stored arrays, by (source, name), mapped; sources without arrays are left out of it."""
    parts = [_open_dataset(dataset, files) for dataset in datasets]
    dataset_index, sample_index = (_load(files, "", name) for name in ("dataset_index", "dataset_sample_index"))
    return MegatronOrder(parts, dataset_index, sample_index, num_samples)


def _open_dataset(dataset: Dataset, files: Files) -> ShuffledDataset | None:
    names = ("document_index", "sample_index", "shuffle_index")
    if not any((dataset.source, name) in files for name in names):
        return None
    return ShuffledDataset(dataset, *(_load(files, dataset.source, name) for name in names))


def _load(files: Files, source: str, name: str) -> Array:
    if (source, name) not in files:
        raise ContractError(
            "the arrays of the order", [f"{name} of {source or 'the blend'} is missing: run index again"]
        )
    array: Array = np.load(files[source, name], mmap_mode="r", allow_pickle=False)
    return array


def _joined(of: Indices, pieces: Pieces) -> Pieces:
    """Without empty pieces, and with those of a sample that follow each other in one; `of` tells samples apart."""
    keep = pieces.lengths > 0
    of, samples, starts, lengths = of[keep], *(column[keep] for column in pieces)
    follows = np.zeros(len(of), bool)
    follows[1:] = (of[1:] == of[:-1]) & (starts[1:] == (starts + lengths)[:-1])
    heads = np.flatnonzero(~follows)
    return Pieces(samples[heads], starts[heads], np.add.reduceat(lengths, heads) if len(heads) else lengths)


def _where_between(array: Array, low: int, high: int) -> Iterator[Indices]:
    """Where an array is from `low` to below `high`, a block of it at a time."""
    for first in range(0, len(array), AT_A_TIME):
        block = array[first : first + AT_A_TIME]
        yield np.flatnonzero((block >= low) & (block < high)) + first
