"""Batches hold the tokens that the order names, the same for any number of ranks, however they are read."""

import threading
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.stream.corpus import Dataset
from stages.stream.loader import Batch, Loader, Shape
from stages.stream.middle import Marks, Middle
from stages.stream.mixture import plan
from stages.stream.order import SampleOrder
from stages.stream.virtual import BestFit, Contiguous, Packing, VirtualOrder
from tests.stages.stream.token_table import Documents, corpus, sizes

T, B, EOD = 8, 6, 0
SHAPE = Shape(T, B, EOD)


def documents(seed: int, count: int) -> Documents:
    """Documents of 1 to 14 tokens that end with the end token."""
    random = np.random.default_rng(seed)
    return [[*random.integers(1, 60_000, n).tolist(), EOD] for n in random.integers(0, 14, count)]


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> list[Dataset]:
    """Two sources; the first in files so short that samples go on in the next, and in the one after."""
    files = {f"a-{n}": documents(n, 2) for n in range(9)} | {"a-9": [[5, EOD]], "b-0": documents(10, 40)}
    return corpus(tmp_path_factory.mktemp("corpus"), files)


def order(datasets: list[Dataset], num_steps: int = 20, packings: list[Packing] | None = None) -> VirtualOrder:
    """A virtual order of these datasets, alike in weight."""
    packings = packings or [Contiguous(d.source, len(d), T) for d in datasets]
    phases = plan([(1, {d.source: 1.0 for d in datasets})], [d.source for d in datasets], num_steps)
    return VirtualOrder(packings, phases, B, seed=1)


def naive(datasets: list[Dataset], samples: SampleOrder, step: int) -> tuple[list[list[int]], list[list[int]]]:
    """The batch and the numbers of its documents, sample by sample and token by token."""
    tokens, numbers = [], []
    for dataset, sample in zip(*samples.take((step - 1) * B, step * B), strict=True):
        row, count, number = [], [], -1
        for span in samples.spans(dataset, sample):
            starts = datasets[dataset].document_starts(span.start, span.length).tolist()
            for position in range(span.start, span.start + span.length):
                number += position in starts or position == span.start
                row.append(int(datasets[dataset].read(position, 1)[0]))
                count.append(number)
        rest = T + 1 - len(row)
        tokens.append(row + [EOD] * rest)
        numbers.append(count + [number + 1] * rest)
    return tokens, numbers


def equal(one: Batch, other: Batch) -> bool:
    """Whether two batches are the same in all that they hold."""
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def bins(dataset: Dataset) -> BestFit:
    """Each two neighbouring documents as a bin, cut to what fits."""
    starts = np.append(dataset.document_starts(0, len(dataset)), len(dataset))
    spans, ends = [], []
    for first in range(0, len(starts) - 2, 2):
        one = min(starts[first + 1] - starts[first], T)
        spans.append([starts[first], one])
        spans.append([starts[first + 1], min(starts[first + 2] - starts[first + 1], T + 1 - one)])
        ends.append(len(spans))
    return BestFit(dataset.source, np.array(ends), np.array(spans))


@pytest.mark.parametrize("best_fit", [False, True])
def test_batches_are_what_the_order_names(datasets: list[Dataset], best_fit: bool) -> None:
    """Tokens, lengths, sources and document numbers are those found one token at a time, across files and in bins."""
    samples = order(datasets, packings=[bins(d) for d in datasets] if best_fit else None)
    loader = Loader(datasets, samples, SHAPE, with_documents=True)
    lengths = set()
    for step in range(1, 21):
        batch = loader.batch(step)
        tokens, numbers = naive(datasets, samples, step)
        assert batch.step == step
        assert batch.tokens_BT.tolist() == tokens
        assert batch.documents_BT is not None
        assert batch.documents_BT.tolist() == numbers
        assert batch.datasets_B.tolist() == loader.samples(step).datasets.tolist()
        assert all((row[n:] == EOD).all() for row, n in zip(batch.tokens_BT, batch.lengths_B, strict=True))
        lengths |= set(batch.lengths_B.tolist())
    assert (lengths == {T + 1}) is not best_fit


@pytest.mark.parametrize("num_ranks", [1, 2, 4, 64])
def test_ranks_share_the_batch(datasets: list[Dataset], num_ranks: int) -> None:
    """The ranks' rows, in order, are the batch of one rank, also where there are more ranks than rows."""
    samples = order(datasets)
    whole = Loader(datasets, samples, SHAPE, with_documents=True)
    ranks = [
        Loader(datasets, samples, SHAPE, rank=r, num_ranks=num_ranks, with_documents=True) for r in range(num_ranks)
    ]
    for step in (1, 7, 20):
        one, shares = whole.batch(step), [loader.batch(step) for loader in ranks]
        for name in ("tokens_BT", "lengths_B", "datasets_B", "documents_BT"):
            assert np.concatenate([getattr(s, name) for s in shares]).tolist() == getattr(one, name).tolist()
        assert {loader.samples(step).digest() for loader in ranks} == {whole.samples(step).digest()}


def test_state_is_the_step(datasets: list[Dataset]) -> None:
    """A loader that starts anywhere gives the batches of one that went there, read ahead or not."""
    samples = order(datasets)
    whole = [Loader(datasets, samples, SHAPE).batch(step) for step in range(1, 21)]
    for first in (1, 2, 13, 20):
        for ahead in (0, 1, 3, 100):
            found = list(Loader(datasets, samples, SHAPE).batches(first, ahead=ahead))
            assert [b.step for b in found] == list(range(first, 21))
            assert all(equal(a, b) for a, b in zip(found, whole[first - 1 :], strict=True))
    assert [b.step for b in Loader(datasets, samples, SHAPE).batches(5, 6)] == [5, 6]
    assert list(Loader(datasets, samples, SHAPE).batches(21)) == []


def test_blocks_have_no_seams(datasets: list[Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    """How many samples are ordered at a time does not show in the batches, also at the end of the run."""
    samples = order(datasets)
    whole = Loader(datasets, samples, SHAPE)
    for count in (1, B, 3 * B, 7 * B + 1):
        monkeypatch.setattr("stages.stream.loader.ORDERED_SAMPLES", count)
        other = Loader(datasets, samples, SHAPE)
        assert all(equal(whole.batch(step), other.batch(step)) for step in range(1, 21))


def test_outside_the_run(datasets: list[Dataset]) -> None:
    """A step before the first or after the last is an IndexError, also when read ahead."""
    loader = Loader(datasets, order(datasets), SHAPE)
    assert loader.num_steps == 20
    for step in (0, 21, -1):
        with pytest.raises(IndexError, match=f"step {step} of a run of 20"):
            loader.batch(step)
    with pytest.raises(IndexError, match="step 21"):
        list(loader.batches(19, 25))


def test_reading_stops_with_its_reader(datasets: list[Dataset]) -> None:
    """A reader that goes away takes its threads along."""
    before = threading.active_count()
    batches = Loader(datasets, order(datasets), SHAPE).batches()
    assert [b.step for b in islice(batches, 3)] == [1, 2, 3]
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_small_sources_come_often(tmp_path: Path) -> None:
    """A source of one bin of several pieces fills a batch with it, each row complete."""
    (dataset,) = corpus(tmp_path, {"s-0": [[1, 2, EOD], [3, EOD], [4, 5, 6, EOD]]})
    packing = BestFit("s", np.array([2]), np.array([[0, 3], [5, 4]]))
    batch = Loader([dataset], order([dataset], packings=[packing]), SHAPE, with_documents=True).batch(3)
    assert batch.tokens_BT.tolist() == [[1, 2, EOD, 4, 5, 6, EOD, EOD, EOD]] * B
    assert batch.documents_BT is not None
    assert batch.documents_BT.tolist() == [[0, 0, 0, 1, 1, 1, 1, 2, 2]] * B


def test_only_some_sources_are_turned(datasets: list[Dataset]) -> None:
    """Fill in the middle changes rows of its sources only, each as `Middle` does for its position, for any ranks."""
    middle = Middle(1.0, frozenset({"b"}), 3, Marks(60_001, 60_002, 60_003, EOD))
    samples = order(datasets)
    plain, turned = Loader(datasets, samples, SHAPE), Loader(datasets, samples, SHAPE, middle=middle)
    shares = [Loader(datasets, samples, SHAPE, rank=r, num_ranks=3, middle=middle) for r in range(3)]
    changed = 0
    for step in range(1, 21):
        before, after = plain.batch(step), turned.batch(step)
        assert np.concatenate([s.batch(step).tokens_BT for s in shares]).tolist() == after.tokens_BT.tolist()
        for row, (dataset, sample) in enumerate(zip(*samples.take((step - 1) * B, step * B), strict=True)):
            expected = before.tokens_BT[row]
            if datasets[dataset].source == "b":
                (span,) = samples.spans(dataset, sample)
                starts = datasets[dataset].document_starts(span.start + 1, T) - span.start
                expected, _ = middle.turn(expected, np.append(0, starts), (step - 1) * B + row, T + 1)
            assert after.tokens_BT[row].tolist() == expected.tolist()
            changed += after.tokens_BT[row].tolist() != before.tokens_BT[row].tolist()
    assert changed > 5


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 10**9))
def test_any_step_is_in_reach(step: int) -> None:
    """The samples of any step of a run of 10^9 steps are found without those before it."""
    large = sizes(a=10**12, b=10**9)
    loader = Loader(large, order(large, num_steps=10**9), SHAPE)
    assert loader.samples(step).digest() == order(large, num_steps=10**9).take((step - 1) * B, step * B).digest()
