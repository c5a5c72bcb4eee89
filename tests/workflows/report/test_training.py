"""Queries on training against plain Python over the same rows."""

import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from schemas.training import DomainLoss, TrainStep, Validation
from stages.base import Stage
from tests.workflows.report.fake_run import NUM_STEPS, FakeRun, Node, pretraining
from workflows.report import training
from workflows.report.formats import number
from workflows.report.page import render
from workflows.report.tables import Tables

Open = Callable[[Sequence[Node]], Tables]


class Train(Stage):
    """Writes steps and held-out measurements."""

    name = "train"
    outputs = {"steps": TrainStep, "validation": Validation}


def step(number: int, loss: float) -> TrainStep:
    """A step with this loss."""
    rest = {"gradient_norm": None, "learning_rate": 1e-3, "tokens_per_second": float(number)}
    return TrainStep(phase="pretrain", step=number, num_tokens=number * 10, loss=loss, **rest)


def trained(tmp_path: Path, steps: Sequence[TrainStep], held_out: Sequence[Validation] = ()) -> list[Node]:
    """A finished training of these rows."""
    run = FakeRun(tmp_path)
    run.finish(run.node(Train()), 1.0, steps=steps, validation=held_out)
    return run.nodes


def test_few_steps_are_drawn_as_they_are(done_run: FakeRun, tables: Tables) -> None:
    """With fewer steps than points, every step is a point with its own values, in order."""
    node = [n.name for n in done_run.nodes].index("pretrain")
    found = training.steps(tables)[node, "pretrain"]
    expected = pretraining()["steps"]
    assert len(found) == NUM_STEPS
    for row, one in zip(found, expected, strict=True):
        assert row == {"node": node, **one.model_dump()}


def test_many_steps_are_thinned_to_means(tmp_path: Path, tables_of: Open) -> None:
    """Ten thousand steps, written in any order, become at most 400 means over neighbours that keep the whole mean."""
    rows = [step(i, math.sin(i) + 2) for i in range(10_000, 0, -1)]
    found = training.steps(tables_of(trained(tmp_path, rows)))[0, "pretrain"]
    assert len(found) == training.MAX_POINTS
    assert [r["step"] for r in found] == list(range(25, 10_001, 25))
    assert found[0]["loss"] == pytest.approx(statistics.fmean(math.sin(i) + 2 for i in range(1, 26)))
    assert statistics.fmean(r["loss"] for r in found) == pytest.approx(statistics.fmean(r.loss for r in rows))


def test_phases_in_their_order_with_first_and_last_loss(done_run: FakeRun, tables: Tables) -> None:
    """Each phase has its steps, tokens, the means of its first and last ten losses, and its median speed."""
    found = training.phases(tables)
    assert [r["phase"] for r in found] == ["pretrain", "sft", "dpo"]
    steps: list[TrainStep] = pretraining()["steps"]
    assert found[0]["num_steps"] == NUM_STEPS
    assert found[0]["num_tokens"] == steps[-1].num_tokens
    assert found[0]["first_loss"] == pytest.approx(statistics.fmean(s.loss for s in steps[:10]))
    assert found[0]["last_loss"] == pytest.approx(statistics.fmean(s.loss for s in steps[-10:]))
    assert found[0]["tokens_per_second"] == pytest.approx(statistics.median(s.tokens_per_second for s in steps))


def test_phase_shorter_than_ten_steps(tmp_path: Path, tables_of: Open) -> None:
    """A phase of three steps takes its means over three."""
    found = training.phases(tables_of(trained(tmp_path, [step(i, float(i)) for i in (1, 2, 3)])))
    assert (found[0]["first_loss"], found[0]["last_loss"]) == (2.0, 2.0)


def test_model_beside_the_unigram_baseline(tables: Tables, done_run: FakeRun) -> None:
    """The model's last bits a byte stand beside the baseline's; phases without a baseline have none."""
    held_out = training.validation(tables)
    names = [n.name for n in done_run.nodes]
    rows = pretraining()["validation"]
    found = training.against_baseline(held_out[names.index("pretrain"), "pretrain"])
    assert found == {"model": rows[-1].bits_per_byte, "baseline": rows[0].bits_per_byte}
    assert training.against_baseline(held_out[names.index("posttrain"), "sft"]) is None


@pytest.mark.parametrize(("bits", "words"), [(1.0, "(better by 1)"), (3.0, "(not better by 1)")])
def test_the_page_says_who_wins(tmp_path: Path, bits: float, words: str) -> None:
    """A model above its unigram baseline is called not better."""
    rows = [
        Validation(phase="pretrain", step=0, name="unigram", value=5.0, bits_per_byte=2.0),
        Validation(phase="pretrain", step=9, name="validation", value=4.0, bits_per_byte=bits),
    ]
    assert words in render(trained(tmp_path, [step(1, 5.0)], rows), "train")


def test_before_and_after(tables: Tables, done_run: FakeRun) -> None:
    """Post-training's own held-out values are paired, first with last, by name."""
    node = [n.name for n in done_run.nodes].index("posttrain")
    found = {r["name"]: r for r in training.before_after(training.validation(tables)[node, "dpo"])}
    assert set(found) == {"held-out loss", "preference accuracy"}
    assert (found["held-out loss"]["first"]["value"], found["held-out loss"]["last"]["value"]) == (0.6931, 0.533)
    assert found["preference accuracy"]["num_measured"] == 2


def test_a_diverged_run_still_has_its_page(tmp_path: Path) -> None:
    """Losses that are infinite or not a number, and a gradient norm never measured, leave gaps and no error."""
    rows = [step(1, 9.0), step(2, math.inf), step(3, math.nan), step(4, -math.inf)]
    held_out = [Validation(phase="pretrain", step=4, name="validation", value=math.nan, bits_per_byte=math.inf)]
    text = render(trained(tmp_path, rows, held_out), "train")
    assert 'id="training"' in text
    assert "gradient norm" not in text


def test_checkpoints_and_models(tables: Tables) -> None:
    """Checkpoints are in step order; a model's size is the sum of its files."""
    assert [c["step"] for c in training.checkpoints(tables)] == [250, 300]
    assert {m["name"]: m["size_bytes"] for m in training.models(tables)} == {
        "borealis-base": 14_200_700,
        "borealis-chat": 14_200_700,
    }


def test_domains_from_all_text_to_the_smallest(tables: Tables, done_run: FakeRun) -> None:
    """Each domain's measurements are in step order with their own numbers, all text first, then by size."""
    node = [n.name for n in done_run.nodes].index("pretrain")
    found = training.domains(tables)[node, "pretrain"]
    assert list(found) == ["all", "prose", "latex", "number", "smiles", "code"]
    rows: list[DomainLoss] = pretraining()["domains"]
    for name, mine in found.items():
        expected = [(r.step, r.bits_per_byte, r.perplexity) for r in rows if r.domain == name]
        assert [(r["step"], r["bits_per_byte"], r["perplexity"]) for r in mine] == expected


def test_the_page_has_the_domains(done_run: FakeRun) -> None:
    """The training page has the curves, the last bits a byte and perplexity of each domain, and says what is left out."""
    text = render(done_run.nodes, "run")
    last = {r.domain: r for r in pretraining()["domains"] if r.step == NUM_STEPS}
    assert f"ending at: all {last['all'].bits_per_byte:.4g}, prose {last['prose'].bits_per_byte:.4g}" in text
    for row in last.values():
        assert f'<td class="n">{number(row.perplexity)}</td>' in text
        assert f'<td class="n">{number(row.bits_per_byte)}</td>' in text
    assert "Tokens that end documents write nothing" in text


def test_a_run_without_domains_has_no_such_table(tmp_path: Path) -> None:
    """Where no domain was measured the page says nothing of domains."""
    assert "by domain" not in render(trained(tmp_path, [step(1, 5.0)]), "train")
