"""The training run: batches by step, a step through the engine, measurements, checkpoints, export.

All that a step depends on is the weights, the optimizer's state and the step's number, so a run that is killed goes on
from its newest checkpoint to the same bits (on as many ranks and threads). On another number of ranks sums are taken in
another order, unless `canonical_ranks` fixes it.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import torch

from schemas.health import Heartbeat, SpikeEvent, TensorHealth
from schemas.table import Row
from schemas.training import BatchLedger, Checkpoint, DomainLoss, MeasuredDocument, Model, TrainStep, Validation
from stages.base import SettingsError, halved, num_cores
from stages.model.checkpoint import Checkpoints, Keep, Marker, load, load_tables
from stages.model.distributed import World, joined
from stages.model.engine import Engine, Optimization, Taken, make_engine
from stages.model.export import export, no_architecture
from stages.model.folder import model_row
from stages.model.network import Network
from stages.model.parallelize import Layout, Parallelism, lay_out
from stages.model.pieces import Piece
from stages.model.schedule import Schedule
from stages.model.sizes import Sizes
from stages.pretrain import Pretrain
from stages.pretrain.data import Data, Step, open_data
from stages.pretrain.health.guard import Guard, Policy
from stages.pretrain.health.heartbeat import Clock, Watchdog
from stages.pretrain.health.observe import Observer, Tables, patience
from stages.pretrain.health.ranks import TimedWorld
from stages.tables import Outputs, Reader

STATES, MODEL = "states", "huggingface"  # folders of files, beside the tables `checkpoints` and `model`
PROBE_WINDOWS = 4  # validation windows whose logits the export must reproduce

RowType = TypeVar("RowType", bound=Row)


def pretrain(settings: Pretrain, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
    """Train as `settings` say, from the newest checkpoint in `outputs.folder` if there is one, and export."""
    with joined() as world:
        run = open_run(settings, inputs, outputs, world)
        with contextlib.closing(run.checkpoints):
            run.train()
            if world.rank == 0:
                run.finish()


def open_run(settings: Pretrain, inputs: Mapping[str, Reader], outputs: Outputs, joined_world: World) -> "Run":
    """A run at its first weights, with all that it reads open; nothing is written yet."""
    clock = Clock()
    world = TimedWorld.of(joined_world, clock)
    threads = settings.canonical_threads if settings.canonical_ranks else num_cores() // world.local_size
    torch.set_num_threads(max(1, threads))
    data = open_data(inputs, world, settings.validation_tokens)
    sizes = _sizes(settings, data)
    layout = lay_out(world, _parallelism(settings), sizes)
    return Run(settings, replace(data, world=layout.data), outputs, (sizes, layout), clock)


class Run:
    """One training run of one rank."""

    def __init__(
        self, settings: Pretrain, data: Data, outputs: Outputs, spread: tuple[Sizes, Layout], clock: Clock
    ) -> None:
        self.settings, self.data, self.outputs = settings, data, outputs
        self.sizes, self.layout = spread
        self.world = self.layout.world
        self.order = data.opened.order
        self.schedule = _schedule(settings, self.order.num_steps)
        self.engine = _engine(settings, self.sizes, self.order.batch_sequences, self.layout)
        keep = Keep(settings.keep_checkpoints, settings.keep_every)
        self.checkpoints = Checkpoints(outputs.folder / STATES, self.identity(), keep, self.layout)
        self.steps: list[TrainStep] = []
        self.ledger: list[BatchLedger] = []
        self.validation = [data.held_out.unigram()]
        self.domains: list[DomainLoss] = []
        self.measured = data.held_out.measured_documents()
        self.clock = clock
        self.guard = Guard(self.engine, data, self._policy(), self.load, self._saved, settings.mask_documents, clock)
        sizes = (self.sizes, self.sizes.num_parameters)
        self.observer = Observer(outputs.folder, self.world, clock, sizes)

    def _policy(self) -> Policy:
        """Another past begins with another mixture, and where a batch that grows has its full size."""
        begins = {share.first_step for share in self.data.opened.mixture} - {1}
        begins |= {last + 1 for last in self.settings.batch_doublings}
        return Policy(self.settings.on_spike, self.settings.monitor_every, frozenset(begins))

    def identity(self) -> dict[str, Any]:
        """What makes these weights: settings, the data by digest, and conventions that no tensor shows."""
        conventions = {"rope": "rotate-half", "norm": "rms", "activation": "silu", **asdict(self.sizes)}
        return self.settings.settings() | self.data.identity() | conventions  # sizes as they are, given or not

    def train(self) -> None:
        """Take the steps that are not done yet."""
        first = self._resume(self.checkpoints.begin()) + 1
        if self.world.rank == 0:
            print(f"{self.sizes.num_parameters:,} parameters: {self.sizes.describe()}", flush=True)
            if words := no_architecture(self.sizes):
                print(f"there will be checkpoints and no model: {words}", flush=True)
            self.outputs.progress.start("steps", self.order.num_steps, done=first - 1)
        with Watchdog(self.clock, self.world.rank, factor=patience()):
            while first <= self.order.num_steps:
                first = self._train_from(first)

    def _train_from(self, first: int) -> int:
        """Take steps, to the end or to a spike that is gone back from; the step to go on with."""
        self.observer.begin(first, self._tables())
        started = time.monotonic()
        with contextlib.closing(self.data.steps(first, mask_documents=self.settings.mask_documents)) as steps:
            while (step := self._next(steps)) is not None:
                event = self._step(step, started)
                if event is not None and event.restart_step is not None:
                    return self._go_back(event, event.restart_step) + 1
                if self._due(step.number, self.settings.validate_every):
                    self._validate(step.number)
                if self._due(step.number, self.settings.checkpoint_every):
                    self._save(step.number)
                started = time.monotonic()
        return self.order.num_steps + 1

    def _next(self, steps: Iterator[Step]) -> Step | None:
        with self.clock.phase("data"):
            return next(steps, None)

    def _go_back(self, event: SpikeEvent, step: int) -> int:
        """Go back to the state after `step`, as a run that was killed would, and forget what was saved after it."""
        self.checkpoints.rewind(step)
        step = self._resume(self.checkpoints.newest())
        self.guard.went_back(event)
        return step

    def _tables(self) -> Tables:
        """The rows that the run has made so far, by the name of their table."""
        return {
            "steps": (TrainStep, self.steps),
            "ledger": (BatchLedger, self.ledger),
            "validation": (Validation, self.validation),
            "domains": (DomainLoss, self.domains),
            "measured": (MeasuredDocument, self.measured),
            "spikes": (SpikeEvent, self.guard.events),
            "tensors": (TensorHealth, self.guard.tensors),
            "heartbeats": (Heartbeat, self.observer.heartbeats),
        }

    def finish(self) -> None:
        """Export the model, from the last checkpoint, and write the rows; rank 0 only."""
        self.checkpoints.wait()
        for name, (_, rows) in self._tables().items():
            self.outputs[name].write(rows)
        self.outputs["checkpoints"].write(self._checkpoint_rows())
        if no_architecture(self.sizes) is None:
            self.outputs["model"].write([self._export()])
        self.observer.done()

    def _export(self) -> Model:
        network = self._trained()
        probe_BT = next(self.data.held_out.batches(PROBE_WINDOWS)).inputs_BT
        folder = self.outputs.folder / MODEL
        tokenizer = self.data.tokenizer
        difference = export(network, folder, self.data.tokenizer_file, tokenizer.eod_token, probe_BT)
        print(f"exported: logits of transformers differ by at most {difference:.1e}", flush=True)
        return model_row(self.outputs, folder, "borealis-base", "pretrain", network.num_parameters())

    def _trained(self) -> Network:
        """The network that the last checkpoint holds, whole on this rank."""
        network = Network(self.sizes)
        folder = self.checkpoints.complete()[-1][0]
        load(folder, {f"weights/{n}": Piece.whole(p.detach()) for n, p in network.named_parameters()})
        return network.eval()

    def take(self, step: Step) -> tuple[Taken, SpikeEvent | None]:
        """Learn from a step's samples; after a `rollback` event the run has to go back to its `restart_step`."""
        rate = self.schedule.rate(step.number)
        if self.schedule.num_updates(step.number) > 1:  # parts of a batch are not to be compared with whole ones
            return self._updates(step, rate), None
        return self.guard.take(step.number, step.batch, rate)

    def _step(self, step: Step, started: float) -> SpikeEvent | None:
        taken, event = self.take(step)
        row = TrainStep(
            phase="pretrain",
            step=step.number,
            num_tokens=taken.num_tokens + (self.steps[-1].num_tokens if self.steps else 0),
            loss=taken.loss,
            gradient_norm=taken.gradient_norm,
            learning_rate=self.schedule.rate(step.number),
            tokens_per_second=taken.num_tokens / (time.monotonic() - started),
        )
        if event is not None and self.world.rank == 0:
            self.checkpoints.pin(event.step if event.restart_step is None else event.restart_step + 1)
            done = event.action if event.restart_step is None else f"{event.action} to step {event.restart_step}"
            words = f"a spike of the {event.signal}, class {event.cause}: {event.evidence}; {done}"
            print(f"step {event.step}: {words}", flush=True)
        if event is None or event.restart_step is None:
            self.steps.append(row)
            self.ledger.append(step.ledger())
            self.observer.step(row, self.outputs.progress)
        return event

    def _updates(self, step: Step, rate: float) -> Taken:
        """Learn from the step's samples, all at once or part by part: their mean loss, and the largest gradient norm."""
        count = self.schedule.num_updates(step.number)
        size = len(step.batch.inputs_BT) // count
        taken = []
        for part in range(count):
            batch = step.batch.rows(part * size, size, self.world.device)
            taken.append(self.engine.step(batch, rate, step.number))
        num_tokens = sum(t.num_tokens for t in taken)
        loss = sum(t.loss * (t.num_tokens / num_tokens) for t in taken)
        return Taken(loss, max(t.gradient_norm for t in taken), num_tokens)

    def _due(self, step: int, every: int) -> bool:
        return step % every == 0 or step == self.order.num_steps

    def _validate(self, step: int) -> None:
        with self.clock.phase("validation"), self.engine.autocast():
            nats_SD = self.data.held_out.nats(self.engine.network, self.engine.micro, self.layout.data)
        rows, domains = self.data.held_out.measured(step, nats_SD), self.data.held_out.by_domain(step, nats_SD)
        self.validation += rows
        self.domains += domains
        self.observer.validated(rows, domains)
        if self.world.rank == 0:
            whole = rows[0]
            words = f"{whole.value:.4f} nats a token, {whole.bits_per_byte:.4f} bits a byte"
            each = ", ".join(f"{d.domain} {d.bits_per_byte:.3f}" for d in domains[1:])
            print(f"step {step}: validation {words}{f' ({each})' if each else ''}", flush=True)

    def _save(self, step: int) -> None:
        with self.clock.phase("checkpoint"):
            own = self._tables() if self.world.rank == 0 else {}
            tables = {name: row.table(rows) for name, (row, rows) in own.items()}
            state = {**self.engine.state(), "random": Piece.whole(torch.get_rng_state())}
            self.checkpoints.save(step, self.steps[-1].num_tokens, state, tables)

    def _resume(self, found: tuple[Path, Marker] | None) -> int:
        """Go on from a checkpoint, if there is one: its rows, then its tensors; its step, or 0."""
        if found is None:
            return 0
        folder, marker = found
        tables = load_tables(folder, list(self._tables()))
        self.steps = _rows(TrainStep, tables["steps"])
        self.ledger = _rows(BatchLedger, tables["ledger"])
        self.validation = _rows(Validation, tables["validation"])
        self.domains = _rows(DomainLoss, tables["domains"])
        self.guard.tensors = _rows(TensorHealth, tables["tensors"])
        self.observer.heartbeats = _rows(Heartbeat, tables["heartbeats"])
        self.guard.resumed(self.steps, _rows(SpikeEvent, tables["spikes"]))
        self.load(marker.step)
        return marker.step

    def load(self, step: int) -> None:
        """Put weights, optimizer and chance to their state after a step. Steps that were skipped made no update."""
        random, state = torch.get_rng_state(), self.engine.state()
        folder = self.checkpoints.folder / f"step-{step:06d}"
        load(folder, {**state, "random": Piece.whole(random)}, self.layout)
        skipped = sum(one <= step for one in self.guard.unlearned())
        self.engine.restore(state, self.schedule.updates_until(step) - skipped)
        torch.set_rng_state(random)

    def _saved(self) -> list[int]:
        """Steps of the complete checkpoints, as rank 0 sees them when the last save is done."""
        self.checkpoints.wait()
        steps = [marker.step for _, marker in self.checkpoints.complete()] if self.world.rank == 0 else []
        count = self.world.from_first(len(steps))
        return [self.world.from_first(steps[i] if steps else 0) for i in range(count)]

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


def _schedule(settings: Pretrain, num_steps: int) -> Schedule:
    schedule = Schedule(
        settings.schedule,
        settings.learning_rate,
        settings.warmup_steps,
        num_steps,
        settings.decay_fraction,
        settings.final_fraction,
        settings.batch_doublings,
    )
    _refuse("pretrain.", schedule.problems())
    return schedule


def _sizes(settings: Pretrain, data: Data) -> Sizes:
    names = ("width", "num_heads", "num_kv_heads", "hidden_width", "tie_embeddings", "qk_norm", "layers")
    given = {name: value for name in names if (value := getattr(settings, name)) is not None}
    vocab_size, context_tokens = data.tokenizer.vocab_size, data.opened.order.sequence_tokens
    if settings.preset:
        sizes = Sizes.of_preset(settings.preset, vocab_size, context_tokens, **given)
    else:
        sizes = Sizes.of_depth(settings.depth, vocab_size, context_tokens, **given)
    _refuse("pretrain: ", sizes.problems())
    return sizes


def _refuse(start: str, problems: list[str]) -> None:
    if problems:
        raise SettingsError("\n".join(f"{start}{p}" for p in problems))


def _parallelism(settings: Pretrain) -> Parallelism:
    return Parallelism(
        zero_stage=settings.zero_stage,
        tensor_parallel=settings.tensor_parallel,
        pipeline_parallel=settings.pipeline_parallel,
        stages_per_rank=settings.stages_per_rank,
        sequence_parallel=settings.sequence_parallel,
        compile=settings.compile,
        checkpoint_activations=settings.checkpoint_activations,
    )


def _engine(settings: Pretrain, sizes: Sizes, batch_sequences: int, layout: Layout) -> Engine:
    optimization = Optimization(
        batch_sequences=batch_sequences,
        micro_batch_sequences=halved(settings.micro_batch_sequences),
        weight_decay=settings.weight_decay,
        max_gradient_norm=settings.max_gradient_norm,
        precision=settings.precision,
        optimizer=settings.optimizer,
        batch_parts=2 ** len(settings.batch_doublings),
        engine=settings.engine,
        canonical_ranks=settings.canonical_ranks,
    )
    torch.manual_seed(settings.seed)
    return make_engine(Network(sizes, settings.z_loss), optimization, layout)


def _rows(row: type[RowType], table: pa.Table) -> list[RowType]:
    return [row.model_validate(fields) for fields in table.to_pylist()]
