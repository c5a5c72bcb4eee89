"""What the schedule and the messages of a pipeline cost: ours against `torch.distributed.pipelining`, on 2 and 4 processes.

    python -m benchmarks.pipeline [--quick] [--json FILE]

The same stages of the same network, the same micro-batches, 1F1B and interleaved 1F1B; one thread a process, gloo. Both
run in the same processes in turn; gradients are compared before times. The figure is the slowest rank's median of a batch
forward and backward, without the update; ours counts tokens and takes the gradient's norm over all ranks, too, and its head
never has all logits.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import cast

import torch

from benchmarks.table import Comparison, Options, main
from stages.model.distributed import World
from stages.model.engine import Batch, Optimization, make_engine
from stages.model.network import Network, Sizes
from stages.model.parallelize import Parallelism, lay_out
from stages.model.pipelined import PipelinedEngine
from tests.stages.model import ranks
from tests.stages.model.torch_pipeline import torch_passes

SEQUENCES, TOKENS, VOCABULARY = 16, 128, 2048


def compared(world: World, each: int, depth: int, num_steps: int) -> tuple[float, float, float]:
    """Median seconds of a batch by us and by torch on this rank, and the largest difference of a gradient."""
    sizes = Sizes.of_depth(depth, VOCABULARY, TOKENS, tie_embeddings=False, width=256)
    layout = lay_out(world, Parallelism(pipeline_parallel=world.size, stages_per_rank=each), sizes)
    torch.manual_seed(0)
    engine = cast("PipelinedEngine", make_engine(Network(sizes), Optimization(SEQUENCES, 2, 0.1, 1.0, "fp32"), layout))
    windows = torch.randint(0, VOCABULARY, (SEQUENCES, TOKENS + 1))
    batch = Batch(windows[:, :-1], windows[:, 1:])
    theirs = torch_passes(engine, batch, batch.targets_BT.numel())
    ways: dict[str, Callable[[], object]] = {"ours": lambda: engine.measure(batch, 1), "torch": theirs}
    times: dict[str, list[float]] = {name: [] for name in ways}
    learned = {}
    for _ in range(num_steps + 1):
        for name, passes in ways.items():
            torch.distributed.barrier()
            started = time.perf_counter()
            passes()
            times[name].append(time.perf_counter() - started)
            named = engine.network.named_parameters()
            learned[name] = {n: p.grad.clone() for n, p in named if p.grad is not None}
            engine.discard()
    worst = max(float((learned["ours"][n] - learned["torch"][n]).abs().max()) for n in learned["torch"])
    return statistics.median(times["ours"][1:]), statistics.median(times["torch"][1:]), worst


def run(options: Options) -> Iterator[Comparison]:
    """Ours against torch's, by processes and stages on each."""
    num_steps = 2 if options.quick else 11
    for size, each in ((2, 1), (2, 2), (4, 1), (4, 2)):
        found = ranks.run(size, compared, each, 8, num_steps)
        ours, theirs = max(f[0] for f in found), max(f[1] for f in found)
        order = "1F1B" if each == 1 else "interleaved 1F1B"
        what = f"batch of 8 micro-batches by {order}, {size} processes"
        yield Comparison(
            what, "torch.distributed.pipelining", ours, theirs, "s", theirs / ours, max(f[2] for f in found) < 1e-6
        )


if __name__ == "__main__":
    main("pipeline", run)
