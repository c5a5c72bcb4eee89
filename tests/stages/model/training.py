"""A tiny network and batches that every rank makes alike, and its training under any layout, for tests."""

import contextlib
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from stages.model.checkpoint import INDEX, Checkpoints, Index, Keep, load
from stages.model.distributed import World
from stages.model.engine import Batch, Engine, Optimization, make_engine
from stages.model.network import IGNORED, Network, Sizes
from stages.model.parallelize import Parallelism, lay_out
from stages.model.pieces import Piece

BATCH, TOKENS, VOCABULARY = 8, 16, 99  # neither vocabulary nor width is a multiple of all numbers of ranks
SIZES = Sizes.of_depth(2, VOCABULARY, TOKENS, width=48, num_heads=8, num_kv_heads=4, hidden_width=64)


@dataclass(frozen=True)
class Way:
    """How to train: on which layout, how a step is taken, and which network."""

    parallelism: Parallelism = field(default_factory=Parallelism)
    settings: dict[str, Any] = field(default_factory=dict)
    documents: bool = False
    sizes: Sizes = SIZES
    z_loss: float = 0.0


def make(world: World, way: Way) -> Engine:
    """A new engine over the same first weights."""
    torch.manual_seed(3)
    usual = {"batch_sequences": BATCH, "micro_batch_sequences": 2, "weight_decay": 0.1, "max_gradient_norm": 1.0}
    wanted = Optimization(**{"precision": "fp32", **usual, **way.settings})
    return make_engine(Network(way.sizes, way.z_loss), wanted, lay_out(world, way.parallelism, way.sizes))


def share(engine: Engine, step: int, *, documents: bool = False) -> Batch:
    """A rank's part of a step's batch, with some places that do not count."""
    chance = torch.Generator().manual_seed(step)
    windows_BT = torch.randint(0, VOCABULARY, (BATCH, TOKENS + 1), generator=chance)
    targets_BT = windows_BT[:, 1:].clone()
    targets_BT[0, TOKENS // 2 :] = targets_BT[5, 1:] = IGNORED
    numbers_BT = (torch.arange(TOKENS) // 5).expand(BATCH, TOKENS) if documents else None
    whole = Batch(windows_BT[:, :-1], targets_BT, numbers_BT)
    size = BATCH // engine.world.size
    return whole.rows(engine.world.rank * size, size, torch.device("cpu"))


def train(engine: Engine, way: Way, first: int = 1, last: int = 20) -> list[tuple[float, float]]:
    """Loss and gradient norm of each step."""
    found = []
    for step in range(first, last + 1):
        taken = engine.step(share(engine, step, documents=way.documents), 1e-3, step)
        found.append((taken.loss, taken.gradient_norm))
    return found


def trained(world: World, ways: list[Way]) -> list[list[tuple[float, float]]]:
    """Train in each of these ways, one after the other, on the same ranks."""
    return [train(make(world, way), way) for way in ways]


def resumed(world: World, way: Way, folder: Path, last: int) -> tuple[list[float], str]:
    """Train on from the newest checkpoint in `folder` to step `last` and save; losses, and a digest of all weights."""
    engine = make(world, way)
    checkpoints = Checkpoints(folder, {}, Keep(1), engine.layout)
    with contextlib.closing(checkpoints):
        first = 1
        if found := checkpoints.begin():
            state = engine.state()
            load(found[0], state, engine.layout)
            engine.restore(state, found[1].step)
            first = found[1].step + 1
        steps = train(engine, way, first, last)
        checkpoints.save(last, last, engine.state(), {})
    return [loss for loss, _ in steps], digest(folder / f"step-{last:06d}") if world.rank == 0 else ""


def digest(folder: Path) -> str:
    """A digest of all weights and moments of a checkpoint."""
    names = Index.model_validate_json((folder / INDEX).read_text()).tensors
    state = {name: Piece.whole(torch.empty(shape)) for name, (shape, _) in names.items()}
    load(folder, state)
    return hashlib.sha256(b"".join(state[n].local.numpy().tobytes() for n in sorted(state))).hexdigest()
