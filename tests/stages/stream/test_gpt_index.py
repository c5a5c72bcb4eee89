"""Document, sample and shuffle index are Megatron's, byte for byte."""

from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.table import ContractError
from stages.stream import gpt_index
from stages.stream.gpt_index import Cutting, Indices, build, sample_index

Array = npt.NDArray[Any]


def theirs(gpt_dataset: ModuleType, lengths: Array, cutting: Cutting, seed: int, num_samples: int | None) -> Indices:
    """Let Megatron's own dataset build its indices over documents of these lengths, with no file at all."""
    split = gpt_dataset.Split.train if cutting.drop_last else gpt_dataset.Split.valid
    dataset = object.__new__(gpt_dataset.GPTDataset)
    dataset.config = SimpleNamespace(
        defer_npy_index_mmap=False,
        path_to_cache=None,
        mock=True,
        sequence_length=cutting.sequence_tokens,
        add_extra_token_to_sequence=cutting.extra_token,
        random_seed=seed,
        drop_last_partial_validation_sequence=cutting.drop_last,
    )
    dataset.dataset = SimpleNamespace(sequence_lengths=lengths)
    dataset.indices = np.arange(len(lengths), dtype=np.int32)
    dataset.num_samples, dataset.index_split = num_samples, split
    return Indices(*dataset._build_document_sample_shuffle_indices())


def same(ours: Indices, other: Indices) -> None:
    """Assert that types, shapes and bytes are equal."""
    for name, a, b in zip(Indices._fields, ours, other, strict=True):
        assert (name, a.dtype, a.shape) == (name, b.dtype, b.shape)
        np.testing.assert_array_equal(a, b)


def documents(*lengths: int) -> Array:
    """Lengths as an index file holds them."""
    return np.array(lengths, np.int32)


Lengths = st.lists(st.sampled_from([0, 0, 1, 2, 3]) | st.integers(0, 60), min_size=1, max_size=30).filter(any)
Cuttings = st.builds(Cutting, st.integers(1, 40), st.booleans())


@settings(max_examples=300, deadline=None)
@given(Lengths, Cuttings, st.integers(0, 2**32 - 1), st.none() | st.integers(1, 80))
@example([0, 0, 5], Cutting(2), 1, None)  # the first document may be empty
@example([100], Cutting(7), 1, 20)  # one document longer than several samples
@example([3, 2], Cutting(64), 1, 5)  # a sequence longer than many epochs
@example([4, 3, 5], Cutting(4, extra_token=False), 1, None)  # a sample ends with a document
def test_indices_are_megatrons(
    gpt_dataset: ModuleType, lengths: list[int], cutting: Cutting, seed: int, num_samples: int | None
) -> None:
    """All three indices equal the dataset's for any documents, sequence and number of samples."""
    lengths_array = documents(*lengths)
    ours = build(lengths_array, cutting, seed, num_samples)
    same(ours, theirs(gpt_dataset, lengths_array, cutting, seed, num_samples))


@pytest.mark.parametrize("epochs", [1, 2, 3])
@pytest.mark.parametrize("fraction", [0.79, 0.80, 0.81, 1.0])
@pytest.mark.parametrize("extra", [True, False])
def test_a_final_epoch_of_which_little_is_needed_is_apart(
    gpt_dataset: ModuleType, epochs: int, fraction: float, extra: bool
) -> None:
    """Below 80 percent of an epoch's samples the last epoch is shuffled on its own, from 80 percent on with the rest."""
    lengths, cutting = documents(*np.random.default_rng(1).integers(0, 90, 400)), Cutting(10, extra)
    num_tokens = int(lengths.sum())
    per_epoch = cutting.full_samples(num_tokens)
    needed = cutting.full_samples((epochs - 1) * num_tokens) + round(fraction * per_epoch)
    for num_samples in (needed - 1, needed, needed + 1):
        ours = build(lengths, cutting, 5, num_samples)
        same(ours, theirs(gpt_dataset, lengths, cutting, 5, num_samples))
    first = ours.document_index[: len(lengths)]
    if epochs == 2:
        assert (len(set(first.tolist())) == len(lengths)) == (fraction < 0.80)


def test_the_last_partial_sample(gpt_dataset: ModuleType) -> None:
    """Where the last sample may be short, its end is where Megatron's is."""
    for lengths in ([5, 6, 7], [10, 10, 1], [4, 4, 4, 4], [1, 1], [33]):
        for sequence in range(1, 20):
            for extra in (True, False):
                cutting = Cutting(sequence, extra, drop_last=False)
                ours = build(documents(*lengths), cutting, 3)
                same(ours, theirs(gpt_dataset, documents(*lengths), cutting, 3, None))


def test_samples_are_counted_in_32_bit_floats(helpers: ModuleType) -> None:
    """Without dropping the last sample, 409,600,002 tokens make 100,000 samples of 4,096, as Megatron counts them."""
    lengths = np.full(100_001, 4096, np.int32)
    lengths[-1] = 2
    order = np.arange(len(lengths), dtype=np.int32)
    cutting = Cutting(4096, drop_last=False)
    ours = sample_index(lengths, order, cutting)
    other = helpers.build_sample_idx(lengths, order, 4096, 1, int(lengths.sum(dtype=np.int64)), False, True)
    assert len(ours) == 100_001  # exact arithmetic would say 100,002
    np.testing.assert_array_equal(ours, other)


@pytest.mark.parametrize(
    ("tokens", "sequence"),
    [*((2**24 + more, 1) for more in (-1, 0, 1, 3)), *((2**26 + more, 3) for more in range(6)), (3 * 2**25 + 7, 1000)],
)
def test_32_bit_counts_beyond_their_precision(helpers: ModuleType, tokens: int, sequence: int) -> None:
    """Whether the rounded count is above or below the exact one, the rows at the end are Megatron's."""
    lengths = np.full(-(-tokens // 100_000), 100_000, np.int32)
    lengths[-1] = tokens - 100_000 * (len(lengths) - 1)
    order, cutting = np.arange(len(lengths), dtype=np.int32), Cutting(sequence, drop_last=False)
    other = helpers.build_sample_idx(lengths, order, sequence, 1, tokens, False, True)
    np.testing.assert_array_equal(sample_index(lengths, order, cutting), other)


@pytest.mark.parametrize("num_threads", [1, 2, 5])
@pytest.mark.parametrize("extra", [True, False])
def test_blocks_and_threads_change_nothing(
    helpers: ModuleType, monkeypatch: pytest.MonkeyPatch, num_threads: int, extra: bool
) -> None:
    """However many blocks and threads cut the documents, the rows are the helper's."""
    monkeypatch.setattr(gpt_index, "BLOCK_DOCUMENTS", 97)
    draw = np.random.default_rng(2)
    lengths = (draw.integers(0, 300, 5000) * (draw.random(5000) < 0.8)).astype(np.int32)
    order = draw.permutation(np.tile(np.arange(5000, dtype=np.int32), 2))
    for sequence in (1, 64, 5000, 10**6):
        cutting = Cutting(sequence, extra)
        other = helpers.build_sample_idx(lengths, order, sequence, 2, int(lengths.sum()), True, extra)
        np.testing.assert_array_equal(sample_index(lengths, order, cutting, num_threads), other)


def test_int64_rows(helpers: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """From 2^31 documents on the rows are int64; where that begins, ours are the helper's of that type."""
    monkeypatch.setattr(gpt_index, "INT32_MAX", 3)
    lengths, order = documents(4, 9, 0, 5), np.array([2, 1, 3, 0], np.int32)
    ours = sample_index(lengths, order, Cutting(3))
    other = helpers.build_sample_idx_int64(lengths, order, 3, 1, 18, True, 1)
    assert ours.dtype == other.dtype == np.int64
    np.testing.assert_array_equal(ours, other)


def test_shuffle_index_of_very_many(gpt_dataset: ModuleType) -> None:
    """The shuffle index becomes int64 where Megatron's does, two below the end of uint32."""
    limit = np.iinfo(np.uint32).max - 1
    assert gpt_index._shuffle_type(limit - 1) == np.uint32
    assert gpt_index._shuffle_type(limit) == np.int64


def test_lengths_may_be_a_view_of_a_file(tmp_path: Path, helpers: ModuleType) -> None:
    """Lengths at odd addresses of a mapped file, as an `.idx` has them, give the same rows."""
    lengths = documents(3, 0, 8, 5, 5)
    (tmp_path / "x").write_bytes(b"ab" + lengths.tobytes())
    mapped = np.memmap(tmp_path / "x", "<i4", mode="r", offset=2)
    order = np.arange(5, dtype=np.int32)
    np.testing.assert_array_equal(sample_index(mapped, order, Cutting(4)), sample_index(lengths, order, Cutting(4)))


@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0]])
def test_no_tokens(lengths: list[int]) -> None:
    """A dataset without a token is refused: Megatron would count its epochs for ever."""
    with pytest.raises(ContractError, match="without a token"):
        build(documents(*lengths), Cutting(8), 1, 10)


def test_a_short_last_sample_at_an_empty_document() -> None:
    """What Megatron stops at with a bare assertion has words here."""
    with pytest.raises(ContractError, match="last document is empty"):
        sample_index(documents(5, 0), np.array([0, 1], np.int32), Cutting(8, drop_last=False))
