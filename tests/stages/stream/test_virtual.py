"""The virtual order: complete epochs, exact batches, any step from its number, and back from samples to steps."""

import tracemalloc
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.table import ContractError
from stages.stream.mixture import Phase, plan
from stages.stream.order import Indices, SampleOrder, Samples, Span
from stages.stream.virtual import BestFit, Contiguous, VirtualOrder

T = 8
Weights = Mapping[str, float]


def make(
    num_samples: Mapping[str, int],
    *stages: tuple[float, Weights],
    num_steps: int = 50,
    batch_sequences: int = 16,
    seed: int = 0,
) -> VirtualOrder:
    """An order over sources of so many samples; without stages all weigh the same."""
    packings = [Contiguous(source, n * T + 1, T) for source, n in num_samples.items()]
    phases = plan(stages or [(1, dict.fromkeys(num_samples, 1.0))], list(num_samples), num_steps)
    return VirtualOrder(packings, phases, batch_sequences, seed)


def of(samples: Samples, dataset: int) -> Indices:
    """The samples of one dataset in the order taken."""
    return samples.samples[samples.datasets == dataset]


SIZES = {"a": 37, "b": 5, "c": 1}
STAGED = [(0.3, {"a": 3.0, "c": 1.0}), (0.7, {"b": 1.0}), (1.0, {"a": 1.0, "b": 1.0, "c": 0.01})]


def test_it_is_a_sample_order() -> None:
    """It offers what every order of samples offers."""
    order: SampleOrder = make(SIZES)
    assert order.num_samples == 800
    assert order.take(0, 0).samples.tolist() == []


@pytest.mark.parametrize("stages", [[], STAGED])
def test_every_epoch_is_a_permutation(stages: list[tuple[float, Weights]]) -> None:
    """A source's samples come each once an epoch, in an order of the epoch's own, across phases."""
    order = make(SIZES, *stages, num_steps=900, batch_sequences=1)  # in a larger batch the seam of two epochs is mixed
    whole = order.take(0, order.num_samples)
    for dataset, size in enumerate(SIZES.values()):
        samples = of(whole, dataset)
        epochs = [samples[i : i + size].tolist() for i in range(0, len(samples) - size + 1, size)]
        assert len(epochs) > 1
        assert all(sorted(e) == list(range(size)) for e in epochs)
        assert len({tuple(e) for e in epochs}) > 1 or size == 1
        rest = samples[len(epochs) * size :].tolist()
        assert len(set(rest)) == len(rest)


@pytest.mark.parametrize("stages", [[], STAGED])
def test_no_sample_is_ahead(stages: list[tuple[float, Weights]]) -> None:
    """At the end of every step, all samples of a source were taken equally often, or some once more."""
    order = make(SIZES, *stages)
    counts = [np.zeros(size, np.int64) for size in SIZES.values()]
    for step in range(50):
        batch = order.take(16 * step, 16 * step + 16)
        for dataset in range(len(SIZES)):
            counts[dataset] += np.bincount(of(batch, dataset), minlength=len(counts[dataset]))
            assert counts[dataset].max() - counts[dataset].min() <= 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 800), st.integers(0, 800))
def test_any_range_is_a_slice_of_the_whole(one: int, other: int) -> None:
    """What is asked for does not depend on what else is asked for: phases, batches and epochs have no seams."""
    order, (first, last) = make(SIZES, *STAGED), sorted((one, other))
    whole, part = order.take(0, 800), order.take(first, last)
    assert part.samples.tolist() == whole.samples[first:last].tolist()
    assert part.datasets.tolist() == whole.datasets[first:last].tolist()
    assert part.datasets.dtype == np.int32


def test_outside_the_run() -> None:
    """Samples before the first or after the last are an IndexError."""
    order = make(SIZES)
    for first, last in ((-1, 3), (0, 801), (5, 4)):
        with pytest.raises(IndexError, match="of a run of 800"):
            order.take(first, last)
    with pytest.raises(IndexError, match="sample 37 of a, which has 37"):
        order.spans(0, 37)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_find_is_the_inverse(data: st.DataObject) -> None:
    """The positions found for any samples are those at which they are taken, and no others."""
    names = data.draw(st.lists(st.sampled_from("abcde"), unique=True, min_size=1))
    sizes = {name: data.draw(st.integers(1, 40)) for name in names}
    weights = st.dictionaries(st.sampled_from(names), st.floats(0.01, 1), min_size=1)
    stages = [(0.5, data.draw(weights)), (1.0, data.draw(weights))]
    order = make(sizes, *stages, num_steps=20, batch_sequences=data.draw(st.integers(1, 20)))
    whole = order.take(0, order.num_samples)
    dataset = data.draw(st.integers(0, len(names) - 1))
    wanted = np.array(data.draw(st.lists(st.integers(0, sizes[names[dataset]] - 1), max_size=5)), np.int64)
    expected = np.flatnonzero((whole.datasets == dataset) & np.isin(whole.samples, wanted))
    assert order.find(dataset, wanted).tolist() == expected.tolist()


def test_batches_hold_their_shares() -> None:
    """Each batch of a staged run is within one sample of its phase's weights, and mixed within the batch."""
    order = make({"a": 1000, "b": 1000, "c": 1000}, *STAGED, num_steps=60, batch_sequences=64)
    weights = np.array([[0.75, 0, 0.25], [0, 1, 0], [1 / 2.01, 1 / 2.01, 0.01 / 2.01]])
    unmixed = 0
    for step in range(60):
        datasets = order.take(step * 64, step * 64 + 64).datasets
        target = weights[0 if step < 18 else 1 if step < 42 else 2] * 64
        assert np.abs(np.bincount(datasets, minlength=3) - target).max() < 1
        unmixed += datasets.tolist() == sorted(datasets.tolist()) and len(set(datasets.tolist())) > 1
    assert unmixed == 0


def test_seeds_and_steps_change_the_order() -> None:
    """Another seed is another order of samples and of batches; steps are mixed each in a way of its own."""
    first, second = make(SIZES, seed=0).take(0, 800), make(SIZES, seed=1).take(0, 800)
    assert first.datasets.tolist() != second.datasets.tolist()
    assert of(first, 0).tolist() != of(second, 0).tolist()
    batches = {tuple(first.datasets[i : i + 16].tolist()) for i in range(0, 800, 16)}
    assert len(batches) > 45


def test_a_source_keeps_its_order() -> None:
    """Other sources, weights and batch sizes do not change in which order a source gives its samples."""
    alone = of(make({"a": 37}, batch_sequences=1, num_steps=200).take(0, 200), 0)
    beside = make({"z": 9, "a": 37}, (1, {"a": 0.9, "z": 0.1}), batch_sequences=1, num_steps=200)
    given_beside = of(beside.take(0, 200), 1)
    assert given_beside.tolist() == alone[: len(given_beside)].tolist()
    wide = make({"b": 3, "a": 37}, batch_sequences=30)
    for step in range(6):  # a batch is mixed, but holds the samples that are next
        first, last = (np.count_nonzero(wide.take(0, 30 * s).datasets == 1) for s in (step, step + 1))
        batch = of(wide.take(30 * step, 30 * step + 30), 1)
        assert sorted(batch.tolist()) == sorted(alone[first:last].tolist())


def test_order_is_frozen() -> None:
    """The samples of a run never change, whatever the version of a library: resumed runs depend on it."""
    assert make(SIZES, *STAGED).take(0, 800).digest() == "8e31d2867da62b9d6bafb047a645f9f7"


def test_sizes_of_a_trillion_samples() -> None:
    """Steps at both ends of a run of 10^12 samples over 2,419 sources come at once, and nothing is resident."""
    sources = {f"s{n}": 10**9 + n for n in range(2419)}
    tracemalloc.start()
    order = make(sources, (1, {s: 1 / (n + 1) for n, s in enumerate(sources)}), num_steps=10**9, batch_sequences=1000)
    tracemalloc.reset_peak()
    last = order.take(10**12 - 1000, 10**12)
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()
    assert len(set(zip(last.datasets.tolist(), last.samples.tolist(), strict=True))) == 1000
    dataset, sample = int(last.datasets[7]), last.samples[7:8]
    assert 10**12 - 1000 + 7 in order.find(dataset, sample)


def test_a_source_of_nothing() -> None:
    """A source with a weight and without a sample is refused by name; without a weight it does not matter."""
    with pytest.raises(ContractError, match="b: it has a weight, but not the tokens of one sample"):
        make({"a": 3, "b": 0})
    order = make({"a": 3, "b": 0}, (1, {"a": 1.0}))
    assert set(order.take(0, 100).datasets.tolist()) == {0}
    assert order.find(1, np.empty(0, np.int64)).tolist() == []
    with pytest.raises(ContractError, match="no source"):
        VirtualOrder([], [], 1, 0)


def test_contiguous_windows() -> None:
    """Windows share one token with the next; what covers a range is what holds a token of it."""
    packing = Contiguous("a", 4 * T + 3, T)
    assert len(packing) == 4
    assert [len(Contiguous("a", n, T)) for n in (0, 1, T, T + 1, 2 * T, 2 * T + 1)] == [0, 0, 0, 1, 1, 2]
    order = VirtualOrder([packing], [Phase(1, 1, np.array([1 << 40]))], 4, 0)
    spans = [order.spans(0, s) for s in range(4)]
    assert spans == [[Span(s * T, T + 1)] for s in range(4)]
    for start in range(4 * T + 3):
        for length in range(4 * T + 3 - start):
            holds = [s for s in range(4) if set(range(s * T, s * T + T + 1)) & set(range(start, start + length))]
            assert order.covering(0, start, length).tolist() == holds


def test_best_fit_bins() -> None:
    """A bin's pieces are its rows of the spans, for many bins at once, and every token's bin is found."""
    spans = np.array([[0, 5], [9, 4], [5, 4], [13, 9], [22, 2], [24, 3], [27, 1]])
    packing = BestFit("a", np.array([2, 3, 4, 7]), spans)
    order = VirtualOrder([packing], [Phase(1, 1, np.array([1 << 40]))], 4, 0)
    assert order.spans(0, 0) == [Span(0, 5), Span(9, 4)]
    pieces = order.pieces(0, np.array([3, 1, 0]))
    assert pieces.samples.tolist() == [3, 3, 3, 1, 0, 0]
    assert list(zip(pieces.starts.tolist(), pieces.lengths.tolist(), strict=True)) == [
        (22, 2),
        (24, 3),
        (27, 1),
        (5, 4),
        (0, 5),
        (9, 4),
    ]
    assert order.covering(0, 4, 2).tolist() == [0, 1]
    assert order.covering(0, 22, 100).tolist() == [3]
    assert order.covering(0, 9, 0).tolist() == []
    with pytest.raises(IndexError, match="sample 4 of a, which has 4"):
        order.pieces(0, np.array([0, 4]))
