"""Tasks as local files."""

import json
from pathlib import Path

import pytest

from schemas.evaluation import BLANK, Question
from stages.evaluate.tasks import MCQ, PERPLEXITY, fit, question_item, split_at_blank, write_task


def question(text: str, *choices: str) -> Question:
    """A question whose first choice is true."""
    return Question(row_id="r", question=text, choices=list(choices), answer=0, doc_id="d", licence=None)


@pytest.mark.parametrize(
    ("text", "prompt", "first"),
    [
        (f"It is {BLANK} here.", "It is", " 3 g here."),
        (f"It is ({BLANK}).", "It is (", "3 g)."),
        (f"{BLANK} is much.", "", "3 g is much."),
        ("How much is it?", "Question: How much is it?\nAnswer:", " 3 g"),
        (f"Either {BLANK} or {BLANK}.", f"Question: Either {BLANK} or {BLANK}.\nAnswer:", " 3 g"),
    ],
)
def test_prompt_and_choice_make_the_sentence(text: str, prompt: str, first: str) -> None:
    """A choice goes on where the prompt ends, with the rest of the sentence; white space goes with the choice."""
    item = question_item(question(text, "3 g", "4 g"), len, context_tokens=1000)
    assert (item["prompt"], item["continuations"][0]) == (prompt, first)
    if text.count(BLANK) == 1:
        assert item["prompt"] + item["continuations"][1] == text.replace(BLANK, "4 g")


def test_a_long_rest_is_cut_the_same_for_all_choices() -> None:
    """No continuation takes more than half of the context, and all end in the same place of the sentence."""
    item = question_item(question(f"It is {BLANK}{' and more' * 50}.", "3 g", "12345 g"), len, context_tokens=100)
    ends = [c.partition(" and")[1] + c.partition(" and")[2] for c in item["continuations"]]
    assert max(map(len, item["continuations"])) <= 50
    assert ends[0] == ends[1] != ""


def test_a_choice_longer_than_the_context_is_cut() -> None:
    """Even a choice that alone is too long is scored, by its beginning."""
    assert [len(c) <= 10 for c in fit(["x" * 100, "y" * 5], " rest", len, 10)] == [True, True]
    assert fit(["x" * 100, "yyyyy"], " rest", len, 10)[1] == "yyyyy"


def test_splits_at_one_blank_only() -> None:
    """Two blanks are no cloze."""
    assert split_at_blank(f"a {BLANK} b") == ("a ", " b")
    assert split_at_blank("a?") == ("Question: a?\nAnswer: ", "")


def test_the_files_do_not_say_where_they_are(tmp_path: Path) -> None:
    """The definition on disk names its items relatively; the one given to lm-eval absolutely, with a cache of its own."""
    given = write_task(tmp_path / "tasks", MCQ, [{"prompt": "é"}], tmp_path / "cache")
    stored = json.loads((tmp_path / "tasks" / f"{MCQ}.yaml").read_text())
    assert str(tmp_path) not in json.dumps(stored)
    assert stored["dataset_kwargs"]["data_files"] == {"test": f"{MCQ}.jsonl"}
    assert given["dataset_kwargs"]["data_files"] == {"test": str(tmp_path / "tasks" / f"{MCQ}.jsonl")}
    assert given["dataset_kwargs"]["cache_dir"] == str(tmp_path / "cache")
    assert json.loads((tmp_path / "tasks" / f"{MCQ}.jsonl").read_text()) == {"prompt": "é"}


@pytest.mark.parametrize("name", [MCQ, PERPLEXITY])
def test_lm_eval_reads_the_definition_as_yaml(tmp_path: Path, name: str) -> None:
    """lm-eval's own loader finds the task in the folder, with our output type."""
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._yaml_loader import load_yaml

    write_task(tmp_path, name, [{"text": "x"}], tmp_path / "cache")
    assert TaskManager(include_path=str(tmp_path), include_defaults=False).all_tasks == [name]
    loaded = load_yaml(tmp_path / f"{name}.yaml")
    assert loaded["output_type"] in ("multiple_choice", "loglikelihood_rolling")


def test_benchmarks_of_like_names_keep_their_items(tmp_path: Path) -> None:
    """Names that differ in a sign that a file's name may not have are different files, and plain ones are as they are."""
    names = [f"benchmark:{n}" for n in ("arc", "arc easy", "arc_easy", "arc/easy", "arc:easy", "ärc", "a.b-c")]
    given = [write_task(tmp_path, name, [{"prompt": name}], tmp_path / "cache") for name in names]
    files = [Path(g["dataset_kwargs"]["data_files"]["test"]) for g in given]
    assert [json.loads(f.read_text())["prompt"] for f in files] == names
    assert {"benchmark_arc.jsonl", "benchmark_a.b-c.jsonl", "benchmark_arc_easy.jsonl"} <= {f.name for f in files}


def test_a_text_that_is_one_word_does_not_end_a_run(tmp_path: Path) -> None:
    """What lm-eval is told to make of the samples holds for a word of ten thousand letters; its own command's file is standard."""
    from lm_eval.api import metrics

    given = write_task(tmp_path, PERPLEXITY, [{"text": "x"}], tmp_path / "cache")
    for metric in given["metric_list"]:
        assert getattr(metrics, metric["aggregation"])([(-50_000.0, 1)]) > 0
    stored = json.loads((tmp_path / f"{PERPLEXITY}.yaml").read_text())
    assert [m["aggregation"] for m in stored["metric_list"]].count("weighted_perplexity") == 2
