"""Run lm-eval (Gao et al., 2021, version 0.4.13) on local tasks, and keep its scores and every sample as rows.

It is called through `lm_eval.evaluator.evaluate` with a model object and a `TaskManager` that knows our tasks only.
`simple_evaluate` is the same call after it has read 13,000 task files and described the machine (it runs `pip list`);
we want neither. No response cache is used: lm-eval's does not tell models apart.
"""

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.evaluation import Question
from schemas.table import ContractError
from stages.evaluate import Evaluate
from stages.evaluate.benchmarks import benchmark_scores, benchmark_tasks
from stages.evaluate.rows import samples, scores
from stages.evaluate.tasks import MCQ, PERPLEXITY, question_item, write_task
from stages.model.folder import only_model
from stages.tables import Outputs, Reader

# Read when these packages are imported: no look at a hub.
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
OFFLINE |= {"HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
# Threads that spin while they wait take each other's core when others are at work: 158 s against 33 s, measured with
# 2 threads on 2 cores under a load of 8.
THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}


def evaluate(stage: Evaluate, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
    """Score the model; `ContractError` if there is neither a question nor a held-out document."""
    os.environ.update(OFFLINE | THREADS)
    model, folder = only_model(inputs["model"])
    questions: list[Question] = list(inputs["questions"].rows())[: stage.limit or None]
    documents = held_out(inputs["documents"], inputs["tokenized"])[: stage.limit or None]
    asked = any(item.choices for item in inputs["items"].rows())
    if not questions and not documents and not asked:
        problem = "no questions, no validation documents and no benchmark with choices: there is nothing to score"
        raise ContractError("evaluate", [f"{problem}; give it more documents, or register.paths"])
    lm = load(stage, folder, outputs)

    def num_tokens(text: str) -> int:
        return len(lm.tok_encode(text, add_special_tokens=False))

    items = {MCQ: [question_item(q, num_tokens, lm.max_length) for q in questions], PERPLEXITY: documents}
    items |= benchmark_tasks(inputs["items"].rows(), inputs["overlaps"].rows(), stage.limit, num_tokens, lm.max_length)
    cache = outputs.folder / "cache"
    try:
        shutil.rmtree(cache, ignore_errors=True)  # of an earlier run that was killed
        results = run_tasks(lm, items, outputs.folder / "tasks", cache)
    finally:
        shutil.rmtree(cache, ignore_errors=True)
    outputs["scores"].write(scores(model.name, results["results"], results["samples"], lm.tok_encode))
    outputs["scores"].write(benchmark_scores(model.name, results["samples"]))
    outputs["samples"].write(samples(model.name, results["samples"]))
    if stage.num_answers:
        from stages.evaluate.generation import answers

        outputs["samples"].write(
            answers(lm.model, lm.tokenizer, questions[: stage.num_answers], stage.max_answer_tokens, model.name)
        )


def held_out(documents: Reader, tokenized: Reader) -> list[dict[str, str]]:
    """The validation documents (`doc_id`, `text`), in the order of the table."""
    keys = tokenized.table(["doc_id", "split"]).to_pylist()
    wanted = {k["doc_id"] for k in keys if k["split"] == "validation"}
    rows = (row for batch in documents.batches(["doc_id", "text"]) for row in batch.to_pylist())
    return [row for row in rows if row["doc_id"] in wanted]


def load(stage: Evaluate, folder: Path, outputs: Outputs) -> Any:
    """The model as lm-eval's `HFLM`, on this machine's accelerator if it has one, with progress in our form."""
    from lm_eval.models.huggingface import HFLM
    from transformers.utils import logging as transformers_logging

    from stages.model.distributed import choose_device

    transformers_logging.disable_progress_bar()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns of each prompt that it cuts

    class Quiet(HFLM):  # type: ignore[misc]
        """Counts sequences instead of drawing a bar for each batch of windows."""

        def _model_call(self, inps: Any, *args: Any, **kwargs: Any) -> Any:
            outputs.progress.advance(len(inps))
            return super()._model_call(inps, *args, **kwargs)

        def loglikelihood(self, requests: Any, disable_tqdm: bool = True) -> Any:  # noqa: ARG002, FBT001, FBT002
            return super().loglikelihood(requests, disable_tqdm=True)

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = True) -> Any:  # noqa: ARG002, FBT001, FBT002
            return super().loglikelihood_rolling(requests, disable_tqdm=True)

        def _loglikelihood_tokens(self, requests: Any, disable_tqdm: bool = True, override_bs: Any = None) -> Any:  # noqa: ARG002, FBT001, FBT002
            return super()._loglikelihood_tokens(requests, disable_tqdm=True, override_bs=override_bs)

    lm = Quiet(
        pretrained=str(folder),
        device=str(choose_device(0)),
        dtype=stage.dtype,
        softmax_dtype="float32",
        batch_size=stage.batch_size,
        trust_remote_code=False,
        local_files_only=True,
    )
    if lm.prefix_token_id is None:
        raise ContractError(str(folder), ["the tokenizer has neither a bos nor an eos token to begin a text with"])
    outputs.progress.start("sequences")
    return lm


def run_tasks(lm: Any, items: Mapping[str, list[dict[str, Any]]], folder: Path, cache: Path) -> dict[str, Any]:
    """lm-eval's results for all tasks; one without items is left out."""
    from datasets.utils.logging import disable_progress_bar
    from lm_eval.evaluator import evaluate as lm_evaluate
    from lm_eval.tasks import TaskManager

    disable_progress_bar()
    definitions = [write_task(folder, name, of_task, cache) for name, of_task in items.items() if of_task]
    tasks = TaskManager(include_defaults=False).load(definitions)
    results: dict[str, Any] = lm_evaluate(lm, tasks, log_samples=True)
    return results
