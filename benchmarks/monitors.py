"""What watching a run costs: training steps with every monitor on, against the same steps with none.

On: the guard (detector, clock of phases), tensors looked at every 50 steps (by default it is every 100), a watchdog, rows for
readers, TensorBoard's curves and progress at every step. Off: measure and apply, nothing else. A step of each in turn, over
two copies of one network, which must have the same weights in the end; means of blocks of 50, median of blocks. The share that watching takes of a step falls with the
size of the step: what it costs in microseconds is shown too. Times are of the processor, all threads, which others' load
changes less than the clock on the wall.
"""

import copy
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.table import Comparison, Options, main
from schemas.training import TrainStep
from stages.model.distributed import World, joined
from stages.model.engine import Batch, Engine, Optimization, make_engine
from stages.model.network import Network
from stages.model.parallelize import Parallelism, lay_out
from stages.model.sizes import Sizes
from stages.pretrain.health.guard import Guard, Policy
from stages.pretrain.health.heartbeat import Clock, Watchdog
from stages.pretrain.health.observe import Observer
from stages.progress import Progress

BLOCK_STEPS, BATCH_SEQUENCES, VOCAB = 50, 8, 4096


def engine_of(network: Network, world: World) -> Engine:
    """The stage's own engine, around this network."""
    wanted = Optimization(BATCH_SEQUENCES, BATCH_SEQUENCES, 0.1, 1.0, "fp32")
    return make_engine(network, wanted, lay_out(world, Parallelism(), network.sizes))


class Watched:
    """Steps with everything on."""

    def __init__(self, network: Network, world: World, folder: Path) -> None:
        self.clock, self.rows, self.progress = Clock(), [], Progress(folder / "progress.json")
        data: Any = SimpleNamespace(world=world)
        self.guard = Guard(
            engine_of(network, world), data, Policy("skip", BLOCK_STEPS), lambda _: None, list, clock=self.clock
        )
        self.observer = Observer(folder, world, self.clock, (network.sizes, network.num_parameters()))
        self.observer.begin(1, {"steps": (TrainStep, self.rows)})

    def step(self, step: int, batch: Batch) -> None:
        """One step, seen by all."""
        taken, event = self.guard.take(step, batch, 1e-3)
        assert event is None, "a healthy run has no spike"
        row = TrainStep(
            phase="pretrain",
            step=step,
            num_tokens=step,
            loss=taken.loss,
            gradient_norm=taken.gradient_norm,
            learning_rate=1e-3,
            tokens_per_second=1.0,
        )
        self.rows.append(row)
        self.observer.step(row, self.progress)


def run(options: Options) -> Iterator[Comparison]:
    """Blocks of pairs, the first of each uncounted."""
    torch.set_num_threads(1)
    num_blocks = 2 if options.quick else 8
    with joined() as world, tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        network = Network(Sizes.of_depth(2, VOCAB, 128))
        plain, watched = engine_of(copy.deepcopy(network), world), Watched(network, world, Path(folder))
        with Watchdog(watched.clock, 0):
            means = [_block(plain, watched, 1 + block * BLOCK_STEPS) for block in range(num_blocks + 1)][1:]
    ours, theirs = (statistics.median(column) for column in zip(*means, strict=True))
    pairs = zip(plain.network.parameters(), network.parameters(), strict=True)
    equal = all(torch.equal(a, b) for a, b in pairs)
    yield Comparison("a step, all monitors on", "off", 1e3 * ours, 1e3 * theirs, "ms", theirs / ours, equal)
    cost = statistics.median(on - off for on, off in means)
    share = 100 * cost / theirs
    what = f"cost of watching, {1e6 * cost:.0f} us a step"
    yield Comparison(what, "goal", share, 1.0, "% of a step", 1 / share, None)


def _block(plain: Engine, watched: Watched, first: int) -> tuple[float, float]:
    """Mean seconds of a step with watching and without, one of each in turn, the first of a pair by turns too."""
    on = off = 0.0
    for step in range(first, first + BLOCK_STEPS):
        batch = _batch(step)
        for turn in (step % 2, 1 - step % 2):
            started = time.process_time()
            if turn:
                watched.step(step, batch)
                on += time.process_time() - started
            else:
                plain.measure(batch, step)
                plain.apply(1e-3)
                off += time.process_time() - started
    return on / BLOCK_STEPS, off / BLOCK_STEPS


def _batch(seed: int) -> Batch:
    tokens = torch.randint(0, VOCAB, (BATCH_SEQUENCES, 129), generator=torch.Generator().manual_seed(seed))
    return Batch(tokens[:, :-1], tokens[:, 1:])


if __name__ == "__main__":
    main("monitors", run)
