"""What twenty minutes of one core teach, beside nanochat's twenty minutes and a byte-level n-gram model.

    parsl run workflows/pretrain.py --until index --set ingest.paths='["papers.jsonl.gz"]'
    python -m benchmarks.twenty_minutes --data runs/index/FINGERPRINT [--plot FILE]

Ours is the engine, data, order and validation of `stages.pretrain`; the peer is nanochat's model, initialisation, optimizers,
learning rates and schedules (scripts/base_train.py), of the same layers, width and heads, on the same batches. Each has 20
minutes of processor time on one thread; the first step (nanochat compiles its optimizers) and measuring are not counted, and
schedules run by the share of the budget that is spent.
Both are scored on the held-out documents, every token once. The n-gram model learns from the whole training text, which is more
than either of them sees, and its order is the one that scores best on the held-out text. nanochat: see `benchmarks.train_speed`.
"""

import importlib.util
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # libgomp reads it once, when torch is loaded

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from benchmarks.byte_ngram import ByteNgram
from benchmarks.table import Comparison, Options, main
from schemas.manifest import Manifest
from schemas.tokens import IndexFile, MixtureShare, TokenizedDocument, TokenOrder, TokenShard
from schemas.tokens import Tokenizer as TokenizerRow
from stages.base import SettingsError
from stages.model.distributed import World, joined
from stages.model.engine import Batch, Optimization, make_engine
from stages.model.network import IGNORED, Network
from stages.model.parallelize import Parallelism, lay_out
from stages.model.sizes import Sizes
from stages.pretrain.data import Data, open_data
from stages.tables import Reader

LAYERS, WIDTH, HEADS = 4, 192, 3
SECONDS, QUICK_SECONDS = 1200.0, 20.0
MEASUREMENTS = 5  # of the held-out loss, the last at the end
VALIDATION_BATCH, ORDERS = 32, (4, 5, 6, 7, 8)
RATE, WARMUP, FINAL = 4e-3, 0.02, 0.02  # ours: the peak, the share of the budget before it, what is left at the end


class Point(NamedTuple):
    """Held-out bits a byte after so many processor seconds and tokens."""

    seconds: float
    tokens: int
    bits_per_byte: float


class Learner(NamedTuple):
    """A model that learns: a step at a share of the budget, and the summed loss of a batch."""

    step: Callable[[Batch, float, int], None]
    loss: Callable[[Tensor, Tensor], Tensor]
    num_parameters: int


def opened(index: Path, world: World) -> Data:
    """What `stages.pretrain` would read with this output of `index`."""
    inputs = Manifest.read(index).inputs
    rows: Mapping[str, Any] = {"order": TokenOrder, "mixture": MixtureShare, "arrays": IndexFile}
    readers = {name: Reader(index / name, row) for name, row in rows.items()}
    shards = (index / inputs["tokens"].path).resolve()
    tokenizer = (index / inputs["tokenizer"].path).resolve()
    return open_data(
        readers
        | {
            "tokens": Reader(shards, TokenShard),
            "documents": Reader(shards.parent / "documents", TokenizedDocument),
            "tokenizer": Reader(tokenizer, TokenizerRow),
        },
        world,
    )


def ours(data: Data, world: World) -> Learner:
    """Muon, normalised queries and keys, bf16 products, a rate that falls in a line."""
    order = data.opened.order
    sizes = Sizes.of_depth(
        LAYERS,
        data.tokenizer.vocab_size,
        order.sequence_tokens,
        width=WIDTH,
        num_heads=HEADS,
        num_kv_heads=HEADS,
        qk_norm=True,
        tie_embeddings=False,
    )
    torch.manual_seed(0)
    wanted = Optimization(order.batch_sequences, order.batch_sequences, 0.1, 1.0, "bf16", "muon")
    engine = make_engine(Network(sizes), wanted, lay_out(world, Parallelism(), sizes))

    def step(batch: Batch, spent: float, number: int) -> None:
        share = min(spent / WARMUP, 1.0) if spent < WARMUP else (1 - spent) / (1 - WARMUP)
        engine.step(batch, RATE * max(share, FINAL), number)

    def loss(inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
        summed: Tensor = engine.network(inputs_BT, targets_BT, reduction="sum")
        return summed

    return Learner(step, loss, engine.network.num_parameters())


def nanochat(data: Data, world: World) -> Learner:  # noqa: ARG001 - as `ours`
    """As its base_train.py does it: rates by the root of the batch, 40 steps up, the last 65 % down to 5 %."""
    os.environ["NANOCHAT_DTYPE"] = "bfloat16"
    from nanochat import gpt

    order = data.opened.order
    shape = {"n_layer": LAYERS, "n_head": HEADS, "n_kv_head": HEADS, "n_embd": WIDTH, "window_pattern": "L"}
    config = gpt.GPTConfig(sequence_len=order.sequence_tokens, vocab_size=data.tokenizer.vocab_size, **shape)
    torch.manual_seed(0)
    model = gpt.GPT(config)
    model.init_weights()
    scale = math.sqrt(order.batch_sequences * order.sequence_tokens / 2**19)
    rates = {"unembedding_lr": 0.008, "embedding_lr": 0.3, "matrix_lr": 0.02, "scalar_lr": 0.5}
    optimizer = model.setup_optimizer(**{name: rate * scale for name, rate in rates.items()})

    def step(batch: Batch, spent: float, number: int) -> None:
        model(batch.inputs_BT, _as_nanochat(batch.targets_BT)).backward()
        share = min(number / 40, 1.0) if spent < 0.35 else 0.05 + 0.95 * (1 - spent) / 0.65
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * share
            if group["kind"] == "muon":
                late = max(spent - 0.35, 0) / 0.65
                group["momentum"] = 0.97 - 0.07 * late if late else 0.85 + 0.12 * min(number / 400, 1)
        optimizer.step()
        model.zero_grad(set_to_none=True)

    def loss(inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
        summed: Tensor = model(inputs_BT, _as_nanochat(targets_BT), loss_reduction="sum")
        return summed

    return Learner(step, loss, _count(model))


LEARNERS: Mapping[str, Callable[[Data, World], Learner]] = {"ours": ours, "nanochat": nanochat}


def learn(name: str, index: Path, budget: float) -> tuple[int, list[Point]]:
    """Weights of the model, and its curve."""
    torch.set_num_threads(1)
    with joined() as world:
        data = opened(index, world)
        learner = LEARNERS[name](data, world)
        points, spent, tokens = [], 0.0, 0
        for step in data.steps(1, mask_documents=False):
            started = time.process_time()
            learner.step(step.batch, spent / budget, step.number)
            spent += time.process_time() - started if step.number > 1 else 0.0
            tokens += step.batch.targets_BT.numel()
            if spent >= budget * (len(points) + 1) / MEASUREMENTS:
                points.append(Point(spent, tokens, held_out(learner, data)))
                print(name, points[-1], flush=True)
            if spent >= budget:
                return learner.num_parameters, points
    cure = "set index.num_steps and index.max_epochs higher"
    raise SettingsError([f"the order ends after {tokens:,} tokens and {spent:.0f} of {budget:.0f} s; {cure}"])


def held_out(learner: Learner, data: Data) -> float:
    """Bits a byte of the held-out documents."""
    nats = 0.0
    with torch.no_grad():
        for _, inputs_BT, targets_BT, _ in data.held_out.batches(VALIDATION_BATCH):
            nats += float(learner.loss(inputs_BT, targets_BT))
    return nats / math.log(2) / int(data.held_out.num_bytes_S.sum())


def ngram(index: Path, orders: tuple[int, ...]) -> tuple[int, float]:
    """The best order of a byte n-gram model, and its bits a byte of the held-out text."""
    with joined() as world:
        data = opened(index, world)
    tokenizer = Tokenizer.from_file(str(data.tokenizer_file))
    train = [d for dataset in data.datasets for file in dataset.files for d in texts(file.tokens, data, tokenizer)]
    held = [d for file in data.held_out.files for d in texts(file, data, tokenizer)]
    size = int(data.held_out.num_bytes_S.sum())
    assert abs(sum(map(len, held)) - size) <= 0.001 * size, "the text is what the tokens were made of"
    found = {order: ByteNgram(train, order).bits_per_byte(held) for order in orders}
    print("byte n-grams by order:", {order: round(bits, 4) for order, bits in found.items()}, flush=True)
    return min(found.items(), key=lambda pair: pair[1])


def texts(tokens: Any, data: Data, tokenizer: Tokenizer) -> Iterator[bytes]:
    """The documents of a token file as UTF-8."""
    ends = (tokens[:] == data.tokenizer.eod_id).nonzero()[0]
    for first, end in zip([0, *(ends[:-1] + 1)], ends, strict=True):
        yield tokenizer.decode(tokens[int(first) : int(end)].tolist(), skip_special_tokens=False).encode()


def run(options: Options) -> Iterator[Comparison]:
    """Both models side by side, then the n-grams."""
    if options.data is None:
        raise SettingsError(["--data is missing: the output of a stage `index`, runs/index/FINGERPRINT"])
    budget = QUICK_SECONDS if options.quick else SECONDS
    names = [name for name in LEARNERS if name == "ours" or importlib.util.find_spec(name)]
    if len(names) < len(LEARNERS):
        print("nanochat is missing and not compared with: see the first lines of benchmarks/train_speed.py")
    with ProcessPoolExecutor(len(names), get_context("spawn")) as pool:
        running = {name: pool.submit(learn, name, options.data, budget) for name in names}
        found = {name: work.result() for name, work in running.items()}
    order, bits = ngram(options.data, ORDERS[:2] if options.quick else ORDERS)
    weights, points = found["ours"]
    last = points[-1]
    what = f"held-out bits a byte, {budget / 60:.3g} min, {weights:,} weights, {last.tokens:,} tokens"
    if "nanochat" in found:
        others, curve = found["nanochat"]
        peer = f"nanochat, {others:,} weights, {curve[-1].tokens:,} tokens"
        yield _compared(what, peer, last.bits_per_byte, curve[-1].bits_per_byte)
    yield _compared(what, f"byte n-grams of order {order}", last.bits_per_byte, bits)
    if options.plot:
        draw(options.plot, {name: curve for name, (_, curve) in found.items()}, (order, bits))


def draw(file: Path, curves: Mapping[str, list[Point]], ngrams: tuple[int, float]) -> None:
    """Bits a byte against processor minutes."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for name, points in curves.items():
        axes.plot([p.seconds / 60 for p in points], [p.bits_per_byte for p in points], "o-", label=name)
        axes.annotate(
            f"{points[-1].bits_per_byte:.3f}",
            (points[-1].seconds / 60, points[-1].bits_per_byte),
            (4, 4),
            textcoords="offset points",
        )
    axes.axhline(ngrams[1], color="0.4", ls="--", label=f"byte n-grams, order {ngrams[0]}: {ngrams[1]:.3f}")
    axes.set(xlabel="minutes of one core", ylabel="held-out bits a byte")
    axes.margins(x=0.1)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=150)


def _compared(what: str, peer: str, mine: float, theirs: float) -> Comparison:
    return Comparison(what, peer, mine, theirs, "bits/byte", theirs / mine, None)


def _count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _as_nanochat(targets_BT: Tensor) -> Tensor:
    return targets_BT.masked_fill(targets_BT == IGNORED, -1)


if __name__ == "__main__":
    main("twenty_minutes", run, plots=True)
