"""Benchmarks of others, scored on all, clean and dirty items."""

import math
from pathlib import Path
from statistics import fmean, stdev

import pytest

from stages.evaluate.benchmarks import benchmark_scores
from tests.stages.evaluate.conftest import BENCHMARK, DIRTY, TEXTS, Tables, questions, run_stage, write_inputs


@pytest.fixture(scope="module")
def tables(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """One run with a benchmark, of which two items were found in the corpus."""
    folder = tmp_path_factory.mktemp("benchmarks")
    inputs = write_inputs(folder / "in", model_folder, questions(2), TEXTS[:2], BENCHMARK)
    return run_stage(inputs, folder / "out", num_answers=0)


def test_every_choice_item_is_a_sample(tables: Tables) -> None:
    """Items with choices are scored once each with their context before them; those without are left out."""
    samples = [s for s in tables["samples"] if s["task"] == "toy/stars"]
    items = BENCHMARK[:-1]
    assert [s["target"] for s in samples] == [f" {i.answer}" for i in items]
    expected = [f"{i.context}\n" * bool(i.context) + f"Question: {i.question}\nAnswer:" for i in items]
    assert [s["prompt"] for s in samples] == expected
    assert not [s for s in tables["samples"] if s["task"] == "toy/free"]


def test_all_clean_and_dirty(tables: Tables) -> None:
    """Each accuracy is the mean over its own items with the textbook error, and dirty and clean make up all."""
    samples = [s for s in tables["samples"] if s["task"] == "toy/stars"]
    right = [float(s["choices"][s["responses"].index(max(s["responses"]))] == s["target"]) for s in samples]
    dirty = [str(i) in DIRTY for i in range(len(samples))]
    groups = {
        "toy/stars": right,
        "toy/stars (clean)": [r for r, d in zip(right, dirty, strict=True) if not d],
        "toy/stars (dirty)": [r for r, d in zip(right, dirty, strict=True) if d],
    }
    for task, values in groups.items():
        (score,) = [s for s in tables["scores"] if s["task"] == task and s["metric"] == "acc"]
        assert score["value"] == pytest.approx(fmean(values))
        assert score["standard_error"] == pytest.approx(stdev(values) / math.sqrt(len(values)))
        assert score["num_samples"] == len(values)
        (chance,) = [s for s in tables["scores"] if s["task"] == task and s["metric"] == "chance"]
        assert chance["value"] == pytest.approx(1 / 3)


def test_one_item_has_no_error_and_clean_benchmarks_one_score() -> None:
    """A single item has no standard error; a benchmark without dirty items has no second line; other tasks have none."""
    sample = {"doc": {"continuations": ["a", "b"], "dirty": False}, "acc": 1.0, "acc_norm": 0.0}
    scores = list(benchmark_scores("m", {"benchmark:x": [sample], "corpus_mcq": [sample]}))
    assert [(s.task, s.metric, s.value, s.standard_error) for s in scores] == [
        ("x", "acc", 1.0, None),
        ("x", "acc_norm", 0.0, None),
        ("x", "chance", 0.5, None),
    ]


def test_a_limit_counts_items_of_each_benchmark(model_folder: Path, tmp_path: Path) -> None:
    """With a limit of two, two items of the benchmark are scored."""
    inputs = write_inputs(tmp_path / "in", model_folder, questions(2), TEXTS[:2], BENCHMARK)
    tables = run_stage(inputs, tmp_path / "out", limit=2, num_answers=0)
    assert len([s for s in tables["samples"] if s["task"] == "toy/stars"]) == 2


def test_a_benchmark_alone_is_enough(model_folder: Path, tmp_path: Path) -> None:
    """Without questions and held-out text, a benchmark alone is scored."""
    tables = run_stage(write_inputs(tmp_path / "in", model_folder, [], [], BENCHMARK), tmp_path / "out")
    assert {s["task"] for s in tables["samples"]} == {"toy/stars"}
