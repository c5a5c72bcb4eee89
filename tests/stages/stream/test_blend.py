"""The blend is Megatron's, byte for byte."""

from types import ModuleType
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.base import SettingsError
from stages.stream import blend as module
from stages.stream.blend import MAX_DATASETS, Blend, blend, blend_exhaustively, normalize

Array = npt.NDArray[Any]


def theirs(helpers: ModuleType, weights: Array, num_samples: int) -> Blend:
    """Blend with Megatron's helper."""
    found = Blend(np.zeros(num_samples, np.int16), np.zeros(num_samples, np.int64))
    helpers.build_blending_indices(*found, weights, len(weights), num_samples, False)
    return found


def theirs_exhaustively(helpers: ModuleType, sizes: Array) -> Blend:
    """Blend all samples with Megatron's helper."""
    found = Blend(np.zeros(sizes.sum(), np.int16), np.zeros(sizes.sum(), np.int64))
    helpers.build_exhaustive_blending_indices(*found, sizes, len(sizes))
    return found


def same(ours: Blend, other: Blend) -> bool:
    """Whether two blends have the same bytes."""
    return all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in zip(ours, other, strict=True))


def law(name: str, size: int) -> Array:
    """Weights of a kind, normalized twice as Megatron does."""
    draw = np.random.default_rng(size)
    weights = {
        "lognormal": draw.lognormal(0, 1, size),
        "pareto": draw.pareto(1.1, size) + 0.01,
        "equal": np.ones(size),
        "nearly equal": 1 + 1e-9 * draw.random(size),
        "corpora": draw.lognormal(0, 1, 7)[draw.integers(0, 7, size)],  # files of a corpus share its weight
        "tails": np.where(np.arange(size) % 3 == 1, 1e-9, draw.random(size)),
        "dyadic": 2.0 ** -np.minimum(np.arange(size), 40),
        "one for all": np.where(np.arange(size) == size // 2, 1e6, 1.0),
    }[name]
    return normalize(normalize(weights))


LAWS = ["lognormal", "pareto", "equal", "nearly equal", "corpora", "tails", "dyadic", "one for all"]


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("size", [1, 2, 3, 14, 100, 399, 400, 2419])
def test_blend_is_megatrons(helpers: ModuleType, name: str, size: int) -> None:
    """Both indices equal the helper's for every kind of weights, few datasets and many."""
    weights = law(name, size)
    assert same(blend(weights, 12_000), theirs(helpers, weights, 12_000))


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize(("size", "num_threads"), [(3, 1), (3, 2), (40, 3), (700, 2)])
def test_threads_change_nothing(
    helpers: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, size: int, num_threads: int
) -> None:
    """Parts that begin from a guess are joined to the exact ones, so that any number of threads gives the same."""
    monkeypatch.setattr(module, "PART_SAMPLES", 1000)
    weights = law(name, size)
    assert same(blend(weights, 10_007, num_threads), theirs(helpers, weights, 10_007))


def test_a_wrong_guess_costs_time_only(helpers: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that began from what never comes true is chosen again, to its end if need be."""
    monkeypatch.setattr(module, "PART_SAMPLES", 1000)
    monkeypatch.setattr(module.Rule, "_guess", lambda rule, _: np.zeros(len(rule.weights)))
    for size in (5, 60):
        weights = law("lognormal", size)
        assert same(blend(weights, 9000, 4), theirs(helpers, weights, 9000))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from([1, 2, 3, 0.5, 1 / 3, 0.1, 1e-9, 7, 1e3]) | st.floats(1e-12, 1e12), min_size=1, max_size=90
    ),
    st.integers(1, 700),
)
def test_any_weights(helpers: ModuleType, weights: list[float], num_samples: int) -> None:
    """Ties go to the first dataset and tails to their turn, whatever the weights."""
    shares = normalize(np.array(weights, np.float64))
    assert same(blend(shares, num_samples), theirs(helpers, shares, num_samples))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([1, 2, 3, 5]) | st.integers(1, 200), min_size=1, max_size=90), st.integers(1, 3))
def test_exhaustive_blend_is_megatrons(helpers: ModuleType, sizes: list[int], num_threads: int) -> None:
    """Every dataset gives all its samples, in the helper's order."""
    counts = np.array(sizes, np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PART_SAMPLES", 50)
        found = blend_exhaustively(counts, num_threads)
    assert same(found, theirs_exhaustively(helpers, counts))
    assert np.bincount(found.dataset_index).tolist() == sizes


def test_exhaustive_blend_of_many(helpers: ModuleType) -> None:
    """Many datasets of mixed sizes, of which small ones end early, are used up in the helper's order."""
    sizes = np.random.default_rng(3).integers(1, 40, 1500)
    sizes[::7] = 17
    assert same(blend_exhaustively(sizes), theirs_exhaustively(helpers, sizes))


def test_most_datasets_that_the_index_holds(helpers: ModuleType) -> None:
    """32,766 datasets are blended as Megatron does; it takes no more."""
    weights = law("lognormal", MAX_DATASETS)
    assert same(blend(weights, 300), theirs(helpers, weights, 300))


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (np.ones(32_767) / 32_767, "1 to 32766 datasets .* found 32767: merge some"),
        (np.zeros(0), "found 0"),
        (np.array([0.5, 0.0, 0.5]), r"above 0, found \[0.0\] for datasets \[1\]"),
        (np.array([0.5, np.nan]), "above 0"),
        (np.array([1.5, -0.5]), r"-0.5.* for datasets \[1\]"),
    ],
)
def test_what_cannot_be_blended_is_refused(weights: Array, words: str) -> None:
    """Too many datasets, none, or weights that are no shares are settings errors with a cure."""
    with pytest.raises(SettingsError, match=words):
        blend(weights, 10)


def test_sizes_of_nothing_are_refused() -> None:
    """Megatron would never end with an empty dataset; here it is named."""
    with pytest.raises(SettingsError, match=r"datasets \[1\]"):
        blend_exhaustively(np.array([3, 0, 2]))


def test_no_sample_at_all() -> None:
    """A blend of no samples is empty, not an error."""
    assert [len(index) for index in blend(np.array([0.5, 0.5]), 0)] == [0, 0]


def test_products_are_rounded_before_sums() -> None:
    """No fused multiply-add is in the machine code: it would round once where Megatron rounds twice."""
    fresh = numba.njit(module._fill.py_func)  # type: ignore[attr-defined]
    found = Blend(np.zeros(9, np.int16), np.zeros(9, np.int64))
    fresh(np.full(3, 1 / 3), np.full(3, np.inf), np.zeros((3, 1)), np.array([0, 9]), found)
    (code,) = fresh.inspect_asm().values()
    assert "mulsd" in code
    assert "vfm" not in code
    assert "vfnm" not in code


def test_batches_keep_to_the_weights() -> None:
    """Every batch of 512 samples is within 2 samples of its share for every dataset."""
    weights = law("pareto", 60)
    index = blend(weights, 512 * 40).dataset_index.reshape(40, 512)
    for batch in index:
        assert np.abs(np.bincount(batch, minlength=60) - 512 * weights).max() <= 2
