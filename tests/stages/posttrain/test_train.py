"""Whole runs of the stage on a tiny model, unbroken and killed."""

import contextlib
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from schemas.manifest import Manifest
from schemas.training import Model, TrainStep, Validation
from stages.command import main
from stages.posttrain import Posttrain
from stages.posttrain.chat import chat_tokenizer
from stages.tables import Reader
from tests.stages.posttrain import tiny

Run = Callable[..., Path]
PATIENCE_SECONDS = 60


def rows(out: Path, name: str) -> list[Any]:
    """The rows of an output table."""
    return list(Reader(out / name, {"model": Model, "steps": TrainStep, "validation": Validation}[name]).rows())


def timeless(out: Path) -> list[TrainStep]:
    """The steps without the one column that is a time."""
    return [r.model_copy(update={"tokens_per_second": 0.0}) for r in rows(out, "steps")]


def weights(out: Path) -> bytes:
    """The tuned model's weights."""
    return (out / "huggingface" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def unbroken() -> dict[str, Any]:
    """Keeps the result of the run that other tests compare with, so that it is made once."""
    return {}


@pytest.fixture
def reference(unbroken: dict[str, Any], run: Run) -> dict[str, Any]:
    """What an unbroken run with the default settings of these tests gives."""
    if not unbroken:
        out = run()
        unbroken.update(out=out, weights=weights(out), steps=timeless(out), validation=rows(out, "validation"))
    return unbroken


def values(validation: list[Validation], phase: str, name: str) -> list[float]:
    """A measurement before and after a phase."""
    return [v.value for v in validation if v.phase == phase and v.name == name]


def test_both_phases_move_the_right_way(reference: dict[str, Any]) -> None:
    """Held-out losses fall, and held-out accuracy and margin rise."""
    before, after = values(reference["validation"], "sft", "held-out loss")
    assert after < 0.25 * before
    before, after = values(reference["validation"], "dpo", "held-out loss")
    assert before == pytest.approx(0.693147, abs=1e-5)
    assert after < 0.6
    assert values(reference["validation"], "dpo", "preference accuracy") == [0.5, 1.0]
    assert values(reference["validation"], "dpo", "preference margin")[1] > 0.1


def test_a_row_for_every_step(reference: dict[str, Any], base: Path) -> None:
    """Steps are numbered from 1 in each phase, and count the tokens of the rows that they saw."""
    steps, words = reference["steps"], chat_tokenizer(base)
    sft, dpo = ([s for s in steps if s.phase == p] for p in ("sft", "dpo"))
    assert [s.step for s in sft] == list(range(1, 10 * 5 + 1))  # 10 epochs of 40 conversations by 8
    assert [s.step for s in dpo] == list(range(1, 4 * 4 + 1))  # 4 epochs of 30 pairs by 8
    num_tokens = sum(
        len(words.apply_chat_template([m.model_dump() for m in c.messages], tokenize=True, return_dict=False))
        for c in tiny.conversations(48)
        if c.split == "train"
    )
    assert sft[4].num_tokens == num_tokens
    assert sft[-1].num_tokens == 10 * num_tokens
    assert all(s.gradient_norm > 0 for s in steps)
    assert max(s.learning_rate for s in sft) == pytest.approx(5e-3, rel=0.05)


def test_the_row_of_the_model(reference: dict[str, Any]) -> None:
    """One row points at every file of a folder that holds model and tokenizer, and at nothing else."""
    (row,) = rows(reference["out"], "model")
    assert (row.name, row.phase, row.context_tokens) == ("tiny-chat", "dpo", tiny.CONTEXT_TOKENS)
    names = {Path(f.path).name for f in row.files}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= names
    assert names == {f.name for f in (reference["out"] / "huggingface").iterdir()}
    assert all(f.open_path(reference["out"]).is_file() for f in row.files)
    assert not (reference["out"] / "phases").exists()


def test_the_model_answers_and_stops(reference: dict[str, Any]) -> None:
    """The folder loads by the Auto classes, answers in the form it was taught, and ends its turn by itself."""
    folder = reference["out"] / "huggingface"
    words, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    asked = words.apply_chat_template(
        [{"role": "user", "content": "What is the density of Vorlane-3?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    torch.manual_seed(0)
    said = model.generate(**asked, max_new_tokens=40, do_sample=False)[0, asked["input_ids"].shape[1] :]
    assert words.decode(said).startswith("It is ")
    assert words.decode(said).endswith("<|end|>")


def test_same_again(reference: dict[str, Any], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same inputs give the same bytes, with one thread as with two."""
    monkeypatch.setenv("BOREALIS_WORKERS", "1" if torch.get_num_threads() > 1 else "2")
    out = run("again")
    assert weights(out) == reference["weights"]
    assert timeless(out) == reference["steps"]


def test_seed_matters(run: Run) -> None:
    """Another seed shuffles otherwise."""
    made = [run(f"seed-{seed}", seed=seed, sft_epochs=1, preferences=[]) for seed in (0, 1)]
    assert weights(made[0]) != weights(made[1])


def test_no_preferences(run: Run, reference: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Without preferences the model is the one that SFT made, and nothing is measured for DPO."""
    out = run(preferences=[])
    assert "dpo skipped" in capsys.readouterr().err
    assert rows(out, "model")[0].phase == "sft"
    assert timeless(out) == [s for s in reference["steps"] if s.phase == "sft"]
    assert {v.phase for v in rows(out, "validation")} == {"sft"}


def test_no_conversations_and_nothing_held_out(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """DPO alone runs on the base model; without held-out pairs there are steps but no measurement."""
    out = run(conversations=[], preferences=[p for p in tiny.preferences(12) if p.split == "train"], dpo_epochs=1)
    assert "sft skipped" in capsys.readouterr().err
    assert [(s.phase, s.step) for s in rows(out, "steps")] == [("dpo", 1), ("dpo", 2)]
    assert rows(out, "validation") == []


def test_no_rows_at_all(run: Run, base: Path) -> None:
    """Without rows to learn from the model is the base model with a chat template."""
    held_out = [c for c in tiny.conversations(12) if c.split == "validation"]
    out = run(conversations=held_out, preferences=[])
    assert weights(out) == (base / "model.safetensors").read_bytes()
    assert rows(out, "model")[0].phase == "pretrain"
    assert rows(out, "steps") == rows(out, "validation") == []
    words = AutoTokenizer.from_pretrained(out / "huggingface")
    assert words.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False) == "<|user|>a<|end|>"


def test_a_rate_that_blows_up(arguments: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """A loss that is no number ends the run with the step and a cure, not with a broken model."""
    line = arguments(sft_learning_rate=1e30)
    with pytest.raises(SystemExit) as ended:
        main(Posttrain, line)
    assert ended.value.code == 1
    assert "try a lower rate" in capsys.readouterr().err
    assert not Path(line[line.index("--out") + 1], "manifest.json").exists()


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Empty folders where libraries like to leave things."""
    return {name: tmp_path_factory.mktemp(name) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}


@pytest.fixture(scope="module")
def forks(homes: dict[str, Path]) -> ForkServerContext:
    """Processes that start with the heavy imports done, so that a killed run costs no ten seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["stages.posttrain.train"])
    with pytest.MonkeyPatch.context() as patch:
        for name, folder in homes.items():
            patch.setenv(name, str(folder))
        forkserver._forkserver._stop()  # type: ignore[attr-defined]  # another test has left one with another environment
        forkserver.ensure_running()
    return context


def kill_when(forks: ForkServerContext, line: list[str], pattern: str) -> None:
    """Run the stage in another process and kill it when a file of this pattern is there."""
    out = Path(line[line.index("--out") + 1])
    process = forks.Process(target=main, args=(Posttrain, line))
    process.start()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not any(out.glob(pattern)):
        assert process.is_alive(), f"ended before {pattern} was there"
        assert time.monotonic() < deadline, f"no {pattern} in time"
        time.sleep(0.002)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (out / "manifest.json").exists()


@pytest.mark.slow
def test_killed_in_both_phases(
    reference: dict[str, Any],
    arguments: Callable[..., list[str]],
    forks: ForkServerContext,
    homes: dict[str, Path],
    tmp_path: Path,
) -> None:
    """Killed within SFT, then within DPO, the third run takes up both and gives what an unbroken run gives.

    It also writes nothing outside its output folder.
    """
    line = arguments("killed")
    kill_when(forks, line, "phases/*/sft.work/checkpoint-10/steps.json")
    assert not list((tmp_path / "killed").glob("phases/*/sft"))
    kill_when(forks, line, "phases/*/dpo.work/checkpoint-*/optimizer.pt")  # the checkpoint itself is half-written
    (finished,) = (tmp_path / "killed").glob("phases/*/sft")
    file = finished / "record.json"  # not the folder, which changes while it is taken away in the end
    made, record = file.stat().st_mtime_ns, json.loads(file.read_text())
    assert [s["step"] for s in record["steps"]] == list(range(1, 51))
    last = forks.Process(target=main, args=(Posttrain, line))
    last.start()
    assert f"HOME={homes['HOME']}".encode() in Path(f"/proc/{last.pid}/environ").read_bytes().split(b"\0")
    kept = made
    while last.is_alive():
        with contextlib.suppress(FileNotFoundError):
            kept = file.stat().st_mtime_ns
        time.sleep(0.01)
    assert last.exitcode == 0
    assert kept == made  # SFT was not done again
    out = tmp_path / "killed"
    assert weights(out) == reference["weights"]
    assert timeless(out) == reference["steps"]
    assert rows(out, "validation") == reference["validation"]
    assert [f for folder in homes.values() for f in folder.rglob("*") if f.is_file()] == []


def test_other_settings_do_not_reuse_what_is_left(
    arguments: Callable[..., list[str]], forks: ForkServerContext, run: Run, tmp_path: Path
) -> None:
    """What a killed run left in a folder is not taken for a run with other settings."""
    kill_when(forks, arguments("mixed"), "phases/*/sft/record.json")
    (left,) = (tmp_path / "mixed" / "phases").iterdir()
    fresh = run("fresh", sft_epochs=1, preferences=[])
    mixed = run("mixed", sft_epochs=1, preferences=[])
    assert not left.exists()
    assert weights(mixed) == weights(fresh)
    assert Manifest.read(mixed).settings["sft_epochs"] == 1
