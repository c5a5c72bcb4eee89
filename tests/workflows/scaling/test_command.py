"""`parsl fit-scaling`, from the tables of finished runs to words, JSON and a page."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.workflows.scaling.finished import TABLES, document, finished, heartbeats, measured, step
from workflows.__main__ import main
from workflows.scaling import laws
from workflows.scaling.laws import Fit, Law
from workflows.scaling.runs import read_runs

WEIGHTS = (1_000_000, 4_000_000, 16_000_000)
TOKENS = (20_000_000, 80_000_000, 320_000_000)
FEW = ["--resamples", "20"]
Said = Callable[..., tuple[int, str]]


def loss_of(weights: int, tokens: int) -> float:
    """A law with constants that the tests know."""
    return float(1.8 + 60 / weights**0.3 + 400 / tokens**0.35)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Said:
    """Exit status of the command, and all that it prints."""

    def run(*words: str | Path) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["fit-scaling", "--out", str(tmp_path / "page.html"), *map(str, words)])
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out + printed.err

    return run


@pytest.fixture
def grid(tmp_path: Path) -> list[Path]:
    """Nine runs of three sizes and three lengths."""
    return [finished(tmp_path / f"{n}-{d}", n, d, loss_of(n, d)) for n in WEIGHTS for d in TOKENS]


def answered(said: Said, *words: str | Path) -> dict[str, Any]:
    """The answer for programs."""
    code, text = said(*words, "--json", *FEW)
    assert code == 0
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_grid_of_runs_gives_the_law_behind_it(grid: list[Path], said: Said) -> None:
    """Nine exact runs give back the five constants, residuals of nothing, and the loss of a compute that none of them had."""
    found = answered(said, *grid, "--compute", "1e18")
    assert found["form"] == "weights-and-tokens"
    values = {c["name"]: c["value"] for c in found["constants"]}
    assert values == pytest.approx({"E": 1.8, "A": 60, "B": 400, "alpha": 0.3, "beta": 0.35}, rel=1e-2)
    assert all(abs(r["residual"]) < 1e-5 for r in found["runs"])
    (ahead,) = found["forecasts"]
    n, d = (v["value"] for v in ahead["split"])
    assert 6 * n * d == pytest.approx(1e18)
    assert ahead["loss"]["value"] == pytest.approx(loss_of(round(n), round(d)), rel=1e-3)
    assert ahead["loss"]["low"] <= ahead["loss"]["value"] * 1.001
    assert ahead["beyond"] == pytest.approx(1e18 / (6 * WEIGHTS[-1] * TOKENS[-1]))


def test_runs_that_go_up_together_get_a_law_of_compute(tmp_path: Path, said: Said) -> None:
    """Where more weights always had more tokens, the two cannot be told apart: the law is of compute, and says so."""
    runs = []
    for i in range(6):
        n, d = 10**6 * 2**i, 2 * 10**7 * 2**i
        runs.append(finished(tmp_path / str(i), n, d, 2.0 + 300 / (6.0 * n * d) ** 0.12))
    found = answered(said, *runs)
    assert found["form"] == "compute"
    assert {c["name"]: c["value"] for c in found["constants"]} == pytest.approx(
        {"E": 2.0, "K": 300, "gamma": 0.12}, rel=1e-2
    )
    assert found["forecasts"][0]["split"] is None
    assert found["drawn"] == "residuals"
    code, words = said(*runs, "--form", "weights-and-tokens")
    assert code == 2
    assert "N and D go together" in words


@pytest.mark.parametrize(("count", "words"), [(1, "1 runs, expected at least 4"), (3, "3 runs, expected at least 4")])
def test_too_few_runs_are_refused(grid: list[Path], said: Said, count: int, words: str) -> None:
    """A law with as many constants as runs fits anything: exit 2, with what each law would need."""
    code, text = said(*grid[:count])
    assert code == 2
    assert words in text
    assert f"weights-and-tokens: {count} runs, expected at least 6" in text
    assert "train more runs" in text


def test_losses_that_rise_are_no_law(tmp_path: Path, said: Said) -> None:
    """Where more compute made the loss worse there is nothing to look ahead by: exit 2."""
    runs = [finished(tmp_path / str(i), 10**6, 2 * 10**7 * 2**i, 4.0 + i / 10) for i in range(6)]
    code, text = said(*runs, *FEW)
    assert code == 2
    assert "compute: the loss does not fall with compute" in text


def test_a_power_below_nothing_is_no_law(grid: list[Path], said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit by which more weights make the loss worse foresees nothing, and says which power it was."""
    law = Law(np.array([0.5, 0.1, 0.1, -0.1, 0.3]), np.array([15.0, 18.0]))
    monkeypatch.setattr(laws, "fit", lambda *_: Fit(law, [law], np.zeros(9), "residuals"))
    code, text = said(*grid, *FEW)
    assert code == 2
    assert "the loss does not fall with more N (power -0.1)" in text


def test_runs_of_one_size_are_refused(tmp_path: Path, said: Said) -> None:
    """Six runs of one compute say nothing about compute."""
    runs = [finished(tmp_path / str(i), 10**6, 2 * 10**7, 4.0 + i / 10) for i in range(6)]
    code, text = said(*runs)
    assert code == 2
    assert "compute: 1 different C, expected at least 3" in text


def test_a_diverged_run_is_named(grid: list[Path], tmp_path: Path, said: Said) -> None:
    """A loss that is not a number is no point of a curve."""
    code, text = said(*grid, finished(tmp_path / "gone", 10**6, 10**8, float("nan")))
    assert code == 2
    assert "no finite loss above 0: gone" in text


def test_runs_measured_on_other_text_are_refused(grid: list[Path], tmp_path: Path, said: Said) -> None:
    """Losses on other documents do not compare; the message names the runs and says what to hold equal."""
    other = finished(tmp_path / "other", 10**6, 10**8, 4.0, {"measured": [document("c", 100)]})
    code, text = said(*grid, other)
    assert code == 2
    assert "measured on other documents or tokens" in text
    assert "other" in text
    assert "pretrain.validation_tokens" in text


def test_folders_that_are_no_runs_are_named_together(grid: list[Path], tmp_path: Path, said: Said) -> None:
    """All wrong folders are told at once: one that is not there, one without a model."""
    lacking = finished(tmp_path / "lacking", 10**6, 10**8, 4.0, {"model": []})
    code, text = said(*grid, tmp_path / "nowhere", lacking)
    assert code == 2
    assert "nowhere" in text
    assert "it has no model" in text
    assert "manifest.json" in text


def test_the_loss_of_a_domain_is_fitted(grid: list[Path], said: Said) -> None:
    """`--loss latex` takes the domain's nats a token at the last measurement; a domain that was not measured is refused."""
    for name, less in (("all", 0.1), ("latex", 0.5)):
        found = answered(said, *grid, "--loss", name)
        losses = [r["loss"] for r in found["runs"]]
        assert losses == pytest.approx([loss_of(n, d) - less for n in WEIGHTS for d in TOKENS])
    code, text = said(*grid, "--loss", "smiles")
    assert code == 2
    assert "no loss 'smiles', only all, latex" in text


def test_a_run_is_what_its_tables_say(tmp_path: Path) -> None:
    """Tokens are those of the last step, the speed is the steps' median, ranks those with heartbeats, compute 6 N D."""
    steps = [step(1, 10, 5.0), step(2, 20, 700.0), step(3, 30, 900.0)]
    run = finished(tmp_path / "run", 7, 30, 4.5, {"steps": steps, "heartbeats": heartbeats(4)})
    (found,) = read_runs([run], "validation")
    assert (found.num_parameters, found.num_tokens, found.compute) == (7, 30, 6 * 7 * 30)
    assert (found.loss, found.tokens_per_second, found.ranks) == (4.5, 700.0, 4)
    unknown = finished(tmp_path / "short", 7, 30, 4.5, {"heartbeats": []})
    assert read_runs([unknown], "validation")[0].ranks is None


def test_the_last_measurement_counts(tmp_path: Path) -> None:
    """Rows may stand in any order; the loss is that after most steps."""
    rows = [measured("validation", 300, 3.0), measured("validation", 50, 5.0), measured("validation/notes", 900, 1.0)]
    run = finished(tmp_path / "run", 7, 30, 0.0, {"validation": rows})
    assert read_runs([run], "validation")[0].loss == 3.0


def test_names_tell_runs_apart(tmp_path: Path) -> None:
    """Runs are called by the end of their path, as much of it as differs; one that is given twice counts once."""
    runs = [finished(tmp_path / root / "pretrain", 7, 30, 4.0) for root in ("a", "b")]
    assert [r.name for r in read_runs(runs, "validation")] == ["a/pretrain", "b/pretrain"]
    assert [r.name for r in read_runs([runs[0], runs[0] / "." / "steps" / ".."], "validation")] == ["pretrain"]


def test_speed_by_ranks(grid: list[Path], tmp_path: Path, said: Said) -> None:
    """Runs of one size on 1, 2, 4 and 8 ranks give the law of the speed; without them the words say what is missing."""
    assert "found 1" in answered(said, *grid)["speed"]
    for ranks in (1, 2, 4, 8):
        speed = 1000 * ranks / (1 + 0.05 * (ranks - 1))
        changes = {"heartbeats": heartbeats(ranks), "steps": [step(1, 10**8, speed)]}
        grid.append(finished(tmp_path / f"ranks-{ranks}", 2_000_000, 10**8, loss_of(2_000_000, 10**8), changes))
    found = answered(said, *grid)["speed"]
    assert found["law"] == "universal scalability law"
    values = {c["name"]: c["value"] for c in found["constants"]}
    assert values == pytest.approx({"one_rank": 1000, "serial": 0.05, "pairwise": 0.0}, abs=1e-6)
    assert [r["ranks"] for r in found["runs"]] == [1, 2, 4, 8]
    text = said(*grid, *FEW)[1]
    assert re.search(r"ranks-8 +8 +5,926 +5,926 +[+-]0.00% +74.1%", text)


def test_it_says_and_draws_what_it_found(grid: list[Path], tmp_path: Path, said: Said) -> None:
    """Words and page have every run with its residual, the constants with intervals, the law and what lies ahead."""
    code, text = said(*grid, *FEW)
    assert code == 0
    page = (tmp_path / "page.html").read_text()
    for word in ("L = E + A / N^alpha + B / D^beta", "alpha", "16000000-320000000"):
        assert word in text
        assert word in page
    assert "10 times the largest run" in text
    assert "95 % intervals of 20 resamples" in text
    assert page.count("<svg") == 2
    assert "needed, found 1." in page
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="http', page)


def test_the_page_of_a_law_of_compute(tmp_path: Path, said: Said) -> None:
    """A law of compute alone, and a speed, have their page too; names are escaped."""
    runs = []
    for i in range(5):
        n, d = 10**6, 2 * 10**7 * 2**i
        changes = {"heartbeats": heartbeats(i + 1)}
        runs.append(finished(tmp_path / f"<i>{i}", n, d, 2.0 + 300 / (6.0 * n * d) ** 0.12, changes))
    assert said(*runs, *FEW, "--compute", "1e16", "--compute", "1e17")[0] == 0
    page = (tmp_path / "page.html").read_text()
    assert page.count("<svg") == 3
    assert "L = E + K / C^gamma" in page
    assert "&lt;i&gt;3" in page
    assert "<i>3" not in page


def test_numbers_that_mean_nothing_are_refused(grid: list[Path], said: Said) -> None:
    """No resample, a compute of nothing, or a seed below 0 is an error in settings; all come together."""
    for flag, value in (("--resamples", "0"), ("--compute", "-1"), ("--compute", "nan"), ("--compute", "inf")):
        code, text = said(*grid, flag, value)
        assert code == 2
        assert "must be above 0" in text
    code, text = said(*grid, "--seed", "-1", "--resamples", "-5")
    assert code == 2
    assert text.splitlines() == [
        "fit-scaling: --resamples -5: must be above 0",
        "fit-scaling: --seed -1: must not be below 0",
    ]


def test_a_page_that_cannot_be_written_is_known_before_the_fit(grid: list[Path], tmp_path: Path, said: Said) -> None:
    """A folder for the page, or a page in no folder, is an error in settings; with `--json` no page is written."""
    for page in (tmp_path, tmp_path / "nowhere" / "page.html"):
        code, text = said(*grid, "--out", page, *FEW)
        assert code == 2
        assert f"--out {page}: expected a file to write, in a folder that is there" in " ".join(text.split())
    assert said(*grid, "--out", tmp_path, "--json", *FEW)[0] == 0


def test_the_tables_are_those_of_pretrain() -> None:
    """What the command reads are outputs of the stage, under the same names and contracts."""
    from stages.pretrain import Pretrain

    assert {name: Pretrain.outputs[name] for name in TABLES} == TABLES
