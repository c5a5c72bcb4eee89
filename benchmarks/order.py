"""Does a run that is killed and resumed take the same samples to the same weights? On 1, 2 and 4 ranks.

A tiny model is trained from the stages' own output (documents, tokenizer, token files, index) in real processes, which are
killed with SIGKILL at random times (seeded), all ranks within milliseconds, and started again by the same command until
the run is done. Then ledger, losses, validation and exported weights are compared, bit for bit, with the run that nobody
killed, and every row of every ledger with the digest of the samples that the order gives for its step. The
processes are forked from one that has imported torch, so that a start takes a second and most kills hit training.
"""

import json
import os
import random
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq

from benchmarks.table import Comparison, Options, main, seconds
from schemas.corpus import Document
from schemas.tokens import IndexFile, MixtureShare, TokenOrder, TokenShard
from stages import command
from stages.base import Stage
from stages.index import Index
from stages.pretrain import Pretrain
from stages.pretrain.data import Step
from stages.stream.corpus import open_corpus
from stages.stream.opening import open_order
from stages.tables import Reader
from stages.tokenize import Tokenize
from stages.train_tokenizer import TrainTokenizer
from tests.tables import write_table

KILLS, QUICK_KILLS = {1: 26, 2: 14, 4: 10}, {1: 3, 2: 1, 4: 1}
ORDER = {
    "sequence_tokens": 32,
    "batch_sequences": 8,
    "num_steps": 240,
    "weights": {"notes": 2, "papers": 1, "theses": 1},
}
MODEL = {
    "depth": 1,
    "width": 32,
    "micro_batch_sequences": 2,
    "warmup_steps": 10,
    "checkpoint_every": 3,
    "validate_every": 60,
}
STARTED = ["stages.pretrain.train", "deepspeed", "transformers.models.llama.modeling_llama", "tokenizers"]
CONTEXT = get_context("forkserver")
BOUND_SECONDS = 1e-4  # that a step's row may cost


@dataclass
class Run:
    """Training in one folder, as many ranks at a time as asked for."""

    tables: list[str]
    out: Path
    num_ranks: int
    logs: int = 0
    killed: Counter[str] = field(default_factory=Counter)

    def start(self) -> list[BaseProcess]:
        """Start all ranks."""
        config = self.out.with_suffix(".json")
        config.write_text(json.dumps(MODEL))
        arguments = ["--config", str(config), *self.tables, "--out", str(self.out)]
        self.logs += 1
        return [
            launch(Pretrain, arguments, self.out.with_suffix(f".{self.logs}-{rank}.log"), environ)
            for rank, environ in enumerate(_environments(self.num_ranks))
        ]

    def finish(self) -> tuple[float, float]:
        """Run to the end; the seconds until the first checkpoint of this folder, and those until the end."""
        started, ranks = time.monotonic(), self.start()
        while ranks[0].is_alive() and not self.checkpoints():
            ranks[0].join(0.01)
        first = time.monotonic() - started
        join(ranks)
        return first, time.monotonic() - started

    def checkpoints(self) -> list[str]:
        """Names of those that are complete."""
        return sorted(f.name for f in (self.out / "states").glob("step-*"))

    def kill_after(self, delay: float, chance: random.Random) -> bool:
        """Start, and kill all ranks after so many seconds, one of them first; False if the run was done before."""
        ranks = self.start()
        ranks[0].join(delay)
        alive = [r for r in ranks if r.is_alive()]
        if not alive:
            join(ranks)
            return False
        saving = any((self.out / "states").glob(".writer-*/step-*"))
        chance.shuffle(alive)
        for process in alive:
            process.kill()
        for process in alive:
            process.join()
        newest = max(self.checkpoints(), default="no checkpoint")
        self.killed["a save" if saving else newest] += 1
        return True

    def results(self) -> dict[str, Any]:
        """All that must be the same."""
        found: dict[str, Any] = {
            name: pq.read_table(self.out / name).drop_columns(times).to_pylist()
            for name, times in (("ledger", []), ("steps", ["tokens_per_second"]), ("validation", []))
        }
        return found | {"weights": (self.out / "huggingface" / "model.safetensors").read_bytes()}


def launch(stage: type[Stage], arguments: list[str], log: Path, environ: Mapping[str, str]) -> BaseProcess:
    """Run a stage's command in a process of its own that has its imports done."""
    process = CONTEXT.Process(target=_work, args=(stage, arguments, log, dict(environ)))
    process.start()
    return process


def join(ranks: list[BaseProcess]) -> None:
    """Wait for all; RuntimeError if one failed."""
    for process in ranks:
        process.join()
    if codes := [p.exitcode for p in ranks if p.exitcode]:
        raise RuntimeError(f"exit status {codes}: see the logs")


def _work(stage: type[Stage], arguments: list[str], log: Path, environ: dict[str, str]) -> None:
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(environ)
    command.main(stage, arguments)


def _environments(num_ranks: int) -> Iterator[dict[str, str]]:
    """What a launcher tells each rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(num_ranks), "BOREALIS_WORKERS": "1"}
    for rank in map(str, range(num_ranks)):
        yield shared | {"RANK": rank, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": str(num_ranks)}


# ---- what is trained on


def documents(folder: Path) -> Path:
    """A table of 90 short documents of three sources."""
    chance = random.Random(0)
    words = [
        "quartz",
        "basalt",
        "lithium",
        "enzyme",
        "graphene",
        "copper",
        "dissolves",
        "binds",
        "reacts",
        "in",
        "with",
    ]
    texts = [" ".join(chance.choices(words, k=chance.randint(40, 200))) for _ in range(90)]
    (sample,) = Document.sample(1)
    rows = [
        sample.model_copy(update={"doc_id": f"{n:064x}", "text": text, "pages": [], "source": source})
        for n, text in enumerate(texts)
        for source in [("notes", "papers", "theses")[n % 3]]
    ]
    return write_table(folder / "documents", Document, rows, "documents")


def prepare(folder: Path) -> list[str]:
    """Run the stages before training; the flags of its tables."""
    made = {"documents": documents(folder)}
    _stage(TrainTokenizer, folder, {"vocab_size": 300}, made)
    _stage(Tokenize, folder, {}, made)
    made["tokens"], made["documents"] = made["shards"], folder / "tokenize" / "documents"
    _stage(Index, folder, ORDER, made)
    return [word for name in Pretrain.inputs for word in (f"--{name}", str(made[name]))]


def _stage(stage: type[Stage], folder: Path, settings: Mapping[str, Any], made: dict[str, Path]) -> None:
    config, out = folder / f"{stage.name}.json", folder / stage.name
    config.write_text(json.dumps(settings))
    tables = [word for name in stage.inputs for word in (f"--{name}", str(made[name]))]
    join([launch(stage, ["--config", str(config), *tables, "--out", str(out)], folder / f"{stage.name}.log", {})])
    made |= {name: out / name for name in stage.outputs if name not in ("documents", "dropped")}


def digests(tables: list[str]) -> list[str]:
    """The digest of every step's samples, computed from the order alone."""
    folder = {flag.removeprefix("--"): Path(path) for flag, path in zip(tables[::2], tables[1::2], strict=True)}
    datasets = open_corpus(Reader(folder["tokens"], TokenShard), "train")
    kinds = (("order", TokenOrder), ("mixture", MixtureShare), ("arrays", IndexFile))
    order, _, samples = open_order(*(Reader(folder[name], row) for name, row in kinds), datasets)
    size = order.batch_sequences
    return [samples.take(s * size, (s + 1) * size).digest() for s in range(order.num_steps)]


# ---- comparisons


def run(options: Options) -> Iterator[Comparison]:
    """Kill and compare, rank count by rank count; then the ledgers with the order, and what a row costs."""
    CONTEXT.set_forkserver_preload(STARTED)
    os.environ |= {
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "BOREALIS_WORKERS": "1",
        "DS_ACCELERATOR": "cpu",
    }
    with TemporaryDirectory(prefix="order-") as name:
        tables = prepare(Path(name))
        expected, agreed = digests(tables), Counter[str]()
        for num_ranks, kills in (QUICK_KILLS if options.quick else KILLS).items():
            folder = Path(name) / f"{num_ranks}"
            folder.mkdir()
            yield killed(tables, folder, num_ranks, kills)
            for ledger in folder.glob("*/ledger"):
                found = [row["samples_sha"] for row in pq.read_table(ledger).to_pylist()]
                agreed[f"{num_ranks}"] += sum(a == b for a, b in zip(found, expected, strict=True))
                agreed["all"] += len(expected)
        right = agreed.total() - agreed["all"]
        what = f"rows of the ledgers of {', '.join(k for k in agreed if k != 'all')} ranks"
        yield Comparison(what, "the order", right, agreed["all"], "rows", right / agreed["all"], right == agreed["all"])
        yield cost(tables)


def killed(tables: list[str], folder: Path, num_ranks: int, kills: int) -> Comparison:
    """Kill so many times, over one run or, when that ends before, several; each must end as the unbroken one."""
    unbroken = Run(tables, folder / "unbroken", num_ranks)
    first, whole = unbroken.finish()
    longest = min(
        whole, first + 3 * (whole - first) / kills
    )  # so that most kills find the run further than the one before
    expected, chance, done, survived, number = unbroken.results(), random.Random(num_ranks), 0, 0, 0
    while done < kills:
        broken, before = Run(tables, folder / f"broken-{number}", num_ranks), done
        number += 1
        while done < kills and broken.kill_after(chance.uniform(first / 2, longest), chance):
            done += 1
        if not (broken.out / "manifest.json").exists():
            broken.finish()
        found = broken.results()
        wrong = [name for name in expected if found[name] != expected[name]]
        survived += (done - before) * (not wrong)
        print(
            f"{num_ranks} rank(s), run {number}: killed {_words(broken.killed)}; differs: {wrong or 'nothing'}",
            flush=True,
        )
    what = f"{num_ranks} rank(s): ledger, losses, weights, over {number} run(s)"
    return Comparison(what, "unbroken run", survived, kills, "kills", survived / kills, survived == kills)


def _words(killed: Counter[str]) -> str:
    return ", ".join(f"at {name}" + (f" ({n})" if n > 1 else "") for name, n in sorted(killed.items())) or "never"


def cost(tables: list[str]) -> Comparison:
    """Seconds of a row of the ledger for a batch of 1,024 samples (4 M tokens at a length of 4,096), against the bound."""
    import numpy as np

    from stages.stream.order import Samples

    samples = Samples(np.arange(1024, dtype=np.int32) % len(tables), np.arange(1024, dtype=np.int64))
    row = Step(1, samples, None)  # type: ignore[arg-type]
    times = sorted(seconds(row.ledger) for _ in range(1000))
    ours = times[len(times) // 2]
    return Comparison(
        "a ledger row of 1,024 samples", "bound", 1e6 * ours, 1e6 * BOUND_SECONDS, "us", BOUND_SECONDS / ours, None
    )


if __name__ == "__main__":
    started = time.monotonic()
    main("order", run)
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
