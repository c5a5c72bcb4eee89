"""SFT, then DPO, by TRL's trainers.

SFT: cross-entropy on the assistant's tokens. DPO (arXiv 2305.18290): -log sigmoid(beta * (log-ratio of the chosen
answer - log-ratio of the rejected one)), the log-ratios against the model that SFT made. fp32 on a CPU, bf16 autocast
over fp32 weights elsewhere. Given up: packing (rows are short), LoRA, more than one device.
"""

import hashlib
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

# Read when the libraries below are imported. Waiting threads sleep: spinning, as OpenMP does by default, made a step of
# the demo 20 to 50 times slower (0.09 s -> 1.9 to 4.6 s) on 2 cores that other processes used too.
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
os.environ.update(ENVIRONMENT)

import torch  # noqa: E402
import transformers  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402
from trl.trainer.dpo_config import DPOConfig  # noqa: E402
from trl.trainer.dpo_trainer import DPOTrainer  # noqa: E402
from trl.trainer.sft_config import SFTConfig  # noqa: E402
from trl.trainer.sft_trainer import SFTTrainer  # noqa: E402

from schemas.training import Model, Phase, Validation  # noqa: E402
from stages.base import num_cores  # noqa: E402
from stages.model.folder import model_row, only_model  # noqa: E402
from stages.posttrain import Posttrain  # noqa: E402
from stages.posttrain.chat import chat_tokenizer, generation_config  # noqa: E402
from stages.posttrain.held_out import IGNORED, Pairs, loss_per_token, pair_log_probs, preference_values  # noqa: E402
from stages.posttrain.phase import Record, finished, train  # noqa: E402
from stages.posttrain.rows import Examples, conversation_examples, preference_examples  # noqa: E402
from stages.progress import Progress  # noqa: E402
from stages.tables import Outputs, Reader  # noqa: E402

WARMUP_FRACTION = 0.1
HELD_OUT_LOSS = "held-out loss"


@dataclass(frozen=True)
class Course:
    """What both phases are given."""

    settings: Posttrain
    tokenizer: Any
    base: Path
    progress: Progress


def posttrain(settings: Posttrain, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
    """Tune the one model of `inputs["model"]` on the rows that fit; a phase without rows is skipped."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(num_cores())
    with warnings.catch_warnings():  # TRL 1.16 still says `gradient_checkpointing` to transformers 5.23
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
        _tune(settings, inputs, outputs)


def _tune(settings: Posttrain, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
    row, base = only_model(inputs["model"])
    tokenizer = chat_tokenizer(base)
    limit = min(settings.max_tokens, row.context_tokens)
    conversations = conversation_examples(inputs["conversations"].rows(), tokenizer, limit)
    preferences = preference_examples(inputs["preferences"].rows(), tokenizer, limit)
    folder = _resumable(outputs.folder / "phases", [settings, row, conversations, preferences])
    course = Course(settings, tokenizer, base, outputs.progress)
    current, last = base, row.phase
    plan: list[tuple[Phase, Examples, Callable[..., Record]]] = [
        ("sft", conversations, sft),
        ("dpo", preferences, dpo),
    ]
    for phase, examples, work in plan:
        if not examples.train:
            print(f"{phase} skipped: there is no row to train on", file=sys.stderr)
            continue
        current, record = finished(folder / phase, partial(work, course, current, examples))
        last = phase
        outputs["steps"].write(record.steps)
        outputs["validation"].write(record.validation)
    model = _final(outputs.folder / "huggingface", row, (base, current), tokenizer)
    outputs["model"].write(model_row(outputs, model, f"{row.name}-chat", last, row.num_parameters))
    shutil.rmtree(folder.parent)


def sft(course: Course, start: Path, examples: Examples, model_folder: Path, checkpoints: Path) -> Record:
    """Fine-tune the model in `start` on the assistant's tokens of the conversations."""
    settings = course.settings
    trainer: Any = SFTTrainer(
        model=_load(start),
        args=SFTConfig(
            **_arguments(settings, checkpoints),
            num_train_epochs=settings.sft_epochs,
            learning_rate=settings.sft_learning_rate,
            assistant_only_loss=True,
        ),
        train_dataset=Dataset.from_list(examples.train),
        eval_dataset=Dataset.from_list(examples.validation) if examples.validation else None,
        processing_class=course.tokenizer,
    )
    held_out = [(r["input_ids"], r["labels"]) for r in trainer.eval_dataset or []]

    def measure(step: int) -> list[Validation]:
        if not held_out:
            return []
        return _rows("sft", step, {HELD_OUT_LOSS: loss_per_token(trainer.model, held_out, settings.batch_size)})

    return _run(course, "sft", trainer, measure, model_folder)


def dpo(course: Course, start: Path, examples: Examples, model_folder: Path, checkpoints: Path) -> Record:
    """Move the model in `start` towards the chosen answers, with itself as the reference."""
    settings = course.settings
    trainer: Any = DPOTrainer(
        model=_load(start),
        ref_model=_load(start),
        args=DPOConfig(
            **_arguments(settings, checkpoints),
            num_train_epochs=settings.dpo_epochs,
            learning_rate=settings.dpo_learning_rate,
            beta=settings.beta,
        ),
        train_dataset=Dataset.from_list(examples.train),
        eval_dataset=Dataset.from_list(examples.validation) if examples.validation else None,
        processing_class=course.tokenizer,
    )
    held_out = pairs(trainer.eval_dataset or [])
    reference = pair_log_probs(trainer.ref_model, held_out, settings.batch_size)

    def measure(step: int) -> list[Validation]:
        if not held_out.chosen:
            return []
        policy = pair_log_probs(trainer.model, held_out, settings.batch_size)
        return _rows("dpo", step, preference_values(policy, reference, settings.beta))

    return _run(course, "dpo", trainer, measure, model_folder)


def pairs(rows: Any) -> Pairs:
    """The pairs of a data set that `DPOTrainer` has tokenized."""
    chosen, rejected = (
        [(r["prompt_ids"] + r[answer], [IGNORED] * len(r["prompt_ids"]) + r[answer]) for r in rows]
        for answer in ("chosen_ids", "rejected_ids")
    )
    return Pairs(chosen, rejected)


def _run(
    course: Course, phase: Phase, trainer: Any, measure: Callable[[int], list[Validation]], model_folder: Path
) -> Record:
    before = measure(0)
    steps = train(trainer, phase, course.progress)
    after = measure(trainer.state.global_step)
    trainer.model.generation_config = generation_config(course.base, course.tokenizer)
    trainer.model.config.use_cache = True
    trainer.model.save_pretrained(model_folder)
    course.tokenizer.save_pretrained(model_folder)
    return Record(steps=steps, validation=before + after)


def _arguments(settings: Posttrain, checkpoints: Path) -> dict[str, Any]:
    accelerated = torch.accelerator.is_available()
    return {
        "output_dir": str(checkpoints),
        "per_device_train_batch_size": settings.batch_size,
        "seed": settings.seed,
        "lr_scheduler_type": "cosine",
        "warmup_steps": WARMUP_FRACTION,
        "weight_decay": 0.0,
        "max_length": None,  # rows that are too long have been left out
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # or a loss that is not a number would be logged as one
        "save_strategy": "epoch",
        "save_total_limit": 2,  # the newest may be half-written when the process is killed
        "eval_strategy": "no",
        "use_cpu": not accelerated,
        "bf16": accelerated,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": accelerated,
        "report_to": "none",
        "disable_tqdm": True,
    }


def _load(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )


def _rows(phase: Phase, step: int, values: Mapping[str, float]) -> list[Validation]:
    return [Validation(phase=phase, step=step, name=n, value=v, bits_per_byte=None) for n, v in values.items()]


def _resumable(root: Path, made_of: list[Any]) -> Path:
    """A folder for what survives a kill, named by all that the result depends on; another's is removed."""
    folder = root / hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]
    for other in root.glob("*"):
        if other != folder:
            shutil.rmtree(other)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _final(target: Path, row: Model, folders: tuple[Path, Path], tokenizer: Any) -> Path:
    """The tuned model under its final name; a model that nothing has tuned gets the chat template and no more."""
    base, tuned = folders
    temporary = target.with_suffix(".tmp")
    for old in (temporary, target):
        shutil.rmtree(old, ignore_errors=True)
    if tuned != base:
        shutil.copytree(tuned, temporary)
    else:
        temporary.mkdir()
        for blob in row.files:
            shutil.copy(base / Path(blob.path).name, temporary)
        generation_config(base, tokenizer).save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    temporary.replace(target)
    return target
