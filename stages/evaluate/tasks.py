"""The tasks as local files that lm-eval reads: a definition (`NAME.yaml`) and its items (`NAME.jsonl`) each.

`cd tasks && lm_eval run --include_path . --tasks corpus_mcq,held_out_perplexity --model hf --model_args pretrained=...`
runs the same items with lm-eval's own command.

A question is scored as a cloze: the prompt is the text before the blank, and each choice goes on with the rest of the
sentence, so that the model compares whole sentences as it has read them. No chat template is applied, so that a base
model and a tuned one answer the same prompts. What follows the blank is cut, the same for all choices, where it would
take more than half of the model's context.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from schemas.evaluation import BLANK, Question

MCQ, PERPLEXITY, ANSWERS = "corpus_mcq", "held_out_perplexity", "answers"

CHOICE: dict[str, Any] = {
    "output_type": "multiple_choice",
    "doc_to_text": "prompt",
    "doc_to_choice": "continuations",
    "doc_to_target": "answer",
    "target_delimiter": "",
    "metric_list": [{"metric": m, "aggregation": "mean", "higher_is_better": True} for m in ("acc", "acc_norm")],
}
ROLLING: dict[str, Any] = {
    "output_type": "loglikelihood_rolling",
    "doc_to_text": "",
    "doc_to_target": "text",
    "metric_list": [
        {"metric": m, "aggregation": "weighted_perplexity", "higher_is_better": False}
        for m in ("word_perplexity", "byte_perplexity")
    ]
    + [{"metric": "bits_per_byte", "aggregation": "bits_per_byte", "higher_is_better": False}],
}
# lm-eval's own sum of perplexities ends a run where a text without spaces is one long word; `rows` makes ours of the samples.
SAFE = {"weighted_perplexity": "bits_per_byte"}


def write_task(folder: Path, name: str, items: Iterable[dict[str, Any]], cache: Path) -> dict[str, Any]:
    """Write a task's two files; the definition to give to lm-eval, with absolute paths and `datasets` kept in `cache`.

    The file on disk names its items by a relative path, so the folder can be moved.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^\w.-]", "_", name)
    if stem != name.replace(":", "_", 1):  # more than the prefix was changed, and another name may become the same
        stem = f"{stem}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    lines = [json.dumps(item, ensure_ascii=False) for item in items]
    (folder / f"{stem}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    common = {"task": name, "dataset_path": "json", "test_split": "test", "num_fewshot": 0}
    how = ROLLING if name == PERPLEXITY else CHOICE
    definition = {**common, **how, "metadata": {"version": 1}}

    def with_files(file: str, **more: str) -> dict[str, Any]:
        return {**definition, "dataset_kwargs": {"data_files": {"test": file}, **more}}

    # JSON is YAML
    (folder / f"{stem}.yaml").write_text(json.dumps(with_files(f"{stem}.jsonl"), indent=1), encoding="utf-8")
    given = with_files(str((folder / f"{stem}.jsonl").resolve()), cache_dir=str(cache.resolve()))
    return given | {
        "metric_list": [{**m, "aggregation": SAFE.get(m["aggregation"], m["aggregation"])} for m in how["metric_list"]]
    }


def question_item(question: Question, num_tokens: Callable[[str], int], context_tokens: int) -> dict[str, Any]:
    """A question as lm-eval reads it: `prompt`, `continuations` (one a choice) and the index `answer`."""
    prompt, suffix = split_at_blank(question.question)
    glue = prompt[len(prompt.rstrip()) :]  # a token begins with its space, so the space goes with the choice
    choices = fit([glue + c for c in question.choices], suffix, num_tokens, context_tokens // 2)
    ids = {"row_id": question.row_id, "doc_id": question.doc_id}
    return {"prompt": prompt.rstrip(), "continuations": choices, "answer": question.answer, **ids}


def split_at_blank(question: str) -> tuple[str, str]:
    """What stands before and after the blank; a question without one is put as such."""
    if question.count(BLANK) == 1:
        before, after = question.split(BLANK)
        return before, after
    return f"Question: {question}\nAnswer: ", ""


def fit(choices: Sequence[str], suffix: str, num_tokens: Callable[[str], int], max_tokens: int) -> list[str]:
    """Each choice with as much of `suffix` as leaves all of them within `max_tokens`; longer choices are cut too."""
    while suffix and max(num_tokens(c + suffix) for c in choices) > max_tokens:
        suffix = suffix[: len(suffix) * 3 // 4]
    return [_cut(choice + suffix, num_tokens, max_tokens) for choice in choices]


def _cut(text: str, num_tokens: Callable[[str], int], max_tokens: int) -> str:
    while len(text) > 1 and num_tokens(text) > max_tokens:
        text = text[: len(text) * 3 // 4]
    return text
