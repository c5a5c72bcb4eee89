"""`parsl fit-scaling`: a law through the losses of several runs, one through their speeds, and a page that shows both."""

import argparse
import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stages.base import SettingsError
from workflows.scaling import FORMS

if TYPE_CHECKING:
    from workflows.scaling.answer import Answer, Forecast, SpeedAnswer, Value
    from workflows.scaling.doubts import Doubt

PACKAGES = ("numpy", "scipy", "jinja2", "matplotlib")


def add_command(verbs: Any) -> None:
    """The command and its flags."""
    from schemas.tokens import TextKind

    words = "fit the losses and the speeds of several training runs, and say what more compute would give"
    verb = verbs.add_parser("fit-scaling", help=words, description=words)
    verb.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="output folder of a finished pretrain")
    verb.add_argument("--form", choices=tuple(FORMS), help="the law (default: the first that the runs can carry)")
    verb.add_argument(
        "--loss", choices=("validation", "all", *get_args(TextKind)), default="validation",
        help="of the held-out documents, of their text without end tokens, or of a domain (default: validation)",
    )  # fmt: skip
    verb.add_argument("--compute", type=float, action="append", default=[], metavar="FLOPS", help="look ahead to it")
    verb.add_argument("--resamples", type=int, default=1000, metavar="N", help="of the bootstrap (default: 1000)")
    verb.add_argument("--seed", type=int, default=0, metavar="N", help="of the bootstrap (default: 0)")
    verb.add_argument("--out", type=Path, default=Path("scaling.html"), help="the page (default: scaling.html)")
    verb.add_argument("--json", action="store_true", help="for programs; writes no page")
    verb.set_defaults(do=fit_scaling)


def fit_scaling(options: argparse.Namespace, console: Console) -> int:
    """Read the runs, fit, print, and write the page."""
    if missing := [p for p in PACKAGES if importlib.util.find_spec(p) is None]:
        raise SettingsError(f"fit-scaling needs {', '.join(missing)}: pip install -e '.[report]'")
    _check(options)
    from workflows.scaling.answer import answer, choose, speed_answer
    from workflows.scaling.doubts import doubts
    from workflows.scaling.runs import read_runs

    runs = read_runs(options.runs, options.loss)
    form = choose(runs, options.form)
    computes = options.compute or [10 * max(r.compute for r in runs)]
    found = answer(runs, form, computes, options.resamples, options.seed)
    against = doubts(found)
    speeds = speed_answer(runs, options.resamples, options.seed)
    if options.json:
        print(json.dumps(_plain(found, speeds, against), indent=1))
        return 0
    _show(found, against, options.loss, console)
    if isinstance(speeds, str):
        console.print(f"\n{speeds}", markup=False)
    else:
        _show_speed(speeds, console)
    from workflows.scaling.page import write_page

    write_page(found, speeds, against, options.loss, options.out)
    console.print(f"\npage      {options.out}", markup=False)
    return 0


def _check(options: argparse.Namespace) -> None:
    problems = [f"--compute {c}: must be above 0, and finite" for c in options.compute if not 0 < c < float("inf")]
    for name, least in (("resamples", 1), ("seed", 0)):
        if (found := getattr(options, name)) < least:
            problems.append(f"--{name} {found}: must be above 0" if least else f"--{name} {found}: must not be below 0")
    if not options.json and (options.out.is_dir() or not options.out.absolute().parent.is_dir()):
        problems.append(f"--out {options.out}: expected a file to write, in a folder that is there")
    if problems:
        raise SettingsError("\n".join(f"fit-scaling: {p}" for p in problems))


def _plain(found: "Answer", speeds: "SpeedAnswer | str", against: "list[Doubt]") -> dict[str, Any]:
    rows = zip(found.runs, found.expected.tolist(), found.found.residuals.tolist(), strict=True)
    return {
        "form": found.form,
        "runs": [{**asdict(r), "compute": r.compute, "expected": e, "residual": d} for r, e, d in rows],
        "constants": [asdict(c) for c in found.constants],
        "drawn": found.found.drawn,
        "determined": not any(d.of_law for d in against),
        "doubts": [asdict(d) for d in against],
        "forecasts": [asdict(f) for f in found.forecasts],
        "speed": speeds if isinstance(speeds, str) else _plain_speed(speeds),
    }


def _plain_speed(speeds: "SpeedAnswer") -> dict[str, Any]:
    rows = zip(speeds.runs, speeds.found.residuals.tolist(), strict=True)
    return {
        "law": speeds.found.name,
        "constants": [asdict(c) for c in speeds.constants],
        "runs": [{"name": r.name, "ranks": r.ranks, "residual": d} for r, d in rows],
    }


def _show(found: "Answer", against: "list[Doubt]", loss: str, console: Console) -> None:
    from workflows.scaling.answer import WORDS
    from workflows.scaling.doubts import HEADINGS

    console.print(f"{len(found.runs)} runs, loss {loss} in nats a token: {WORDS[found.form]}\n", markup=False)
    table = _table("run", "weights N", "tokens D", "compute 6ND", "loss", "law", "residual")
    for run, expected, residual in zip(found.runs, found.expected, found.found.residuals, strict=True):
        numbers = (f"{run.num_parameters:,}", f"{run.num_tokens:,}", f"{run.compute:.3g}")
        table.add_row(escape(run.name), *numbers, f"{run.loss:.4f}", f"{expected:.4f}", f"{residual:+.2%}")
    console.print(table)
    console.print()
    for constant in found.constants:
        console.print(f"  {constant.name:<6}{_words(constant)}", markup=False)
    console.print(
        f"  95 % intervals of {len(found.found.resamples)} resamples of the {found.found.drawn}", markup=False
    )
    for forecast in found.forecasts:
        console.print(f"\n{_ahead(forecast)}", markup=False)
    for of_law, heading in HEADINGS.items():
        if said := [d for d in against if d.of_law == of_law]:
            console.print(f"\n{heading}:", style="bold", markup=False)
            for doubt in said:
                console.print(f"  {doubt}", markup=False)


def _ahead(forecast: "Forecast") -> str:
    words = f"for {forecast.compute:.3g} operations, {forecast.beyond:.3g} times the largest run: loss {_words(forecast.loss)}"
    if forecast.split is None:
        return words
    n, d = forecast.split
    return f"{words}, with N = {_words(n, '.3g')} and D = {_words(d, '.3g')}"


def _show_speed(speeds: "SpeedAnswer", console: Console) -> None:
    import numpy as np

    law = speeds.found.law
    console.print(f"\nspeed by ranks, {speeds.runs[0].num_parameters:,} weights: {speeds.found.name}\n", markup=False)
    table = _table("run", "ranks", "tokens/s", "law", "residual", "efficiency")
    ranks = np.array([float(r.ranks or 0) for r in speeds.runs])
    shown = (speeds.runs, law.at(ranks), speeds.found.residuals, law.efficiency(ranks))
    for run, expected, residual, efficiency in zip(*shown, strict=True):
        numbers = (f"{run.tokens_per_second:,.0f}", f"{expected:,.0f}", f"{residual:+.2%}", f"{efficiency:.1%}")
        table.add_row(escape(run.name), str(run.ranks), *numbers)
    console.print(table)
    console.print()
    names = {"one_rank": "tokens/s of one rank", "serial": "serial share", "pairwise": "cost of a pair"}
    for constant in speeds.constants:
        console.print(f"  {names[constant.name]:<22}{_words(constant)}", markup=False)
    if np.isfinite(law.most_ranks):
        console.print(f"  fastest on {law.most_ranks:,.0f} ranks, says the law", markup=False)


def _words(value: "Value", form: str = ".4g") -> str:
    return f"{value.value:{form}} ({value.low:{form}} to {value.high:{form}})"


def _table(first: str, *rest: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first)
    for heading in rest:
        table.add_column(heading, justify="right")
    return table
