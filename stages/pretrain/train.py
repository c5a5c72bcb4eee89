"""The training run: batches by step, a step through the engine, measurements, checkpoints, export.

All that a step depends on is the weights, the optimizer's state and the step's number, so a run that is killed goes on
from its newest checkpoint to the same bits (on as many ranks and threads). What it gives up: the same bits on another
number of ranks or threads, where sums are taken in another order.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from schemas.table import ContractError
from schemas.tokens import Tokenizer
from schemas.training import Checkpoint, TrainStep, Validation
from stages.base import SettingsError, num_workers
from stages.model.checkpoint import Checkpoints, load_state, load_tables
from stages.model.distributed import World, joined
from stages.model.engine import Engine, Optimization
from stages.model.export import export
from stages.model.folder import model_row
from stages.model.heldout import HeldOut
from stages.model.network import Network, Sizes
from stages.model.schedule import cosine
from stages.model.stream import Batches, TokenStream, open_split
from stages.pretrain import Pretrain
from stages.tables import Outputs, Reader

STATES, MODEL = "states", "huggingface"  # folders of files, beside the tables `checkpoints` and `model`
PROBE_WINDOWS = 4  # validation windows whose logits the export must reproduce
CHECKED_TOKENS = 1 << 24  # tokens whose ids are checked at a time


def pretrain(settings: Pretrain, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
    """Train as `settings` say, from the newest checkpoint in `outputs.folder` if there is one, and export."""
    with joined() as world:
        torch.set_num_threads(max(1, num_workers() // world.local_size))
        run = Run(settings, inputs, outputs, world)
        run.train()
        if world.rank == 0:
            run.finish()


class Run:
    """One training run of one rank."""

    def __init__(self, settings: Pretrain, inputs: Mapping[str, Reader], outputs: Outputs, world: World) -> None:
        self.settings, self.outputs, self.world = settings, outputs, world
        self.tokenizer, self.tokenizer_file = _only_tokenizer(inputs["tokenizer"])
        _check_tokenizer(inputs["tokens"], self.tokenizer)
        train, held_out = (open_split(inputs["tokens"], split) for split in ("train", "validation"))
        _check_ids([train, held_out], self.tokenizer.vocab_size, world)
        self.batches = Batches(train, settings.sequence_tokens, settings.batch_sequences, settings.seed)
        documents = [d for d in inputs["documents"].rows() if d.split == "validation"]
        self.held_out = HeldOut(held_out, documents, self.tokenizer.eod_id, settings.sequence_tokens)
        self.sizes = _sizes(settings, self.tokenizer.vocab_size)
        self.engine = _engine(settings, self.sizes, world)
        self.checkpoints = Checkpoints(outputs.folder / STATES, self.identity(inputs), settings.keep_checkpoints)
        self.steps: list[TrainStep] = []
        nats = self.held_out.unigram()
        self.validation = [self._measured(0, "unigram", nats)]

    def identity(self, inputs: Mapping[str, Reader]) -> dict[str, Any]:
        """What makes these weights: conventions that no tensor shows, settings, and the data by digest."""
        conventions = {"rope": "rotate-half", "norm": "rms", "activation": "silu", **asdict(self.sizes)}
        train = [s.bin.sha256 for s in inputs["tokens"].rows() if s.split == "train"]
        data = {"tokenizer_sha256": self.tokenizer.file.sha256, "train_sha256": train}
        return conventions | data | self.settings.settings()

    def train(self) -> None:
        """Take the steps that are not done yet."""
        first = self._resume() + 1
        batch_tokens = self.settings.batch_sequences * self.settings.sequence_tokens
        if self.world.rank == 0:
            print(f"{self.engine.network.num_parameters():,} parameters: {self.sizes.describe()}", flush=True)
            total = self.settings.num_steps * batch_tokens
            self.outputs.progress.start("tokens", total, done=(first - 1) * batch_tokens)
        for step in range(first, self.settings.num_steps + 1):
            self._step(step, batch_tokens)
            if self._due(step, self.settings.validate_every):
                self._validate(step)
            if self._due(step, self.settings.checkpoint_every):
                self._save(step, step * batch_tokens)

    def finish(self) -> None:
        """Export the model and write the rows; rank 0 only."""
        network = self.engine.network.to("cpu", torch.float32).eval()
        probe_BT = next(self.held_out.batches(PROBE_WINDOWS))[0]
        folder = self.outputs.folder / MODEL
        difference = export(network, folder, self.tokenizer_file, self.tokenizer.eod_token, probe_BT)
        print(f"exported: logits of transformers differ by at most {difference:.1e}", flush=True)
        self.outputs["steps"].write(self.steps)
        self.outputs["validation"].write(self.validation)
        self.outputs["checkpoints"].write(self._checkpoint_rows())
        row = model_row(self.outputs, folder, "borealis-base", "pretrain", network.num_parameters())
        self.outputs["model"].write(row)

    def _step(self, step: int, batch_tokens: int) -> None:
        settings, started = self.settings, time.monotonic()
        windows_BT = torch.from_numpy(self.batches.batch(step, self.world.rank, self.world.size))
        rate = cosine(step, settings.learning_rate, settings.warmup_steps, settings.num_steps)
        loss, norm = self.engine.step(windows_BT, rate, step)
        row = TrainStep(
            phase="pretrain",
            step=step,
            num_tokens=step * batch_tokens,
            loss=loss,
            gradient_norm=norm,
            learning_rate=rate,
            tokens_per_second=batch_tokens / (time.monotonic() - started),
        )
        self.steps.append(row)
        if self.world.rank == 0:
            self.outputs.progress.reach(step * batch_tokens, step=step, loss=loss)

    def _due(self, step: int, every: int) -> bool:
        return step % every == 0 or step == self.settings.num_steps

    def _validate(self, step: int) -> None:
        with self.engine.autocast():
            nats = self.held_out.nats_per_token(self.engine.network, self.engine.micro, self.world)
        self.validation.append(self._measured(step, "validation", nats))
        if self.world.rank == 0:
            row = self.validation[-1]
            print(f"step {step}: validation {nats:.4f} nats a token, {row.bits_per_byte:.4f} bits a byte", flush=True)

    def _measured(self, step: int, name: str, nats: float) -> Validation:
        bits = self.held_out.bits_per_byte(nats)
        return Validation(phase="pretrain", step=step, name=name, value=nats, bits_per_byte=bits)

    def _save(self, step: int, num_tokens: int) -> None:
        state = self.engine.state() | {"random": torch.get_rng_state()}  # gathering takes every rank
        if self.world.rank == 0:
            tables = {"steps": TrainStep.table(self.steps), "validation": Validation.table(self.validation)}
            self.checkpoints.save(step, num_tokens, state, tables)

    def _resume(self) -> int:
        folder = self._newest()
        if folder is None:
            return 0
        state, tables = load_state(folder), load_tables(folder, ("steps", "validation"))
        self.steps = [TrainStep.model_validate(row) for row in tables["steps"].to_pylist()]
        self.validation = [Validation.model_validate(row) for row in tables["validation"].to_pylist()]
        step = self.steps[-1].step
        self.engine.restore(state, step)
        torch.set_rng_state(state["random"])
        return step

    def _newest(self) -> Path | None:
        """Rank 0 looks and all ranks take what it found, so that no two resume from different steps."""
        step, problem = 0, None
        if self.world.rank == 0:
            self.checkpoints.folder.mkdir(exist_ok=True)
            self.checkpoints.tidy()
            try:
                found = self.checkpoints.newest()
                step = found[1].step if found else 0
            except ContractError as error:
                step, problem = -1, error
        step = self.world.from_first(step)
        if step < 0:
            raise problem or ContractError(str(self.checkpoints.folder), ["rank 0 refuses to resume, see its message"])
        return self.checkpoints.folder / f"step-{step:06d}" if step else None

    def _checkpoint_rows(self) -> list[Checkpoint]:
        return [
            Checkpoint(
                phase="pretrain",
                step=marker.step,
                num_tokens=marker.num_tokens,
                folder=str(folder.relative_to(self.outputs.folder)),
                size_bytes=sum(blob.size_bytes for blob in marker.files),
            )
            for folder, marker in self.checkpoints.complete()
        ]


def _sizes(settings: Pretrain, vocab_size: int) -> Sizes:
    given = {name: getattr(settings, name) for name in ("width", "num_heads", "num_kv_heads", "hidden_width")}
    sizes = Sizes.of_depth(
        settings.depth, vocab_size, settings.sequence_tokens, tie_embeddings=settings.tie_embeddings, **given
    )
    if problems := sizes.problems():
        raise SettingsError("\n".join(f"pretrain: {p}" for p in problems))
    return sizes


def _engine(settings: Pretrain, sizes: Sizes, world: World) -> Engine:
    optimization = Optimization(
        batch_sequences=settings.batch_sequences,
        micro_batch_sequences=settings.micro_batch_sequences,
        weight_decay=settings.weight_decay,
        max_gradient_norm=settings.max_gradient_norm,
        precision=settings.precision,
        zero_stage=settings.zero_stage,
    )
    torch.manual_seed(settings.seed)
    return Engine(Network(sizes), optimization, world)


def _only_tokenizer(reader: Reader) -> tuple[Tokenizer, Path]:
    rows: list[Tokenizer] = list(reader.rows())
    if len(rows) != 1:
        raise ContractError(str(reader.folder), [f"expected 1 tokenizer, found {len(rows)}"])
    return rows[0], reader.open_path(rows[0].file)


def _check_tokenizer(shards: Reader, tokenizer: Tokenizer) -> None:
    problems = [
        f"{row.bin.path}: made with tokenizer {row.tokenizer_sha256[:12]}, given is {tokenizer.file.sha256[:12]}"
        for row in shards.rows()
        if row.tokenizer_sha256 != tokenizer.file.sha256
    ]
    if problems:
        raise ContractError(str(shards.folder), problems)


def _check_ids(streams: list[TokenStream], vocab_size: int, world: World) -> None:
    """Each rank reads its part of the files once; all ranks learn of what any of them found."""
    wrong = torch.zeros((), dtype=torch.int64, device=world.device)
    files = [file for stream in streams for file in stream.files]
    for file in files[world.rank :: world.size]:
        for start in range(0, len(file), CHECKED_TOKENS):
            some = file[start : start + CHECKED_TOKENS]
            wrong += int(((some < 0) | (some >= vocab_size)).sum())
    if count := int(world.sum(wrong)):
        problem = f"{count} token(s) are not in 0..{vocab_size - 1}, the tokenizer's vocabulary"
        raise ContractError("the token files", [problem])
