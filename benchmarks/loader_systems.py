"""Ways to read batches of tokens, each in a process of its own: `python -m benchmarks.loader_systems NAME JOB`.

A job says where the tokens lie and what a batch is. The process reads the batches of the job as a training loop would,
without workers, as the 64-bit ids that an embedding takes, and prints the seconds that each took and, if asked to, digests of what was read.
Cold means that the files of the system were dropped from the page cache before they were opened.
"""

import contextlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

EOD = 0
VOCAB = 60_000
SEED = 1


@dataclass(frozen=True)
class Job:
    """What to read: the first `limit` of an epoch of `num_batches` batches of windows of T + 1 tokens of a corpus."""

    folder: str
    sequence_tokens: int
    batch_sequences: int
    num_batches: int
    limit: int
    cold: bool = False
    digest: bool = False


@dataclass(frozen=True)
class Measured:
    """Seconds of each batch, the sum over windows of a hash of each, and a hash of the batches in their order."""

    seconds: list[float]
    windows: int
    batches: int


# ---- the systems; each gives batches as its own loop would see them


def borealis(job: Job) -> Iterator[Array]:
    """Ours, in the virtual order."""
    from stages.stream.mixture import plan
    from stages.stream.virtual import Contiguous, VirtualOrder

    (dataset,) = open_datasets(job)
    packing = Contiguous(dataset.source, len(dataset), job.sequence_tokens)
    phases = plan([(1.0, {dataset.source: 1.0})], [dataset.source], job.num_batches)
    return our_batches(job, dataset, VirtualOrder([packing], phases, job.batch_sequences, SEED))


def borealis_megatron(job: Job) -> Iterator[Array]:
    """Ours, in Megatron's order."""
    from stages.stream.gpt_index import Cutting, build
    from stages.stream.megatron_order import MegatronOrder, ShuffledDataset

    (dataset,) = open_datasets(job)
    count = job.num_batches * job.batch_sequences
    part = ShuffledDataset(dataset, *build(dataset.document_lengths(), Cutting(job.sequence_tokens), SEED, count))
    return our_batches(job, dataset, MegatronOrder([part], np.zeros(count, np.int16), np.arange(count), count))


def our_batches(job: Job, dataset: Any, order: Any) -> Iterator[Array]:
    """Batches of our loader in an order."""
    from stages.stream.loader import Loader, Shape

    loader = Loader([dataset], order, Shape(job.sequence_tokens, job.batch_sequences, EOD))
    return (loader.batch(step).tokens_BT for step in range(1, job.limit + 1))


def megatron(job: Job) -> Iterator[Array]:
    """The GPTDataset of megatron-core, one a source, blended where there are several."""
    import torch

    dataset, size = megatron_dataset(job), job.batch_sequences
    for first in range(0, job.limit * size, size):
        items = [dataset[i] for i in range(first, first + size)]
        batch = {name: torch.stack([item[name] for item in items]) for name in ("tokens", "labels", "loss_mask")}
        yield (
            np.concatenate([batch["tokens"].numpy(), batch["labels"].numpy()[:, -1:]], axis=1) if job.digest else batch
        )


def litdata(job: Job) -> Iterator[Array]:
    """The TokensLoader of litdata behind its own data loader."""
    from litdata import StreamingDataLoader, StreamingDataset, TokensLoader

    item_loader = TokensLoader(block_size=job.sequence_tokens + 1)
    dataset = StreamingDataset(f"{job.folder}/litdata", item_loader=item_loader, shuffle=True, seed=SEED)
    return (batch.long() for batch in StreamingDataLoader(dataset, batch_size=job.batch_sequences, num_workers=0))


def streaming(job: Job) -> Iterator[Array]:
    """The StreamingDataset of mosaicml-streaming behind torch's data loader."""
    from torch.utils.data import DataLoader

    module = import_streaming()
    size = job.batch_sequences
    dataset = module.StreamingDataset(local=f"{job.folder}/streaming", shuffle=True, batch_size=size, shuffle_seed=SEED)
    return (batch["tokens"].long() for batch in DataLoader(dataset, batch_size=size, num_workers=0))


SYSTEMS: dict[str, tuple[Callable[[Job], Iterator[Array]], str]] = {
    "borealis": (borealis, "tokens"),
    "borealis, order megatron": (borealis_megatron, "tokens"),
    "megatron-core": (megatron, "tokens"),
    "litdata": (litdata, "litdata"),
    "mosaicml-streaming": (streaming, "streaming"),
}


# ---- what they stand on


def open_datasets(job: Job) -> list[Any]:
    """Our datasets of the corpus."""
    from schemas.tokens import TokenShard
    from stages.stream.corpus import open_corpus
    from stages.tables import Reader

    return open_corpus(Reader(Path(job.folder) / "table" / "tokens", TokenShard), "train")


def megatron_dataset(job: Job) -> Any:
    """The training dataset as Megatron builds it for the number of samples of the job."""
    from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig

    files = sorted(Path(job.folder, "tokens").glob("*.bin"))
    config = GPTDatasetConfig(
        random_seed=SEED,
        sequence_length=job.sequence_tokens,
        blend=([str(f.with_suffix("")) for f in files], None if len(files) == 1 else [1.0] * len(files)),
        split="1,0,0",
        path_to_cache=f"{job.folder}/cache",
        tokenizer=Tokenizer(),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
        mmap_bin_files=True,
    )
    sizes = (job.num_batches * job.batch_sequences, 0, 0)
    return BlendedMegatronDatasetBuilder(GPTDataset, sizes, lambda: True, config).build()[0]


class Tokenizer:
    """What Megatron asks of a tokenizer that only reads ids."""

    vocab_size, eod, pad, special_tokens_dict = VOCAB, EOD, -1, {}
    unique_identifiers = {"class": "none"}


def import_streaming() -> ModuleType:
    """Import mosaicml-streaming without torchvision, which its image datasets need and its tokens do not."""
    import transformers.feature_extraction_utils  # noqa: F401 - it looks for the real torchvision, so it goes first

    for name in ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional"):
        module = ModuleType(name)
        module.VisionDataset, module.to_tensor = object, None  # type: ignore[attr-defined]
        sys.modules.setdefault(name, module)
    import streaming

    return streaming


def drop_from_page_cache(folder: Path) -> None:
    """Forget the pages of all files in a folder, so that the next read waits for the disk."""
    for file in (f for f in folder.rglob("*") if f.is_file()):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_all(folder: Path) -> None:
    """Bring the pages of all files in a folder into the page cache."""
    for file in (f for f in folder.rglob("*") if f.is_file()):
        with file.open("rb") as stream:
            while stream.read(1 << 24):
                continue


def window_digest(batch: Any) -> int:
    """The sum over windows of a hash of each, modulo 2^64: the same whatever their order."""
    windows = np.asarray(batch).astype(np.uint64)
    weights = np.random.default_rng(0).integers(1, 1 << 63, windows.shape[1], dtype=np.uint64)
    hashes = (windows * weights).sum(axis=1)
    hashes = (hashes ^ (hashes >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return int((hashes ^ (hashes >> np.uint64(32))).sum())


def measure(name: str, job: Job) -> Measured:
    """Read the job's batches with a system."""
    system, files = SYSTEMS[name]
    (drop_from_page_cache if job.cold else read_all)(Path(job.folder, files))
    batches, seconds, windows, ordered = system(job), [], 0, 0
    with contextlib.suppress(PermissionError):  # where it is allowed, the latency is the loader's, not its neighbours'
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    while len(seconds) < job.limit:
        started = time.perf_counter()
        batch = next(batches, None)
        seconds.append(time.perf_counter() - started)
        if batch is None:
            seconds.pop()
            break
        if job.digest:
            found = window_digest(batch)
            windows, ordered = (windows + found) % (1 << 64), (31 * ordered + found) % (1 << 64)
    return Measured(seconds, windows, ordered)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(sys.stderr):  # what peers print is not the answer
        found = measure(sys.argv[1], Job(**json.loads(sys.argv[2])))
    print(json.dumps(asdict(found)))
