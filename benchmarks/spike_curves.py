"""Real training curves, recorded: what a detector of spikes must leave alone, and bad batches along them that it must not.

    python -m benchmarks.spike_curves design|held-out --out FILE.csv [--demo FOLDER OF RUNS]

Networks of many shapes learn real text with many optimizers, rates, schedules and batches, by the engine and the schedule of
`stages.pretrain`. Each step's loss and gradient norm are written down. Every so many steps a bad batch is measured too and its gradient
thrown away, so that the curve goes on as if it had not been: the rows say what kind it was. Design and held-out curves differ
in corpus, seed, rate and shape; what is chosen by looking is chosen by the first.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from benchmarks.spike_corpora import Corpus, open_corpus
from stages.model.distributed import World, joined
from stages.model.engine import Batch, Engine, Optimization, make_engine
from stages.model.network import Network
from stages.model.optimizers import OptimizerName
from stages.model.parallelize import Parallelism, lay_out
from stages.model.schedule import Schedule, Shape
from stages.model.sizes import Sizes

RECORDED = Path(__file__).with_name("spike_curves.csv")  # held-out ones, recorded by this project
FIRST_PROBE, PROBE_EVERY = 35, 19
KINDS = ("garbage", "half garbage", "other ids", "n-gram")


@dataclass(frozen=True)
class Curve:
    """What is trained; sizes that are 0 follow from the depth."""

    corpus: str
    seed: int = 0
    depth: int = 2
    width: int = 64
    sequences: int = 8
    tokens: int = 64
    steps: int = 400
    optimizer: OptimizerName = "adamw"
    rate: float = 2e-3
    warmup: int = 40
    schedule: Shape = "cosine"
    doublings: tuple[int, ...] = ()
    precision: Literal["fp32", "bf16"] = "fp32"
    qk_norm: bool = False
    z_loss: float = 0.0
    layers: str = "attention"

    @property
    def name(self) -> str:
        """What differs from the defaults."""
        plain = Curve("")
        rest = [f"{k}={v}" for k, v in vars(self).items() if k != "corpus" and v != getattr(plain, k)]
        return " ".join([self.corpus, *rest])


class Point(NamedTuple):
    """A row: `kind` is empty for a step of the run, "part" for one of several updates, else that of a bad batch."""

    step: int
    kind: str
    loss: float
    gradient_norm: float


def recorded(file: Path) -> dict[str, list[Point]]:
    """The curves of a file by name: a line `# name`, then a line `step,kind,loss,gradient norm` for each point."""
    found: dict[str, list[Point]] = {}
    for line in file.read_text().splitlines():
        if line.startswith("# "):
            points = found.setdefault(line[2:], [])
        else:
            step, kind, loss, norm = line.split(",")
            points.append(Point(int(step), kind, float(loss), float(norm)))
    return found


def points(curve: Curve, corpus: Corpus, world: World) -> Iterator[Point]:
    """Train."""
    engine = _engine(curve, corpus.vocab_size, world)
    schedule = Schedule(curve.schedule, curve.rate, curve.warmup, curve.steps, batch_doublings=curve.doublings)
    batches = corpus.batches(curve.sequences, curve.tokens, curve.seed)
    for step in range(1, curve.steps + 1):
        rate, windows, count = schedule.rate(step), next(batches), schedule.num_updates(step)
        if count == 1 and (kind := _kind(step)):
            taken = engine.measure(_batch(spoiled(windows, kind, corpus.vocab_size, step)), step)
            engine.discard()
            yield Point(step, kind, taken.loss, taken.gradient_norm)
        parts = [engine.step(_batch(part), rate, step) for part in windows.chunk(count)]
        norm = max(t.gradient_norm for t in parts)
        yield Point(step, "" if count == 1 else "part", sum(t.loss for t in parts) / count, norm)


def _engine(curve: Curve, vocab_size: int, world: World) -> Engine:
    given: dict[str, Any] = {"width": curve.width or None, "qk_norm": curve.qk_norm, "layers": curve.layers}
    sizes = Sizes.of_depth(curve.depth, vocab_size, curve.tokens, **given)
    wanted = Optimization(
        batch_sequences=curve.sequences,
        micro_batch_sequences=curve.sequences,
        weight_decay=0.1,
        max_gradient_norm=1.0,
        precision=curve.precision,
        optimizer=curve.optimizer,
        batch_parts=2 ** len(curve.doublings),
    )
    torch.manual_seed(curve.seed)
    return make_engine(Network(sizes, curve.z_loss), wanted, lay_out(world, Parallelism(), sizes))


def _kind(step: int) -> str:
    """Of the bad batch that is measured at a step; empty where none is."""
    number, rest = divmod(step - FIRST_PROBE, PROBE_EVERY)
    return KINDS[number % len(KINDS)] if number >= 0 and rest == 0 else ""


def _batch(windows: Tensor) -> Batch:
    return Batch(windows[:, :-1].contiguous(), windows[:, 1:].contiguous())


def spoiled(windows: Tensor, kind: str, vocab_size: int, seed: int) -> Tensor:
    """A batch gone bad."""
    draw = torch.Generator().manual_seed(seed)
    if kind == "n-gram":
        gram = torch.randint(0, vocab_size, (1 + seed % 4,), generator=draw)
        return gram.repeat(windows.shape[1])[: windows.shape[1]].expand_as(windows).contiguous()
    bad = windows.clone()
    rows = slice(0, len(bad) // 2 if kind == "half garbage" else len(bad))
    if kind == "other ids":
        bad[rows] = torch.randperm(vocab_size, generator=draw)[bad[rows]]
    else:
        bad[rows] = torch.randint(0, vocab_size, bad[rows].shape, generator=draw)
    return bad


DESIGN = (
    Curve("papers", 0),
    Curve("papers", 3, rate=2e-2, warmup=10),
    Curve("papers", 11, 1, sequences=2, rate=1e-2),
    Curve("papers", 4, optimizer="muon", rate=2e-2),
    Curve("records", 4, sequences=2, rate=1e-2),
    Curve("records", 2, 1, optimizer="muon", rate=1e-2),
    Curve("demo", 3, tokens=128),
    Curve("papers", 9, doublings=(60, 140)),
    Curve("papers", 6, optimizer="soap", rate=3e-3),
    Curve("papers", 5, warmup=5),
    Curve("records", 3, optimizer="soap", rate=5e-3, warmup=80),
    Curve("demo", 6, 3, width=192, rate=4e-3, tokens=256, steps=120),
    Curve("papers", 8, schedule="wsd", warmup=60),
)
HELD_OUT = (
    Curve("more papers", 20),
    Curve("more papers", 21, rate=1e-2),
    Curve("python", 30),
    Curve("python", 31, 3, rate=6e-3, warmup=8),
    Curve("python", 32, optimizer="muon", rate=3e-2, warmup=30),
    Curve("demo", 13, rate=1e-3, warmup=20, tokens=128),
    Curve("demo", 16, 4, rate=8e-3, sequences=4),
    Curve("more papers", 22, 3, width=96, rate=4e-3, warmup=100),
    Curve("more papers", 23, 1, optimizer="muon", rate=1.5e-2),
    Curve("more papers", 24, 1, optimizer="soap", rate=2e-3, sequences=4),
    Curve("more papers", 25, doublings=(100,)),
    Curve("more papers", 26, 1, width=96, sequences=2, rate=5e-3, steps=600),
    Curve("python", 33, optimizer="soap", rate=4e-3),
    Curve("python", 34, optimizer="sophia", rate=1.5e-3),
    Curve("python", 35, schedule="linear", precision="bf16", qk_norm=True),
    Curve("python", 36, 1, sequences=4, rate=8e-3, steps=600),
    Curve("python", 37, sequences=16, schedule="wsd", rate=3e-3, z_loss=1e-4),
    Curve("python", 38, layers="deltanet,attention", rate=3e-3),
    Curve("records", 40, rate=3e-3),
    Curve("records", 41, 1, optimizer="muon", rate=2e-2, sequences=4),
    Curve("records", 42, sequences=2, tokens=128, rate=4e-3),
    Curve("demo", 14, optimizer="muon", rate=6e-3, schedule="wsd"),
    Curve("demo", 15, optimizer="soap", rate=2e-3),
    Curve("demo", 10, 3, width=192, tokens=256, steps=150),
    Curve("demo", 12, 3, width=192, tokens=256, rate=3e-3, steps=150),
    Curve("records", 43, 2, width=128, rate=2e-3, tokens=128),
)
SETS = {"design": DESIGN, "held-out": HELD_OUT}


def main() -> None:
    """Record a set of curves; those that the file has already stay."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spike_curves")
    parser.add_argument("which", choices=SETS)
    parser.add_argument("--out", type=Path, required=True, help="a CSV file; curves that it has are not trained again")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="papers and records")
    parser.add_argument("--demo", type=Path, default=Path("runs"), help="the runs of `make demo`, for their tokens")
    options = parser.parse_args()
    known = recorded(options.out) if options.out.exists() else {}
    with joined() as world, options.out.open("a") as file:
        corpora: dict[str, Corpus] = {}
        for curve in (c for c in SETS[options.which] if c.name not in known):
            if curve.corpus not in corpora:
                corpora[curve.corpus] = open_corpus(curve.corpus, options.data, options.demo)
            rows = list(points(curve, corpora[curve.corpus], world))
            lines = [f"{p.step},{p.kind},{p.loss:.5g},{p.gradient_norm:.4g}" for p in rows]
            file.write("\n".join((f"# {curve.name}", *lines)) + "\n")
            file.flush()
            print(f"{curve.name}: loss {rows[-1].loss:.3f}", flush=True)


if __name__ == "__main__":
    main()
