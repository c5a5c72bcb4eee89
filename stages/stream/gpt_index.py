"""The document, sample and shuffle index of one dataset, byte for byte those of Megatron's `GPTDataset`.

The algorithm is that of megatron-core 0.16 (`datasets/gpt_dataset.py`, `datasets/helpers.cpp`): one
`RandomState(seed)` shuffles the documents of all epochs, then the samples. Sample `s` is tokens `s T .. s T + T` of the
documents in their new order, and row `s` of the sample index says where that begins: (position in the document index,
tokens of that document to skip).

Megatron walks the documents one after another and waits for the length of each. Here the lengths are fetched first, many
at a time, and summed by blocks; each block then knows where it stands, so that threads cut blocks side by side. It costs
4 bytes a document more while it works.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.table import ContractError
from stages.compiled import compiled
from stages.stream.mt19937 import shuffle

Array = npt.NDArray[Any]

SEPARATE_BELOW = 0.80  # an epoch of which a smaller part is needed is not mixed with those before it
BLOCK_DOCUMENTS = 1 << 20  # a thread's piece of work, some milliseconds
INT32_MAX, UINT32_MAX = np.iinfo(np.int32).max, np.iinfo(np.uint32).max


class Indices(NamedTuple):
    """What N samples are made of: document index (int32), sample index (N + 1 rows of two), shuffle index (N)."""

    document_index: Array
    sample_index: Array
    shuffle_index: Array


@dataclass(frozen=True)
class Cutting:
    """How a dataset is cut into samples of `sequence_tokens`.

    `extra_token`: a sample has one token more, the last target. `drop_last`: no sample of fewer tokens at the end;
    without it Megatron counts the samples in 32-bit floats, and so does this.
    """

    sequence_tokens: int
    extra_token: bool = True
    drop_last: bool = True

    def full_samples(self, num_tokens: int) -> int:
        """Samples of full length in this many tokens."""
        return (num_tokens - self.extra_token) // self.sequence_tokens

    def num_samples(self, num_tokens: int) -> int:
        """Samples in this many tokens."""
        if self.drop_last:
            return self.full_samples(num_tokens)
        return int(np.ceil(np.float32(num_tokens - self.extra_token) / np.float32(self.sequence_tokens)))

    def num_epochs(self, num_tokens: int, num_samples: int | None) -> int:
        """The least number of passes over `num_tokens` that gives `num_samples`; one if none are asked for."""
        if num_samples is None:
            return 1
        return max(1, -(-(num_samples * self.sequence_tokens + self.extra_token) // num_tokens))

    def supply(self, num_tokens: int, num_samples: int | None) -> int:
        """Samples that `build` makes when asked for `num_samples`: what all its epochs hold."""
        return self.num_samples(self.num_epochs(num_tokens, num_samples) * num_tokens)


def build(lengths: Array, cutting: Cutting, seed: int, num_samples: int | None = None, num_threads: int = 1) -> Indices:
    """The indices of at least `num_samples` samples (of one epoch if None) of documents of these lengths (int32)."""
    num_tokens = int(lengths.sum(dtype=np.int64))
    if not num_tokens:
        raise ContractError("a dataset", [f"{len(lengths)} documents without a token: nothing can be sampled"])
    if len(lengths) > INT32_MAX:
        raise ContractError("a dataset", [f"{len(lengths)} documents, Megatron's int32 indices go to {INT32_MAX}"])
    epochs = cutting.num_epochs(num_tokens, num_samples)
    before = cutting.full_samples((epochs - 1) * num_tokens)  # samples of all epochs but the last
    needed = (num_samples or 0) - before
    separate = epochs > 1 and needed < int(SEPARATE_BELOW * cutting.full_samples(num_tokens))
    random = np.random.RandomState(seed)
    documents = _document_index(len(lengths), epochs, random, separate=separate)
    samples = sample_index(lengths, documents, cutting, num_threads)
    total = len(samples) - 1
    return Indices(documents, samples, _shuffle_index(before if separate else total, total, random))


def _document_index(num_documents: int, epochs: int, random: np.random.RandomState, *, separate: bool) -> Array:
    """All documents once an epoch, shuffled over all epochs, or over all but the last and then that one."""
    index = np.tile(np.arange(num_documents, dtype=np.int32), epochs)
    middle = (epochs - separate) * num_documents
    shuffle(random, index[:middle])
    if separate:
        shuffle(random, index[middle:])
    return index


def _shuffle_index(middle: int, total: int, random: np.random.RandomState) -> Array:
    """0 .. total - 1, shuffled in two parts."""
    index = np.arange(total, dtype=_shuffle_type(total))
    shuffle(random, index[:middle])
    if middle != total:
        shuffle(random, index[middle:])
    return index


def _shuffle_type(total: int) -> type[np.integer[Any]]:
    return np.int64 if total >= UINT32_MAX - 1 else np.uint32


class Block(NamedTuple):
    """Where a block of the document index starts: its first position and token; and how samples are cut."""

    first_document: int
    first_token: int
    sequence_tokens: int
    shift: int  # 1 without an extra token: a sample's end then lies behind its last token, not in front of the next


def sample_index(lengths: Array, documents: Array, cutting: Cutting, num_threads: int = 1) -> Array:
    """Where each sample of these documents, in this order, begins, and where the last ends ((N + 1) x 2).

    int32, or int64 if there are 2^31 documents or more. Row 0 is (0, 0), whatever the first document's length.
    """
    lengths, shift = np.ascontiguousarray(lengths, np.int32), int(not cutting.extra_token)
    fetched = np.empty(len(documents), np.int32)
    blocks = [slice(b, b + BLOCK_DOCUMENTS) for b in range(0, len(documents), BLOCK_DOCUMENTS)]
    with ThreadPoolExecutor(num_threads) as pool:
        each: Callable[..., Any] = map if min(num_threads, len(blocks)) == 1 else pool.map
        sums = np.array(list(each(lambda b: _fetch(lengths, documents[b], fetched[b]), blocks)))
        ends = np.cumsum(sums)
        rows = _empty_rows(len(documents), int(ends[-1]), cutting)
        starts = [
            Block(b.start, int(s), cutting.sequence_tokens, shift) for b, s in zip(blocks, ends - sums, strict=True)
        ]
        list(each(lambda b, start: _cut(fetched[b], start, rows), blocks, starts))
    after = (int(ends[-1]) - 1 + shift) // cutting.sequence_tokens + 1  # rows that no token begins
    rows[after:] = len(documents) - 1, fetched[-1] - cutting.extra_token
    if rows[-1, 1] < 0:
        raise ContractError(
            "a dataset", ["its last document is empty and the last sample is not full; drop that sample"]
        )
    return rows


def _empty_rows(num_documents: int, num_tokens: int, cutting: Cutting) -> Array:
    dtype = np.int32 if num_documents <= INT32_MAX else np.int64
    return np.zeros((cutting.num_samples(num_tokens) + 1, 2), dtype)


@compiled
def _fetch(lengths: Array, documents: Array, fetched: Array) -> int:
    """Fetch the lengths of these documents; return their sum."""
    total = 0
    for n in range(len(documents)):
        length = lengths[np.uint32(documents[n])]
        fetched[n] = length
        total += length
    return total


@compiled
def _cut(lengths: Array, block: Block, rows: Array) -> None:
    """Fill the rows of the samples that begin in this block."""
    start, step, shift = block.first_token, block.sequence_tokens, block.shift
    row = max(1, -(-(start + shift) // step))
    token = row * step - shift  # the row begins at this token, or right behind it
    for n in range(len(lengths)):
        end = start + lengths[n]
        while token < end and row < len(rows):
            rows[row, 0], rows[row, 1] = block.first_document + n, token - start + shift
            row, token = row + 1, token + step
        start = end
