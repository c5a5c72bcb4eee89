"""What canonical order costs: a step of the canonical engine against one of the native engine, on 1, 2 and 4 processes.

    python -m benchmarks.canonical [--quick] [--json FILE]

Same network, batch and micro-batches; one thread a process, gloo. Both engines run in the same processes and take their
steps in turn; losses are compared before times (they agree but for rounding). The figure is rank 0's median.
"""

import statistics
import time
from collections.abc import Iterator

import torch

from benchmarks.table import Comparison, Options, main
from stages.model.distributed import World
from stages.model.engine import Batch, Engine, Optimization, make_engine
from stages.model.network import Network, Sizes
from stages.model.parallelize import Parallelism, lay_out
from tests.stages.model import ranks

SEQUENCES, TOKENS, VOCABULARY, VIRTUAL = 8, 128, 4096, 4


def compared(world: World, depth: int, num_steps: int) -> tuple[float, float, bool]:
    """Median seconds of a canonical and of a native step, and whether their losses agree."""
    sizes = Sizes.of_depth(depth, VOCABULARY, TOKENS)
    engines = {virtual: engine(world, sizes, virtual) for virtual in (VIRTUAL, 0)}
    times: dict[int, list[float]] = {virtual: [] for virtual in engines}
    losses: dict[int, float] = {}
    for step in range(1, num_steps + 2):
        for virtual, one in engines.items():
            torch.use_deterministic_algorithms(mode=bool(virtual))
            started = time.perf_counter()
            losses[virtual] = one.step(batch(world, step), 1e-3, step).loss
            times[virtual].append(time.perf_counter() - started)
    canonical, native = (statistics.median(times[virtual][1:]) for virtual in engines)
    return canonical, native, abs(losses[VIRTUAL] - losses[0]) < 1e-4


def engine(world: World, sizes: Sizes, virtual: int) -> Engine:
    """One of the two, over the same first weights, with the same micro-batches."""
    micro = SEQUENCES // VIRTUAL
    wanted = Optimization(SEQUENCES, micro, 0.1, 1.0, "fp32", canonical_ranks=virtual)
    torch.manual_seed(0)
    return make_engine(Network(sizes), wanted, lay_out(world, Parallelism(), sizes))


def batch(world: World, step: int) -> Batch:
    """A rank's share of a step's random tokens."""
    tokens = torch.randint(0, VOCABULARY, (SEQUENCES, TOKENS + 1), generator=torch.Generator().manual_seed(step))
    share = tokens.chunk(world.size)[world.rank]
    return Batch(share[:, :-1], share[:, 1:])


def run(options: Options) -> Iterator[Comparison]:
    """Canonical against native, by processes."""
    depth, num_steps = (2, 3) if options.quick else (6, 15)
    for size in (1, 2, 4):
        mine, theirs, equal = ranks.run(size, compared, depth, num_steps)[0]
        what = f"step in canonical order, {size} processes"
        yield Comparison(what, "native engine", mine, theirs, "s", theirs / mine, equal)


if __name__ == "__main__":
    main("canonical", run)
