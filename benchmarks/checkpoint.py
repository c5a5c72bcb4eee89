"""How long training waits for a checkpoint, ours against PyTorch's distributed checkpoint, and when it is on the disk.

    python -m benchmarks.checkpoint [--quick] [--json FILE]

One process, 0.5 GB of weights and moments (as many tensors as a network of twelve layers has), every file synced
(fsync). *Stall* is the time until the call returns and training may go on; *durable* until all is on the disk under its
last name. DCP writes synchronously (`dcp.save`) and asynchronously (`dcp.async_save`), both with `sync_files`. Each
repetition does the three in turn; what was written is read back and compared before any time is reported. The file
system is that of the temporary folder (`TMPDIR`).
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor

from benchmarks.table import Comparison, Options, main
from stages.model.checkpoint import Checkpoints, Keep, load
from stages.model.distributed import joined
from stages.model.parallelize import Layout, Parallelism
from stages.model.pieces import Piece

MEGABYTES, QUICK_MEGABYTES = 512, 32
NUM_LAYERS, MATRICES = 12, 7  # a layer's matrices, all of one size here
REPETITIONS = 7


class Times(NamedTuple):
    """Seconds until training may go on, and until the checkpoint is on the disk."""

    stall: float
    durable: float


Save = Callable[[int], Times]


def run(options: Options) -> Iterator[Comparison]:
    """Three ways to save, in turn."""
    tensors = state(QUICK_MEGABYTES if options.quick else MEGABYTES)
    size = sum(t.numel() * t.element_size() for t in tensors.values()) / 1e6
    with joined() as world, tempfile.TemporaryDirectory() as name:
        layout, folder = Layout(world, world, Parallelism()), Path(name)
        ours = Checkpoints(folder / "ours", {}, Keep(1), layout)
        ours.begin()
        ways: dict[str, Save] = {
            "ours": lambda step: save_ours(ours, tensors, step),
            "DCP sync": lambda step: save_dcp(folder / f"sync-{step}", tensors),
            "DCP async": lambda step: save_dcp_async(folder / f"async-{step}", tensors),
        }
        times: dict[str, list[Times]] = {way: [] for way in ways}
        repetitions = 2 if options.quick else REPETITIONS
        for step in range(1, repetitions + 2):
            for way, save in ways.items():
                os.sync()
                times[way].append(save(step))
        last = repetitions + 1
        equal = {peer: same(folder, tensors, last, peer) for peer in ("sync", "async")}
        ours.close()
    for what in ("stall", "durable"):
        for peer in ("sync", "async"):
            mine, theirs = (median(times[way], what) for way in ("ours", f"DCP {peer}"))
            words = f"{what} of a save, {size:.0f} MB"
            yield Comparison(words, f"DCP {peer}", mine, theirs, "s", theirs / mine, equal[peer])


def state(megabytes: int) -> dict[str, Tensor]:
    """Weights and two moments of a network's layers, together so large."""
    numel = megabytes * 1_000_000 // (4 * 3 * NUM_LAYERS * MATRICES)
    names = [
        f"{kind}/blocks.{i}.{j}" for kind in ("weights", "m", "v") for i in range(NUM_LAYERS) for j in range(MATRICES)
    ]
    return {name: torch.randn(numel // 256, 256) for name in names}


def save_ours(checkpoints: Checkpoints, tensors: dict[str, Tensor], step: int) -> Times:
    """Through `stages.model.checkpoint`."""
    started = time.perf_counter()
    checkpoints.save(step, step, {name: Piece.whole(t) for name, t in tensors.items()}, {})
    stall = time.perf_counter() - started
    checkpoints.wait()
    return Times(stall, time.perf_counter() - started)


def save_dcp(folder: Path, tensors: dict[str, Tensor]) -> Times:
    """`dcp.save`: training waits for all of it."""
    started = time.perf_counter()
    dcp.save(tensors, storage_writer=dcp.FileSystemWriter(folder, sync_files=True))
    elapsed = time.perf_counter() - started
    return Times(elapsed, elapsed)


def save_dcp_async(folder: Path, tensors: dict[str, Tensor]) -> Times:
    """`dcp.async_save`: training waits for the copy."""
    started = time.perf_counter()
    future = dcp.async_save(tensors, storage_writer=dcp.FileSystemWriter(folder, sync_files=True))
    stall = time.perf_counter() - started
    future.result()  # type: ignore[union-attr]
    return Times(stall, time.perf_counter() - started)


def same(folder: Path, tensors: dict[str, Tensor], step: int, peer: str) -> bool:
    """Whether ours and the peer's last checkpoint both hold the tensors, to the bit."""
    mine = {name: torch.empty_like(t) for name, t in tensors.items()}
    load(folder / "ours" / f"step-{step:06d}", {name: Piece.whole(t) for name, t in mine.items()})
    theirs = {name: torch.empty_like(t) for name, t in tensors.items()}
    dcp.load(theirs, checkpoint_id=folder / f"{peer}-{step}")
    return all(torch.equal(mine[n], t) and torch.equal(theirs[n], t) for n, t in tensors.items())


def median(times: list[Times], what: str) -> float:
    """Of all repetitions but the first, which warms up."""
    return statistics.median(getattr(t, what) for t in times[1:])


if __name__ == "__main__":
    main("checkpoint", run)
