"""Queries on evaluation against plain Python over the same rows."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from schemas.evaluation import Sample, Score
from stages.base import Stage
from tests.workflows.report.fake_run import FakeRun, Node, evaluated
from workflows.report import evaluation
from workflows.report.tables import Tables

Open = Callable[[Sequence[Node]], Tables]


class Exam(Stage):
    """Writes scores and samples."""

    name = "exam"
    outputs = {"scores": Score, "samples": Sample}


def exam(tmp_path: Path, *results: dict[str, list[Any]]) -> list[Node]:
    """A node for each of some results: `first`, `second`, ..."""
    run = FakeRun(tmp_path)
    for name, rows in zip(("first", "second", "third"), results, strict=False):
        run.finish(run.node(Exam(), name), 1.0, **rows)
    return run.nodes


def names(nodes: Sequence[Node]) -> list[str]:
    """Names of nodes."""
    return [n.name for n in nodes]


def score(model: str, metric: str, value: float, error: float | None, *, higher: bool = True) -> Score:
    """A score on one task."""
    rest = {"task": "t", "num_samples": 100, "higher_is_better": higher}
    return Score(model=model, metric=metric, value=value, standard_error=error, **rest)


def test_scores_stand_side_by_side(done_run: FakeRun, tables: Tables) -> None:
    """A task's metric is one row with the values of both models, in recipe order, as they were written."""
    who = evaluation.contestants(tables, names(done_run.nodes))
    assert list(who.values()) == ["borealis-base", "borealis-chat"]
    found = {(r["task"], r["metric"]): r for r in evaluation.scores(tables)}
    for contestant, (model, skill) in zip(who, (("borealis-base", 0.29), ("borealis-chat", 0.41)), strict=True):
        for s in evaluated(model, skill)["scores"]:
            if s.metric not in {"chance", "unigram_bits_per_byte"}:
                assert found[s.task, s.metric]["values"][contestant] == (s.value, s.standard_error)


def test_what_knowing_nothing_scores_is_a_baseline(tables: Tables) -> None:
    """Chance and the unigram model are no rows of their own; they stand beside the metric that they belong to."""
    found = {(r["task"], r["metric"]): r["baseline"] for r in evaluation.scores(tables)}
    assert found == {
        ("corpus_mcq", "acc"): ("chance", 0.25),
        ("corpus_mcq", "acc_norm"): ("chance", 0.25),
        ("held_out_perplexity", "bits_per_byte"): ("unigram", 2.68),
        ("held_out_perplexity", "word_perplexity"): None,
    }


def test_chance_from_the_choices_where_no_score_says_it(tmp_path: Path, tables_of: Open) -> None:
    """Without a row for chance it is the mean of one over the number of choices."""
    rows = evaluated("m", 0.5)
    two = [s.model_copy(update={"choices": s.choices[:2], "responses": s.responses[:2]}) for s in rows["samples"][:40]]
    rows = {"scores": [s for s in rows["scores"] if s.metric == "acc"], "samples": [*two, *rows["samples"][40:]]}
    found = evaluation.scores(tables_of(exam(tmp_path, rows)))
    assert found[0]["baseline"] == ("chance", pytest.approx((40 * 0.5 + 40 * 0.25) / 80))


def test_models_of_one_name_are_told_apart(tmp_path: Path, tables_of: Open) -> None:
    """Two nodes that evaluate models of the same name are two contestants, called by their nodes as well."""
    nodes = exam(tmp_path, evaluated("m", 0.2), evaluated("m", 0.6))
    tables = tables_of(nodes)
    assert evaluation.contestants(tables, names(nodes)) == {(0, "m"): "m (first)", (1, "m"): "m (second)"}
    assert all(len(r["values"]) == 2 for r in evaluation.scores(tables))


@pytest.mark.parametrize(
    ("first", "second", "higher", "winner"),
    [
        ((0.50, 0.03), (0.60, 0.03), True, 1),  # 0.10 > 1.96 * 0.0424
        ((0.50, 0.03), (0.58, 0.03), True, None),  # 0.08 < 0.083
        ((0.60, 0.03), (0.50, 0.03), True, 0),
        ((0.50, 0.03), (0.60, 0.03), False, 0),
        ((0.50, None), (0.90, 0.03), True, None),
    ],
)
def test_best_only_beyond_the_error(
    first: tuple[float, float | None], second: tuple[float, float | None], higher: bool, winner: int | None
) -> None:  # fmt: skip
    """One contestant is marked only if it is ahead by more than 1.96 standard errors of the difference."""
    row = {"values": {(0, "a"): first, (1, "b"): second}, "higher_is_better": higher}
    expected = None if winner is None else [(0, "a"), (1, "b")][winner]
    assert evaluation.best(row) == expected


def test_best_of_one_is_nobody() -> None:
    """A single contestant is not ahead of anybody."""
    assert evaluation.best({"values": {(0, "a"): (1.0, 0.1)}, "higher_is_better": True}) is None


def test_questions_are_split_by_the_last_contestant(done_run: FakeRun, tables: Tables) -> None:
    """Right and wrong are what the last model's own metric says, and every model's choice is its most likely one."""
    who = list(evaluation.contestants(tables, names(done_run.nodes)))
    found = evaluation.items(tables, who)
    samples = {"borealis-base": evaluated("borealis-base", 0.29), "borealis-chat": evaluated("borealis-chat", 0.41)}
    by_prompt = {(m, s.prompt): s for m, rows in samples.items() for s in rows["samples"] if len(s.choices) > 1}
    for kind, good in (("right", True), ("wrong", False)):
        assert len(found[kind]) == evaluation.MAX_ITEMS
        for question in found[kind]:
            assert list(question["answers"]) == who
            assert question["answers"][who[-1]][1] is good
            for (_, model), (chosen, hit) in question["answers"].items():
                sample = by_prompt[model, question["prompt"]]
                assert chosen == max(range(len(sample.responses)), key=sample.responses.__getitem__)
                assert hit == (json.loads(sample.metrics)["acc"] == 1.0)
                assert question["choices"][question["truth"]] == sample.target


@pytest.mark.parametrize(("target", "truth"), [("b", 1), ("2", 2), ("9", None), ("elsewhere", None)])
def test_truth_by_text_or_index(tmp_path: Path, tables_of: Open, target: str, truth: int | None) -> None:
    """The true choice of a wrong answer is found by its text, else by its index, else not at all."""
    sample = Sample(
        model="m", task="t", sample_id=0, prompt="?", target=target, choices=["a", "b", "c"], responses=[0.0, -1.0, -2.0],
        metrics='{"acc": 0.0}',
    )  # fmt: skip
    found = evaluation.items(tables_of(exam(tmp_path, {"samples": [sample]})), [(0, "m")])
    assert [q["truth"] for q in found["wrong"]] == [truth]


def test_metrics_that_are_no_json(tmp_path: Path, tables_of: Open) -> None:
    """Samples whose metrics cannot be read are neither right nor wrong."""
    rest = {"task": "t", "prompt": "?", "target": "a", "choices": ["a", "b"], "responses": [0.0, -1.0]}
    samples = [
        Sample(model="m", sample_id=i, metrics=m, **rest) for i, m in enumerate(("{", "[]", '{"acc": "x"}', "{}"))
    ]
    assert evaluation.items(tables_of(exam(tmp_path, {"samples": samples})), [(0, "m")]) == {"right": [], "wrong": []}


def test_free_answers_side_by_side(tables: Tables) -> None:
    """Each prompt has its reference and what every model wrote, and no multiple-choice question is among them."""
    found = evaluation.answers(tables)
    assert [a["prompt"] for a in found] == [f"What is the density of sample {i}?" for i in range(4)]
    assert [a["target"] for a in found][1] == "0.14 g/cm³"
    for a in found:
        assert [model for _, model in a["answers"]] == ["borealis-base", "borealis-chat"]
        assert all("density of sample" in text for text in a["answers"].values())


def test_long_prompts_are_cut(tmp_path: Path, tables_of: Open) -> None:
    """A prompt or an answer of a megabyte does not make the page large."""
    long = "x" * 1_000_000
    sample = Sample(
        model="m", task="answers", sample_id=0, prompt=long, target=long, choices=[long], responses=[], metrics="{}"
    )
    found = evaluation.answers(tables_of(exam(tmp_path, {"samples": [sample]})))
    assert len(found[0]["prompt"]) == len(found[0]["answers"][0, "m"]) == evaluation.MAX_CHARS


def test_endpoint(tables: Tables, done_run: FakeRun) -> None:
    """The server's address, model, prompt and answer are as recorded."""
    (found,) = evaluation.endpoints(tables)
    assert done_run.nodes[found["node"]].name == "deploy"
    assert found["url"] == "http://127.0.0.1:40123/v1"
    assert found["answer"].startswith("The density")
