"""The stage as a whole, against references of our own."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from schemas.manifest import Manifest
from stages.command import main
from stages.evaluate import Evaluate
from tests.stages.evaluate.conftest import (
    CONTEXT,
    TEXTS,
    Inputs,
    Tables,
    build_model,
    questions,
    run_stage,
    write_inputs,
)

ROOT = Path(__file__).parents[3]


def of_task(tables: Tables, task: str) -> list[dict[str, Any]]:
    """The samples of a task, with their metrics read."""
    return [s | {"metrics": json.loads(s["metrics"])} for s in tables["samples"] if s["task"] == task]


def score(tables: Tables, metric: str) -> dict[str, Any]:
    """The one score of a metric."""
    (found,) = [s for s in tables["scores"] if s["metric"] == metric]
    return found


class Reference:
    """Log-likelihoods in float64, one sequence at a time, without lm-eval."""

    def __init__(self, folder: Path) -> None:
        self.model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def ids(self, text: str) -> list[int]:
        """Tokens of a text, nothing added."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def targets(self, ids: list[int], num_targets: int) -> float:
        """The log-likelihood of the last `num_targets` tokens of `ids`, of which at most a context is seen before."""
        seen = ids[-(CONTEXT + 1) :]
        with torch.no_grad():
            log_probs = torch.log_softmax(self.model(torch.tensor([seen[:-1]])).logits[0], dim=-1)
        return float(sum(log_probs[i - 1, seen[i]] for i in range(len(seen) - num_targets, len(seen))))

    def choice(self, prompt: str, continuation: str) -> float:
        """Of a continuation after a prompt, tokenized together, with an end token for an empty prompt."""
        whole = self.ids(prompt + continuation)
        start = len(self.ids(prompt))
        return self.targets(whole if prompt else [0, *whole], len(whole) - start)

    def text(self, text: str) -> float:
        """Of a text, in blocks of a context's length; a block sees one token before it, the last a full context."""
        ids, total = [0, *self.ids(text)], 0.0
        for start in range(1, len(ids), CONTEXT):
            end = min(start + CONTEXT, len(ids))
            total += self.targets(ids[:end], end - start)
        return total


@pytest.fixture(scope="module")
def reference(model_folder: Path) -> Reference:
    """The reference for the model."""
    return Reference(model_folder)


def test_choices_have_the_reference_log_likelihoods(evaluated: tuple[Path, Tables], reference: Reference) -> None:
    """Every choice's log-likelihood is that of a float64 computation, within 1e-4."""
    samples = of_task(evaluated[1], "corpus_mcq")
    assert len(samples) == 10
    for sample in samples:
        expected = [reference.choice(sample["prompt"], c) for c in sample["choices"]]
        assert sample["responses"] == pytest.approx(expected, abs=1e-4)


def test_texts_have_the_reference_log_likelihoods(evaluated: tuple[Path, Tables], reference: Reference) -> None:
    """Every held-out document's log-likelihood is that of a float64 computation in disjoint windows."""
    samples = of_task(evaluated[1], "held_out_perplexity")
    assert [s["target"] for s in samples] == TEXTS[::2]
    assert max(len(reference.ids(t)) for t in TEXTS[::2]) > 2 * CONTEXT
    for sample in samples:
        assert sample["responses"] == pytest.approx([reference.text(sample["target"])], abs=1e-3)


def test_accuracies_are_those_of_the_samples(evaluated: tuple[Path, Tables]) -> None:
    """Both accuracies follow from the kept log-likelihoods, and their errors from the textbook formula."""
    tables = evaluated[1]
    samples = of_task(tables, "corpus_mcq")
    for metric, length in (("acc", lambda _: 1), ("acc_norm", len)):
        right = []
        for s in samples:
            ranked = [value / length(choice) for value, choice in zip(s["responses"], s["choices"], strict=True)]
            right.append(float(s["choices"][ranked.index(max(ranked))] == s["target"]))
        mean = sum(right) / len(right)
        error = math.sqrt(sum((r - mean) ** 2 for r in right) / (len(right) - 1) / len(right))
        found = score(tables, metric)
        assert found["value"] == pytest.approx(mean)
        assert found["standard_error"] == pytest.approx(error)
        assert (found["num_samples"], found["higher_is_better"]) == (10, True)
        assert [s["metrics"][metric] for s in samples] == right
    assert 0 < score(tables, "acc")["value"] < 1


def test_perplexities_are_those_of_the_samples(evaluated: tuple[Path, Tables]) -> None:
    """Bits a byte and both perplexities follow from the kept log-likelihoods and the texts."""
    tables = evaluated[1]
    samples = of_task(tables, "held_out_perplexity")
    nats = -sum(s["responses"][0] for s in samples)
    num_bytes = sum(len(s["target"].encode()) for s in samples)
    num_words = sum(s["metrics"]["num_words"] for s in samples)
    assert num_bytes == sum(s["metrics"]["num_bytes"] for s in samples)
    assert score(tables, "bits_per_byte")["value"] == pytest.approx(nats / math.log(2) / num_bytes)
    assert score(tables, "byte_perplexity")["value"] == pytest.approx(math.exp(nats / num_bytes))
    assert math.log(score(tables, "word_perplexity")["value"]) == pytest.approx(nats / num_words)
    for metric in ("bits_per_byte", "byte_perplexity", "word_perplexity"):
        found = score(tables, metric)
        assert found["standard_error"] > 0
        assert not found["higher_is_better"]


def test_what_knowing_nothing_scores_stands_beside(evaluated: tuple[Path, Tables], reference: Reference) -> None:
    """Chance is a quarter, and the unigram bound is the entropy of the held-out tokens."""
    tables = evaluated[1]
    assert score(tables, "chance")["value"] == 0.25
    tokens = torch.tensor([t for text in TEXTS[::2] for t in reference.ids(text)])
    p = torch.bincount(tokens).double() / len(tokens)
    entropy = -(p[p > 0] * p[p > 0].log2()).sum().item() * len(tokens)
    num_bytes = sum(len(t.encode()) for t in TEXTS[::2])
    assert score(tables, "unigram_bits_per_byte")["value"] == pytest.approx(entropy / num_bytes)


def test_answers_are_greedy(evaluated: tuple[Path, Tables], reference: Reference) -> None:
    """Each token of an answer is the most likely one, and the answer's log-likelihood is kept."""
    samples = of_task(evaluated[1], "answers")
    assert [s["metrics"]["row_id"] for s in samples] == ["q0", "q1"]
    for sample in samples:
        ids = reference.ids(sample["prompt"])
        new: list[int] = []
        while len(new) < 8 and 0 not in new:
            with torch.no_grad():
                new.append(int(reference.model(torch.tensor([ids + new])).logits[0, -1].argmax()))
        assert sample["choices"] == [str(reference.tokenizer.decode(new, skip_special_tokens=True)).strip()]
        assert sample["metrics"]["num_tokens"] == len(new)
        assert sample["responses"] == pytest.approx([reference.targets(ids + new, len(new))], abs=1e-4)


def test_rows_name_the_model_and_the_question(evaluated: tuple[Path, Tables]) -> None:
    """Every row has the model's name, and every sample leads back to its row and document."""
    tables = evaluated[1]
    assert {row["model"] for rows in tables.values() for row in rows} == {"tiny"}
    assert [s["metrics"]["row_id"] for s in of_task(tables, "corpus_mcq")] == [f"q{i}" for i in range(10)]
    assert all(len(s["metrics"]["doc_id"]) == 64 for s in of_task(tables, "held_out_perplexity"))


def test_nothing_is_left_but_tables_and_tasks(evaluated: tuple[Path, Tables]) -> None:
    """The cache of `datasets` is gone, the task files stay, and the manifest names lm-eval's version."""
    out = evaluated[0]
    names = {p.name for p in out.iterdir()}
    assert names == {"manifest.json", "scores", "samples", "tasks", "done", "locks"}
    assert {p.suffix for p in (out / "tasks").iterdir()} == {".yaml", ".jsonl"}
    assert Manifest.read(out).packages["lm_eval"].startswith("0.4.")


def test_runs_are_the_same_to_the_byte(evaluated: tuple[Path, Tables], inputs: Inputs, tmp_path: Path) -> None:
    """A second run writes the same tables."""
    run_stage(inputs, tmp_path / "again", num_answers=2, max_answer_tokens=8)
    for name in ("scores", "samples"):
        (first,), (second,) = ((folder / name).glob("*.parquet") for folder in (evaluated[0], tmp_path / "again"))
        assert first.read_bytes() == second.read_bytes()


def test_the_batch_size_moves_only_last_digits(evaluated: tuple[Path, Tables], inputs: Inputs, tmp_path: Path) -> None:
    """One sequence at a time gives the same log-likelihoods within 1e-4."""
    one = run_stage(inputs, tmp_path / "one", batch_size=1, num_answers=0)
    expected = [s["responses"] for s in evaluated[1]["samples"] if s["task"] != "answers"]
    for sample, responses in zip(one["samples"], expected, strict=True):
        assert sample["responses"] == pytest.approx(responses, abs=1e-4)


def test_a_limit_of_one_has_no_standard_errors(inputs: Inputs, tmp_path: Path) -> None:
    """`limit` takes the first items, and a single one gives a value without an error."""
    tables = run_stage(inputs, tmp_path / "out", limit=1, num_answers=5)
    assert [s["task"] for s in tables["samples"]] == ["corpus_mcq", "held_out_perplexity", "answers"]
    assert {s["num_samples"] for s in tables["scores"]} == {1}
    assert {s["standard_error"] for s in tables["scores"]} == {None}


def test_bfloat16_is_close(evaluated: tuple[Path, Tables], inputs: Inputs, tmp_path: Path) -> None:
    """Half precision moves the score by less than 2 %, and does move it."""
    half = run_stage(inputs, tmp_path / "out", dtype="bfloat16", num_answers=0)
    full, rounded = (score(t, "bits_per_byte")["value"] for t in (evaluated[1], half))
    assert rounded == pytest.approx(full, rel=0.02)
    assert rounded != full


def test_a_context_shorter_than_prompt_and_choices_works(tmp_path: Path) -> None:
    """A model that sees 16 tokens is scored on questions and answers that are longer."""
    folder = build_model(tmp_path / "hf", context=16)
    inputs = write_inputs(tmp_path / "in", folder, questions(3), TEXTS[:3])
    tables = run_stage(inputs, tmp_path / "out", num_answers=2)
    assert len(of_task(tables, "corpus_mcq")) == 3
    assert all(math.isfinite(v) for s in tables["samples"] for v in s["responses"])
    assert all(s["metrics"]["num_tokens"] <= 15 for s in of_task(tables, "answers"))


def test_a_chat_template_is_used_for_answers_alone(tmp_path: Path, evaluated: tuple[Path, Tables]) -> None:
    """With a template the answer's prompt is a user's turn; the choices are scored as without."""
    folder = build_model(tmp_path / "hf", chat=True)
    tables = run_stage(write_inputs(tmp_path / "in", folder, questions(), TEXTS), tmp_path / "out", num_answers=2)
    assert of_task(tables, "answers")[1]["prompt"] == f"<|user|>{questions()[1].question}\n<|assistant|>"
    assert of_task(tables, "corpus_mcq") == of_task(evaluated[1], "corpus_mcq")


@pytest.mark.parametrize(
    ("asked", "texts", "tasks"),
    [(0, TEXTS[:4], {"held_out_perplexity"}), (3, TEXTS[:0], {"corpus_mcq", "answers"})],
)
def test_an_empty_table_leaves_its_task_out(
    tmp_path: Path, model_folder: Path, asked: int, texts: list[str], tasks: set[str]
) -> None:
    """Without questions there are perplexities, without held-out documents there are accuracies."""
    tables = run_stage(write_inputs(tmp_path / "in", model_folder, questions(asked), texts), tmp_path / "out")
    assert {s["task"] for s in tables["samples"]} == tasks


def test_nothing_to_score_is_an_error(tmp_path: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither questions nor held-out documents: exit 3."""
    with pytest.raises(SystemExit) as end:
        run_stage(write_inputs(tmp_path / "in", model_folder, [], []), tmp_path / "out")
    assert end.value.code == 3
    assert "nothing to score" in capsys.readouterr().err


def test_a_tokenizer_without_an_end_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A text needs a token to begin with: exit 3 instead of a crash deep in a library."""
    folder = build_model(tmp_path / "hf")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    del config["eos_token"], config["bos_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(SystemExit) as end:
        run_stage(write_inputs(tmp_path / "in", folder, questions(2), TEXTS[:2]), tmp_path / "out")
    assert end.value.code == 3
    assert "neither a bos nor an eos token" in capsys.readouterr().err


def test_a_changed_model_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A weight file that was cut short after the table was written is found before anything is scored."""
    folder = build_model(tmp_path / "hf")
    inputs = write_inputs(tmp_path / "in", folder, questions(2), TEXTS[:2])
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(SystemExit) as end:
        run_stage(inputs, tmp_path / "out")
    assert end.value.code == 3
    assert "bytes, found" in capsys.readouterr().err


def test_more_than_one_shard_is_refused(inputs: Inputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scores are over all samples: exit 2."""
    with pytest.raises(SystemExit) as end:
        main(Evaluate, [*inputs.arguments, "--out", str(tmp_path / "out"), "--shard", "0/2"])
    assert end.value.code == 2
    assert "one shard" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_and_run_again_it_is_the_same_and_touches_no_home(
    evaluated: tuple[Path, Tables], inputs: Inputs, tmp_path: Path
) -> None:
    """SIGKILL while tasks are on disk, then again: equal tables, no cache left, nothing written under HOME."""
    home, out = tmp_path / "home", tmp_path / "out"
    home.mkdir()
    (tmp_path / "settings.json").write_text(json.dumps({"num_answers": 2, "max_answer_tokens": 8}))
    command = [sys.executable, "-m", "stages.evaluate", *inputs.arguments, "--out", str(out)]
    command += ["--config", str(tmp_path / "settings.json")]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "XDG_"))} | {"HOME": str(home)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 60
    while not (out / "cache").exists() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (out / "manifest.json").exists()
    assert (out / "cache").exists()
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stderr=subprocess.DEVNULL)
    assert not (out / "cache").exists()
    assert list(home.rglob("*")) == []
    for name in ("scores", "samples"):
        (first,), (second,) = ((folder / name).glob("*.parquet") for folder in (evaluated[0], out))
        assert first.read_bytes() == second.read_bytes()
