"""The stored order is the one that Megatron trains in: the same arrays, the same tokens of every sample."""

import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from schemas.table import ContractError
from stages.base import SettingsError
from stages.stream import megatron_order
from stages.stream.corpus import Dataset
from stages.stream.gpt_index import Cutting, build
from stages.stream.megatron_arrays import build_blend, demand, write_arrays
from stages.stream.megatron_order import Files, MegatronOrder, open_megatron
from stages.stream.order import Span
from tests.stages.stream.conftest import megatron_module
from tests.stages.stream.token_table import corpus

T, SEED = 16, 1234
CORPUS = {  # documents' lengths by file; files of a source are one dataset
    "alpha-0": [5, 0, 90, 3, 17, 1, 40, 22],
    "alpha-1": [0, 60, 7, 7, 7],
    "beta-0": [200],
    "gamma-0": [2, 3, 4, 0, 5, 6, 1, 9, 30, 12, 0],
}


def make(base: Path, files: dict[str, list[int]] | None = None) -> list[Dataset]:
    """Datasets of documents of these lengths, all of whose tokens differ."""
    lengths, documents, start = files or CORPUS, {}, 0
    for name, sizes in lengths.items():
        documents[name] = []
        for size in sizes:
            documents[name].append(list(range(start, start + size)))
            start += size
    return corpus(base, documents)


def store(folder: Path, datasets: Sequence[Dataset], weights: Sequence[float], num_samples: int) -> Files:
    """Build and store the order of these datasets; a weight of 0 leaves one out."""
    used = [d for d, w in zip(datasets, weights, strict=True) if w]
    wanted, cutting = demand([w for w in weights if w], num_samples), Cutting(T)
    files = {}
    for dataset, count in zip(used, wanted.datasets, strict=True):
        arrays = build(dataset.document_lengths(), cutting, SEED, count)
        written = write_arrays(folder, dataset.source, arrays)
        files |= {(dataset.source, name): file for name, file in written.items()}
    written = write_arrays(folder, "blend", build_blend(wanted, {d.source: len(d) for d in used}, cutting))
    return files | {("", name): file for name, file in written.items()}


def theirs(folder: Path, datasets: Sequence[Dataset], weights: Sequence[float], num_samples: int) -> Any:
    """Megatron's training dataset over the same documents, each source in one pair of files; its cache is `folder`."""
    indexed, gpt = megatron_module("datasets.indexed_dataset"), megatron_module("datasets.gpt_dataset")
    builder = megatron_module("datasets.blended_megatron_dataset_builder")
    prefixes = []
    for dataset in datasets:
        prefixes.append(str(folder / dataset.source))
        writer = indexed.IndexedDatasetBuilder(f"{prefixes[-1]}.bin", dtype=np.uint16)
        for file in dataset.files:
            writer.add_index(str(file.idx.with_suffix("")))
        writer.finalize(f"{prefixes[-1]}.idx")
    tokenizer = SimpleNamespace(
        vocab_size=65_000, eod=0, pad=64_999, special_tokens_dict={"eos": 0}, unique_identifiers={}
    )
    config = gpt.GPTDatasetConfig(
        random_seed=SEED,
        sequence_length=T,
        blend_per_split=[(prefixes, list(weights) if len(weights) > 1 else None), None, None],
        path_to_cache=str(folder / "cache"),
        tokenizer=tokenizer,
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
    )
    return builder.BlendedMegatronDatasetBuilder(gpt.GPTDataset, [num_samples, 0, 0], lambda: True, config).build()[0]


@pytest.fixture
def one_rank(tmp_path: Path, megatron: ModuleType) -> Any:
    """Megatron asks for its rank when it writes its cache."""
    import torch.distributed as dist

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dist.init_process_group("gloo", init_method=f"file://{tmp_path}/ranks", rank=0, world_size=1)
        yield
        dist.destroy_process_group()


def tokens(order: MegatronOrder, datasets: Sequence[Dataset], position: int) -> list[int]:
    """The tokens of the run's sample at a position."""
    taken = order.take(position, position + 1)
    spans = order.spans(int(taken.datasets[0]), int(taken.samples[0]))
    dataset = datasets[int(taken.datasets[0])]
    return [t for span in spans for t in dataset.read(*span).tolist()]


@pytest.mark.usefixtures("one_rank")
@pytest.mark.parametrize(
    ("weights", "num_samples"), [([0.5, 0.3, 0.2], 300), ([1.0, 1.0, 5.0], 1000), ([7.0, 1.0, 1e-3], 64)]
)
def test_every_sample_is_megatrons(tmp_path: Path, weights: list[float], num_samples: int) -> None:
    """All samples of a run over three sources hold the tokens that Megatron's blended dataset gives, in its order."""
    datasets = make(tmp_path)
    order = open_megatron(datasets, store(tmp_path / "ours", datasets, weights, num_samples), num_samples)
    blended = theirs(tmp_path, datasets, weights, num_samples)
    assert order.num_samples == num_samples <= len(blended)
    for position in range(num_samples):
        sample = blended[position]
        expected = [*sample["tokens"].tolist(), sample["labels"][-1].item()]
        assert tokens(order, datasets, position) == expected
    assert order.take(0, num_samples).datasets.tolist() == blended.dataset_index[:num_samples].tolist()


@pytest.mark.usefixtures("one_rank")
def test_files_are_those_of_megatrons_cache(tmp_path: Path) -> None:
    """Each stored array is byte for byte a file of Megatron's cache, header included."""
    datasets, weights = make(tmp_path), [0.5, 0.3, 0.2]
    ours = store(tmp_path / "ours", datasets, weights, 300)
    theirs(tmp_path, datasets, weights, 300)
    cached = [file.read_bytes() for file in (tmp_path / "cache").glob("*.npy")]
    assert len(cached) == len(ours) == 11
    assert sorted(cached) == sorted(file.read_bytes() for file in ours.values())


@pytest.mark.usefixtures("one_rank")
def test_a_single_source_is_not_blended(tmp_path: Path) -> None:
    """One source has the indices that Megatron makes of one prefix, without a surplus."""
    datasets = make(tmp_path, {"alpha-0": [30, 40, 50, 1]})
    order = open_megatron(datasets, store(tmp_path / "ours", datasets, [1.0], 50), 50)
    dataset = theirs(tmp_path, datasets, [1.0], 50)
    assert type(dataset).__name__ == "GPTDataset"
    for position in range(50):
        assert tokens(order, datasets, position)[:-1] == dataset[position]["tokens"].tolist()


@pytest.mark.usefixtures("one_rank")
def test_what_megatron_oversamples_is_refused(tmp_path: Path) -> None:
    """Where Megatron's blend takes more of a dataset than its surplus holds, the stage says so as Megatron does."""
    weights = [1.0, *([1e-4] * 9)]
    datasets = make(tmp_path, {f"s{n}-0": [40, 50] for n in range(10)})
    with pytest.raises(IndexError, match="oversamples"):
        theirs(tmp_path, datasets, weights, 300)
    with pytest.raises(SettingsError, match=r"takes 30\d samples of s0, for which 30\d are built"):
        build_blend(demand(weights, 300), {d.source: len(d) for d in datasets}, Cutting(T))


def test_demand_is_megatrons() -> None:
    """Samples asked of each dataset, and of the blend, are Megatron's figures, surplus and rounding included."""
    builder = megatron_module("datasets.blended_megatron_dataset_builder")
    draw = np.random.default_rng(0)
    for _ in range(200):
        weights = draw.lognormal(0, 2, draw.integers(2, 40)).tolist()
        num_samples = int(draw.integers(1, 10**7))
        shares = builder.normalize(weights)
        built = builder._get_size_per_split_per_dataset(shares, [num_samples], surplus=0.005)
        target = builder._get_size_per_split_per_dataset(shares, [num_samples])
        found = demand(weights, num_samples)
        assert list(found.datasets) == [n for (n,) in built]
        assert found.blend == sum(n for (n,) in target)


@pytest.fixture
def opened(tmp_path: Path) -> tuple[list[Dataset], MegatronOrder]:
    """An order of 200 samples of two of three sources."""
    datasets = make(tmp_path)
    return datasets, open_megatron(datasets, store(tmp_path / "ours", datasets, [0.6, 0.0, 0.4], 200), 200)


def test_takes_any_range(opened: tuple[list[Dataset], MegatronOrder]) -> None:
    """A range of positions is that part of the whole run, and none goes beyond it."""
    _, order = opened
    whole = order.take(0, 200)
    assert set(whole.datasets.tolist()) == {0, 2}
    assert order.take(37, 81).digest() == whole.part(37, 81).digest()
    assert order.take(200, 200).samples.tolist() == []
    for first, last in ((-1, 5), (5, 4), (190, 201)):
        with pytest.raises(IndexError):
            order.take(first, last)


def test_pieces_are_the_spans_of_each(opened: tuple[list[Dataset], MegatronOrder]) -> None:
    """Many samples at once give the spans of each, which hold T + 1 tokens and never touch."""
    datasets, order = opened
    for number in (0, 2):
        size = len(order._part(number))
        samples = np.array([3, 0, size - 1, 3, 7])
        pieces = order.pieces(number, samples)
        expected = [(int(s), *span) for s in samples for span in order.spans(number, int(s))]
        assert list(zip(*(column.tolist() for column in pieces), strict=True)) == expected
        for sample in range(size):
            spans = order.spans(number, sample)
            assert sum(span.length for span in spans) == T + 1
            assert all(a.start + a.length != b.start for a, b in pairwise(spans))
            assert all(span.start + span.length <= len(datasets[number]) for span in spans)
    with pytest.raises(IndexError, match="sample"):
        order.spans(0, len(order._part(0)))
    with pytest.raises(IndexError, match="dataset 1 is not part"):
        order.spans(1, 0)


def test_find_is_the_inverse_of_take(
    opened: tuple[list[Dataset], MegatronOrder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positions of samples are those at which the run takes them, whatever the size of a scan's blocks."""
    _, order = opened
    whole = order.take(0, 200)
    for at_a_time in (7, 1 << 22):
        monkeypatch.setattr(megatron_order, "AT_A_TIME", at_a_time)
        for number in (0, 1, 2):
            for wanted in ([0], [5, 2, 9], list(range(30)), []):
                expected = np.flatnonzero((whole.datasets == number) & np.isin(whole.samples, wanted))
                assert order.find(number, np.array(wanted, np.int64)).tolist() == expected.tolist()


def test_covering_samples_hold_the_tokens(opened: tuple[list[Dataset], MegatronOrder]) -> None:
    """The samples that hold any token of a range are those whose spans overlap it, all epochs included."""
    datasets, order = opened
    for number in (0, 2):
        spans = {s: order.spans(number, s) for s in range(len(order._part(number)))}
        for start in range(0, len(datasets[number]), 5):
            for length in (0, 1, 3, 40):
                length = min(length, len(datasets[number]) - start)  # noqa: PLW2901 - a range ends with its dataset
                held = [s for s, parts in spans.items() if any(overlap(span, start, length) for span in parts)]
                assert order.covering(number, start, length).tolist() == held
    assert order.covering(1, 0, 10).tolist() == []


def overlap(span: Span, start: int, length: int) -> bool:
    """Whether a span holds any of the tokens of a range."""
    return max(span.start, start) < min(span.start + span.length, start + length)


def test_neighbours_are_one_span(tmp_path: Path) -> None:
    """Documents that stand together in the shuffled order as in the files are read as one, seams of files included."""
    datasets = make(tmp_path, {"a-0": [4, 4], "a-1": [4, 8]})
    rows = np.array([[0, 0], [3, 4]], np.int32)
    arrays = np.arange(4, dtype=np.int32), rows, np.zeros(1, np.uint32)
    part = megatron_order.ShuffledDataset(datasets[0], *arrays)
    order = MegatronOrder([part], np.zeros(1, np.int16), np.zeros(1, np.int64), 1)
    assert order.spans(0, 0) == [Span(0, T + 1)]


def test_missing_and_unequal_arrays(tmp_path: Path) -> None:
    """An array that is missing, or not of the others' length, is named before training."""
    datasets = make(tmp_path)
    files = dict(store(tmp_path / "ours", datasets, [0.6, 0.0, 0.4], 200))
    with pytest.raises(ContractError, match="expected 900 samples or more, found 200"):
        open_megatron(datasets, files, 900)
    for key in (("gamma", "shuffle_index"), ("", "dataset_index")):
        with pytest.raises(ContractError, match=f"{key[1]} of {key[0] or 'the blend'} is missing"):
            open_megatron(datasets, {k: f for k, f in files.items() if k != key}, 200)
    files["alpha", "shuffle_index"] = files["gamma", "shuffle_index"]
    with pytest.raises(ContractError, match="in the shuffle index"):
        open_megatron(datasets, files, 200)


def test_arrays_are_written_whole(tmp_path: Path) -> None:
    """Nothing but finished arrays lies in the folder, and writing again gives the same files."""
    datasets = make(tmp_path)
    first = {k: f.read_bytes() for k, f in store(tmp_path / "ours", datasets, [1, 1, 1], 100).items()}
    again = store(tmp_path / "ours", datasets, [1, 1, 1], 100)
    assert {k: f.read_bytes() for k, f in again.items()} == first
    assert {f.suffix for f in (tmp_path / "ours").iterdir()} == {".npy"}
