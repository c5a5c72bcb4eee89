"""One phase of post-training, finished or not: what a killed run leaves behind is used by the next.

A finished phase is a folder that got its name by rename, with the model and a record of the steps. Inside a phase the
trainer writes a checkpoint an epoch; one counts only with its `steps.json`, which is written after all else.
"""

import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState

from schemas.manifest import write_atomic
from schemas.training import Phase, TrainStep, Validation
from stages.progress import Progress

STEPS, RECORD, MODEL = "steps.json", "record.json", "model"


class Record(BaseModel):
    """What a finished phase measured."""

    steps: list[TrainStep]
    validation: list[Validation]


class StepRows(TrainerCallback):
    """A `TrainStep` row for every optimizer step, and with each checkpoint the rows until then."""

    def __init__(self, phase: Phase, progress: Progress, rows: list[TrainStep]) -> None:
        self.phase, self.progress, self.rows = phase, progress, rows
        self.tokens_before = rows[-1].num_tokens if rows else 0  # the trainer counts from 0 when it resumes
        self.clock = 0.0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:  # noqa: ARG002
        """Start the progress and the clock."""
        self.progress.start(f"{self.phase} steps", state.max_steps, state.global_step)
        self.clock = time.monotonic()

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:  # noqa: ARG002
        """Add a row; `FloatingPointError` if training has gone astray."""
        logs: dict[str, float] = kwargs["logs"]
        if "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise FloatingPointError(f"{self.phase} step {state.global_step}: loss {logs['loss']}; try a lower rate")
        now, num_tokens = time.monotonic(), self.tokens_before + int(logs["num_tokens"])
        seconds, self.clock = now - self.clock, now
        done = self.rows[-1].num_tokens if self.rows else 0
        self.rows.append(
            TrainStep(
                phase=self.phase,
                step=state.global_step,
                num_tokens=num_tokens,
                loss=logs["loss"],
                gradient_norm=logs.get("grad_norm"),
                learning_rate=logs["learning_rate"],
                tokens_per_second=(num_tokens - done) / max(seconds, 1e-9),
            )
        )
        self.progress.reach(state.global_step, loss=logs["loss"])

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:  # noqa: ARG002
        """Mark the checkpoint as whole."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        write_atomic(folder / STEPS, json.dumps([row.model_dump() for row in self.rows]))


def last_checkpoint(folder: Path) -> tuple[Path | None, list[TrainStep]]:
    """The newest whole checkpoint and its rows; half-written ones are removed."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda f: int(f.name.rpartition("-")[2]))
    for half in (f for f in found if not (f / STEPS).is_file()):
        shutil.rmtree(half)
    whole = [f for f in found if f.is_dir()]
    if not whole:
        return None, []
    return whole[-1], [TrainStep.model_validate(row) for row in json.loads((whole[-1] / STEPS).read_text())]


def train(trainer: Any, phase: Phase, progress: Progress) -> list[TrainStep]:
    """Train to the end, from the last whole checkpoint if there is one; the rows of all steps."""
    checkpoint, rows = last_checkpoint(Path(trainer.args.output_dir))
    callback = StepRows(phase, progress, rows)
    trainer.remove_callback(PrinterCallback)  # progress goes through `Progress`
    trainer.add_callback(callback)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return callback.rows


def finished(folder: Path, work: Callable[[Path, Path], Record]) -> tuple[Path, Record]:
    """The model folder and record of a phase: those that are there, or `work`'s.

    `work` is given a folder to leave the model in and one for its checkpoints, which survives a kill.
    """
    if not folder.is_dir():
        temporary, checkpoints = folder.with_suffix(".tmp"), folder.with_suffix(".work")
        shutil.rmtree(temporary, ignore_errors=True)
        record = work(temporary / MODEL, checkpoints)
        write_atomic(temporary / RECORD, record.model_dump_json())
        temporary.replace(folder)
        shutil.rmtree(checkpoints)
    return folder / MODEL, Record.model_validate_json((folder / RECORD).read_text())
