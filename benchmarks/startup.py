"""What a rank does before its first step, on 1, 2, 4 and 8 ranks: files opened, collectives called, CPU seconds, by phase.

    python -m benchmarks.startup [--quick] [--json FILE]

Phases: `join` the other ranks, `lay_out` the groups, make the `engine`, `begin` (lease, newest checkpoint, digests),
`load` it, the first `step`. Wall-clock time of more ranks than cores says nothing, so a rank's own work is counted: files
that it opens (audit hook), collectives that it takes part in (operations of `c10d` as they are dispatched), CPU seconds. A row compares a phase at
the most ranks (ours) with 2 ranks (the peer): a ratio near 1 is constant, `equal` says that no count grew in proportion
to the ranks. The checkpoint was written by as many ranks, so every rank reads its own part.
"""

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.table import Comparison, Options, main
from stages.model.checkpoint import Checkpoints, Keep, load
from stages.model.distributed import joined
from stages.model.parallelize import Parallelism
from tests.stages.model import ranks
from tests.stages.model.training import Way, make, share

SIZES, QUICK_SIZES = (1, 2, 4, 8), (1, 2, 4)
NAMESPACES = ("c10d", "_c10d_functional")
LAYOUT = Way(Parallelism(zero_stage=3))


class Count(NamedTuple):
    """What one rank did in a phase."""

    files: int
    collectives: int
    seconds: float


class Collectives(TorchDispatchMode):
    """Counts them, whether a process group or a functional call made them."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One operation; a DTensor's own ones are seen when it has turned them into those of tensors."""
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented
        self.count += func.namespace in NAMESPACES and "wait" not in func.__name__
        return func(*args, **(kwargs or {}))


class Counter:
    """Counts by phase; there is one for a process, since an audit hook stays."""

    def __init__(self) -> None:
        self.found: dict[str, Count] = {}
        self._files = 0
        sys.addaudithook(self._opened)

    def _opened(self, event: str, _: object) -> None:
        self._files += event == "open"

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens inside."""
        files, started = self._files, time.process_time()
        with Collectives() as talk:
            yield
        counts = (self._files - files, talk.count, time.process_time() - started)
        self.found[name] = Count(*counts)


def phases(folder: Path) -> dict[str, Count]:
    """What this rank does from joining to its first step, from a checkpoint in `folder` if there is one."""
    counter = Counter()
    with contextlib.ExitStack() as stack:
        with counter.phase("join"):
            world = stack.enter_context(joined())
        with counter.phase("engine"):
            engine = make(world, LAYOUT)
        checkpoints = Checkpoints(folder, {}, Keep(1), engine.layout)
        stack.enter_context(contextlib.closing(checkpoints))
        with counter.phase("begin"):
            found = checkpoints.begin()
        with counter.phase("load"):
            if found:
                state = engine.state()
                load(found[0], state, engine.layout)
                engine.restore(state, found[1].step)
        with counter.phase("step"):
            engine.step(share(engine, 1), 1e-3, 1)
        checkpoints.save(1, 1, engine.state(), {})
    return counter.found


def resumed(size: int, folder: Path) -> dict[str, Count]:
    """The most that any of so many ranks did, by phase, when a run of as many is resumed."""
    ranks.run_apart(size, phases, folder)
    found = ranks.run_apart(size, phases, folder)
    return {name: Count(*(max(values) for values in zip(*(f[name] for f in found), strict=True))) for name in found[0]}


def run(options: Options) -> Iterator[Comparison]:
    """The most ranks against two."""
    sizes = QUICK_SIZES if options.quick else SIZES
    with tempfile.TemporaryDirectory() as name:
        found = {size: resumed(size, Path(name) / str(size)) for size in sizes}
    for phase in found[1]:
        counts = {size: found[size][phase] for size in sizes}
        print(phase, {size: tuple(round(value, 3) for value in count) for size, count in counts.items()}, flush=True)
        most, two = counts[sizes[-1]], counts[2]
        flat = constant(two, most)
        for unit, mine, theirs in zip(("files", "collectives", "CPU s"), most, two, strict=True):
            what = f"{phase}, {sizes[-1]} ranks"
            yield Comparison(what, "ours, 2 ranks", mine, theirs, unit, theirs / mine if mine else 1.0, flat)


def constant(two: Count, most: Count) -> bool:
    """Whether neither files nor collectives of a rank became more."""
    return most.files <= two.files and most.collectives <= two.collectives


if __name__ == "__main__":
    main("startup", run)
