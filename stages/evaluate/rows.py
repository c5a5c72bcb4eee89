"""lm-eval's results as rows: scores with standard errors, and every sample that they were computed from."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from schemas.evaluation import Sample, Score
from stages.evaluate.benchmarks import PREFIX
from stages.evaluate.tasks import MCQ, PERPLEXITY
from stages.evaluate.uncertainty import bits, perplexity, unigram_bits

Found = Mapping[str, Sequence[Mapping[str, Any]]]


class Metric(NamedTuple):
    """A number, and its standard error where there is one."""

    name: str
    value: float
    error: float | None
    higher_is_better: bool


def scores(model: str, results: Mapping[str, Any], found: Found, encode: Callable[[str], list[int]]) -> Iterator[Score]:
    """A row for each metric; beside them what knowing nothing scores: chance, and a unigram model of the same text.

    `results` has lm-eval's metrics by task, `found` its samples by task. The errors of accuracies are lm-eval's
    (standard deviation of the samples, with n - 1, over the square root of n), those of perplexities are ours.
    """
    for task, metrics in (
        (MCQ, _accuracies(results[MCQ], found[MCQ]) if MCQ in found else ()),
        (PERPLEXITY, _perplexities(found[PERPLEXITY], encode) if PERPLEXITY in found else ()),
    ):
        for metric in metrics:
            yield Score(
                model=model,
                task=task,
                metric=metric.name,
                value=metric.value,
                standard_error=metric.error,
                num_samples=len(found[task]),
                higher_is_better=metric.higher_is_better,
            )


def samples(model: str, found: Found) -> Iterator[Sample]:
    """Every item as the model saw it: `choices` are what was scored after `prompt`, `responses` log-likelihoods."""
    for task, sample in ((t, s) for t, of_task in found.items() if t != PERPLEXITY for s in of_task):
        doc = sample["doc"]
        yield Sample(
            model=model,
            task=task.removeprefix(PREFIX),
            sample_id=sample["doc_id"],
            prompt=doc["prompt"],
            target=doc["continuations"][doc["answer"]],
            choices=doc["continuations"],
            responses=[float(log_likelihood) for log_likelihood, _ in sample["filtered_resps"]],
            metrics=_metrics(doc, acc=sample["acc"], acc_norm=sample["acc_norm"]),
        )
    for sample in found.get(PERPLEXITY, ()):
        yield Sample(
            model=model,
            task=PERPLEXITY,
            sample_id=sample["doc_id"],
            prompt="",
            target=sample["target"],
            choices=[],
            responses=[float(sample["filtered_resps"][0])],
            metrics=_metrics(
                sample["doc"], num_words=sample["word_perplexity"][1], num_bytes=sample["byte_perplexity"][1]
            ),
        )


def _accuracies(results: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    for name in ("acc", "acc_norm"):
        error = results[f"{name}_stderr,none"]  # "N/A" for a single sample
        yield Metric(
            name,
            float(results[f"{name},none"]),
            None if isinstance(error, str) else float(error),
            higher_is_better=True,
        )
    chances = [1 / len(s["doc"]["continuations"]) for s in found]
    yield Metric("chance", sum(chances) / len(chances), None, higher_is_better=True)


def _perplexities(found: Sequence[Mapping[str, Any]], encode: Callable[[str], list[int]]) -> Iterator[Metric]:
    likelihoods = [float(s["filtered_resps"][0]) for s in found]
    words, num_bytes = ([float(s[m][1]) for s in found] for m in ("word_perplexity", "byte_perplexity"))
    yield Metric("word_perplexity", *perplexity(likelihoods, words), higher_is_better=False)
    yield Metric("byte_perplexity", *perplexity(likelihoods, num_bytes), higher_is_better=False)
    yield Metric("bits_per_byte", *bits(likelihoods, num_bytes), higher_is_better=False)
    tokens = (encode(s["target"]) for s in found)
    yield Metric("unigram_bits_per_byte", unigram_bits(tokens, sum(num_bytes)), None, higher_is_better=False)


def _metrics(doc: Mapping[str, Any], **values: float) -> str:
    ids = {name: doc[name] for name in ("row_id", "doc_id") if name in doc}
    return json.dumps({**ids, **values}, sort_keys=True)
