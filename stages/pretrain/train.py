"""The training run: batches by step, a step through the engine, measurements, checkpoints, export.

All that a step depends on is the weights, the optimizer's state and the step's number, so a run that is killed goes on
from its newest checkpoint to the same bits (on as many ranks and threads). What it gives up: the same bits on another
number of ranks or threads, where sums are taken in another order.
"""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import torch

from schemas.table import ContractError, Row
from schemas.training import BatchLedger, Checkpoint, TrainStep, Validation
from stages.base import SettingsError, halved, num_cores
from stages.model.checkpoint import Checkpoints, load_state, load_tables
from stages.model.distributed import World, joined
from stages.model.engine import Engine, Optimization
from stages.model.export import export
from stages.model.folder import model_row
from stages.model.network import Network, Sizes
from stages.model.schedule import cosine
from stages.pretrain import Pretrain
from stages.pretrain.data import Data, Step, open_data
from stages.tables import Outputs, Reader

STATES, MODEL = "states", "huggingface"  # folders of files, beside the tables `checkpoints` and `model`
PROBE_WINDOWS = 4  # validation windows whose logits the export must reproduce

RowType = TypeVar("RowType", bound=Row)


def pretrain(settings: Pretrain, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
    """Train as `settings` say, from the newest checkpoint in `outputs.folder` if there is one, and export."""
    with joined() as world:
        torch.set_num_threads(max(1, num_cores() // world.local_size))
        run = Run(settings, open_data(inputs, world), outputs, world)
        run.train()
        if world.rank == 0:
            run.finish()


class Run:
    """One training run of one rank."""

    def __init__(self, settings: Pretrain, data: Data, outputs: Outputs, world: World) -> None:
        self.settings, self.data, self.outputs, self.world = settings, data, outputs, world
        self.order = data.opened.order
        if settings.warmup_steps >= (num_steps := self.order.num_steps):
            raise SettingsError(
                f"pretrain.warmup_steps {settings.warmup_steps} must be under index.num_steps {num_steps}"
            )
        self.sizes = _sizes(settings, data)
        self.engine = _engine(settings, self.sizes, self.order.batch_sequences, world)
        self.checkpoints = Checkpoints(outputs.folder / STATES, self.identity(), settings.keep_checkpoints)
        self.steps: list[TrainStep] = []
        self.ledger: list[BatchLedger] = []
        self.validation = [data.held_out.unigram()]

    def identity(self) -> dict[str, Any]:
        """What makes these weights: conventions that no tensor shows, settings, and the data by digest."""
        conventions = {"rope": "rotate-half", "norm": "rms", "activation": "silu", **asdict(self.sizes)}
        return conventions | self.data.identity() | self.settings.settings()

    def train(self) -> None:
        """Take the steps that are not done yet."""
        first = self._resume() + 1
        if self.world.rank == 0:
            print(f"{self.engine.network.num_parameters():,} parameters: {self.sizes.describe()}", flush=True)
            self.outputs.progress.start("steps", self.order.num_steps, done=first - 1)
        started = time.monotonic()
        with contextlib.closing(self.data.steps(first, mask_documents=self.settings.mask_documents)) as steps:
            for step in steps:
                self._step(step, started)
                if self._due(step.number, self.settings.validate_every):
                    self._validate(step.number)
                if self._due(step.number, self.settings.checkpoint_every):
                    self._save(step.number)
                started = time.monotonic()

    def finish(self) -> None:
        """Export the model and write the rows; rank 0 only."""
        network = self.engine.network.to("cpu", torch.float32).eval()
        probe_BT = next(self.data.held_out.batches(PROBE_WINDOWS))[1]
        folder = self.outputs.folder / MODEL
        tokenizer = self.data.tokenizer
        difference = export(network, folder, self.data.tokenizer_file, tokenizer.eod_token, probe_BT)
        print(f"exported: logits of transformers differ by at most {difference:.1e}", flush=True)
        self.outputs["steps"].write(self.steps)
        self.outputs["ledger"].write(self.ledger)
        self.outputs["validation"].write(self.validation)
        self.outputs["checkpoints"].write(self._checkpoint_rows())
        row = model_row(self.outputs, folder, "borealis-base", "pretrain", network.num_parameters())
        self.outputs["model"].write(row)

    def _step(self, step: Step, started: float) -> None:
        settings = self.settings
        rate = cosine(step.number, settings.learning_rate, settings.warmup_steps, self.order.num_steps)
        taken = self.engine.step(step.batch, rate, step.number)
        row = TrainStep(
            phase="pretrain",
            step=step.number,
            num_tokens=taken.num_tokens + (self.steps[-1].num_tokens if self.steps else 0),
            loss=taken.loss,
            gradient_norm=taken.gradient_norm,
            learning_rate=rate,
            tokens_per_second=taken.num_tokens / (time.monotonic() - started),
        )
        self.steps.append(row)
        if self.world.rank == 0:
            self.ledger.append(step.ledger())
            self.outputs.progress.reach(step.number, loss=taken.loss)

    def _due(self, step: int, every: int) -> bool:
        return step % every == 0 or step == self.order.num_steps

    def _validate(self, step: int) -> None:
        with self.engine.autocast():
            nats_S = self.data.held_out.nats(self.engine.network, self.engine.micro, self.world)
        rows = self.data.held_out.measured(step, nats_S)
        self.validation += rows
        if self.world.rank == 0:
            whole = rows[0]
            words = f"{whole.value:.4f} nats a token, {whole.bits_per_byte:.4f} bits a byte"
            print(f"step {step}: validation {words}", flush=True)

    def _save(self, step: int) -> None:
        state = self.engine.state() | {"random": torch.get_rng_state()}  # gathering takes every rank
        if self.world.rank == 0:
            tables = {
                "steps": TrainStep.table(self.steps),
                "ledger": BatchLedger.table(self.ledger),
                "validation": Validation.table(self.validation),
            }
            self.checkpoints.save(step, self.steps[-1].num_tokens, state, tables)

    def _resume(self) -> int:
        folder = self._newest()
        if folder is None:
            return 0
        state, tables = load_state(folder), load_tables(folder, ("steps", "ledger", "validation"))
        self.steps = _rows(TrainStep, tables["steps"])
        self.ledger = _rows(BatchLedger, tables["ledger"])
        self.validation = _rows(Validation, tables["validation"])
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


def _sizes(settings: Pretrain, data: Data) -> Sizes:
    given = {name: getattr(settings, name) for name in ("width", "num_heads", "num_kv_heads", "hidden_width")}
    context_tokens = data.opened.order.sequence_tokens
    sizes = Sizes.of_depth(
        settings.depth, data.tokenizer.vocab_size, context_tokens, tie_embeddings=settings.tie_embeddings, **given
    )
    if problems := sizes.problems():
        raise SettingsError("\n".join(f"pretrain: {p}" for p in problems))
    return sizes


def _engine(settings: Pretrain, sizes: Sizes, batch_sequences: int, world: World) -> Engine:
    optimization = Optimization(
        batch_sequences=batch_sequences,
        micro_batch_sequences=halved(settings.micro_batch_sequences),
        weight_decay=settings.weight_decay,
        max_gradient_norm=settings.max_gradient_norm,
        precision=settings.precision,
        zero_stage=settings.zero_stage,
        optimizer=settings.optimizer,
    )
    torch.manual_seed(settings.seed)
    return Engine(Network(sizes), optimization, world)


def _rows(row: type[RowType], table: pa.Table) -> list[RowType]:
    return [row.model_validate(fields) for fields in table.to_pylist()]
