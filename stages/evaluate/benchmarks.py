"""Benchmarks of others: their multiple-choice items as lm-eval tasks, scored on all, on clean and on dirty items.

An item is dirty if `decontaminate` found it in the corpus before it was cleaned. What the corpus had of it is gone then, and
its score says whether enough went: a model that is better on dirty items than on clean ones has seen them elsewhere.
Items without choices are not scored here.
"""

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from schemas.evaluation import BenchmarkItem, ItemOverlap, Score
from stages.evaluate.tasks import fit

PREFIX = "benchmark:"  # of the tasks' names, before the benchmark's
Sampled = Mapping[str, Any]


def benchmark_tasks(
    items: Iterable[BenchmarkItem],
    overlaps: Iterable[ItemOverlap],
    limit: int,
    num_tokens: Callable[[str], int],
    context_tokens: int,
) -> dict[str, list[dict[str, Any]]]:
    """The items of each task; `limit` is the most of a benchmark, 0 for all."""
    dirty = {(o.benchmark, o.item_id) for o in overlaps}
    tasks: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        task = tasks.setdefault(PREFIX + item.benchmark, [])
        if item.choices and not (limit and len(task) >= limit):
            fields = _item(item, num_tokens, context_tokens)
            task.append({**fields, "dirty": (item.benchmark, item.item_id) in dirty})
    return {name: task for name, task in tasks.items() if task}


def _item(item: BenchmarkItem, num_tokens: Callable[[str], int], context_tokens: int) -> dict[str, Any]:
    context = f"{item.context}\n" if item.context else ""
    return {
        "prompt": f"{context}Question: {item.question}\nAnswer:",
        "continuations": fit([f" {c}" for c in item.choices], "", num_tokens, context_tokens // 2),
        "answer": item.choices.index(item.answer),
        "row_id": item.item_id,
    }


def benchmark_scores(model: str, found: Mapping[str, Sequence[Sampled]]) -> Iterator[Score]:
    """Accuracies of each benchmark: on all its items, and where there are dirty ones on clean and dirty items apart."""
    for task, samples in found.items():
        if not task.startswith(PREFIX):
            continue
        name = task.removeprefix(PREFIX)
        yield from _accuracies(model, name, samples)
        if any(s["doc"]["dirty"] for s in samples):
            yield from _accuracies(model, f"{name} (clean)", [s for s in samples if not s["doc"]["dirty"]])
            yield from _accuracies(model, f"{name} (dirty)", [s for s in samples if s["doc"]["dirty"]])


def _accuracies(model: str, task: str, samples: Sequence[Sampled]) -> Iterator[Score]:
    """Mean and its standard error (standard deviation with n - 1, over the square root of n), and chance."""
    if not samples:
        return
    chances = [1 / len(s["doc"]["continuations"]) for s in samples]
    for metric, values in (*((m, [float(s[m]) for s in samples]) for m in ("acc", "acc_norm")), ("chance", chances)):
        error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 and metric != "chance" else None
        yield Score(
            model=model,
            task=task,
            metric=metric,
            value=statistics.fmean(values),
            standard_error=error,
            num_samples=len(values),
            higher_is_better=True,
        )
