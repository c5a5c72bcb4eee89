"""The page of a fit: losses against compute with the law and its interval, what is left over, speeds against ranks."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.ticker import NullFormatter

from schemas.manifest import write_atomic
from workflows.report import formats
from workflows.report.charts import ACCENT, INK, MUTED, PAPER, WIDE, as_svg, drawing
from workflows.scaling.answer import WORDS, Answer, SpeedAnswer, best_loss
from workflows.scaling.doubts import HEADINGS, Doubt
from workflows.scaling.laws import Numbers

POINTS = 60  # of a curve
MARKS = "osD^vPX<>p"
BAND = 0.16
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def write_page(found: Answer, speeds: SpeedAnswer | str, against: list[Doubt], loss: str, file: Path) -> Path:
    """Write the page, atomically; returns `file`."""
    images = [_losses(found), _residuals(found)]
    ranks: Numbers = np.array([])
    if not isinstance(speeds, str):
        images.append(_speeds(speeds))
        ranks = np.array([float(r.ranks or 0) for r in speeds.runs])
    loader = ChoiceLoader([PackageLoader("workflows.scaling", "."), PackageLoader("workflows.report", ".")])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {f.__name__: f for f in (formats.number, formats.share)}
    template = environment.get_template("scaling.html.j2")
    doubts = {HEADINGS[of_law]: said for of_law in HEADINGS if (said := [d for d in against if d.of_law == of_law])}
    words = {"doubts": doubts, "loss": loss, "law": WORDS[found.form], "charts": images, "ranks": ranks}
    write_atomic(file, template.render(answer=found, speed=speeds, no_speed=isinstance(speeds, str), **words))
    return file


def _losses(found: Answer) -> Markup:
    """Runs of one size share a mark; the law is that of the best use of a compute, or of compute alone."""
    computes = np.array([r.compute for r in found.runs])
    ahead = [f.compute for f in found.forecasts]
    grid = np.geomspace(computes.min() / 1.5, max([computes.max(), *ahead]) * 1.2, POINTS)
    with drawing(*WIDE) as (figure, axes):
        low, high = _band(found, grid)
        axes.fill_between(grid, low, high, color=ACCENT, alpha=BAND, linewidth=0)
        law = [best_loss(found.found.law, found.form, float(c)) for c in grid]
        label = "law" if found.form == "compute" else "law, best N and D"
        axes.plot(grid, law, color=ACCENT, linewidth=1.8, label=label)
        axes.axhline(found.found.law.floor, color=MUTED, linewidth=1.0, linestyle=(0, (2, 2)), label="floor E")
        for i, size in enumerate(sorted({r.num_parameters for r in found.runs})):
            mine = [r for r in found.runs if r.num_parameters == size]
            look = {"color": INK, "linestyle": "none", "markersize": 5, "markerfacecolor": PAPER if i % 2 else INK}
            at = ([r.compute for r in mine], [r.loss for r in mine])
            axes.plot(*at, MARKS[i % len(MARKS)], label=f"{formats.compact(size)} weights", **look)
        for forecast in found.forecasts:
            error = [[forecast.loss.value - forecast.loss.low], [forecast.loss.high - forecast.loss.value]]
            axes.errorbar(
                [forecast.compute], [forecast.loss.value], yerr=np.abs(error), fmt="o", color=ACCENT, capsize=3
            )
        _operations(axes)
        axes.set_title("loss (nats a token) by compute")
        axes.legend(loc="best", ncols=2)
        words = f"Loss by compute of {len(found.runs)} runs with the fitted law, its 95 % interval and {len(ahead)} forecasts"
        return as_svg(figure, "losses", words)


def _operations(axes: Any) -> None:
    """Powers of ten, written out: the page's charts know no mathematics."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: "10" + str(round(math.log10(value))).translate(RAISED))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("operations, 6 N D")


def _band(found: Answer, grid: Numbers) -> tuple[Numbers, Numbers]:
    """The middle 95 % of the resampled laws."""
    with np.errstate(all="ignore"):
        each = np.array([[best_loss(law, found.form, float(c)) for c in grid] for law in found.found.resamples])
    low, high = np.nanpercentile(np.where(np.isfinite(each), each, math.nan), [2.5, 97.5], axis=0)
    return low, high


def _residuals(found: Answer) -> Markup:
    with drawing(*WIDE) as (figure, axes):
        axes.axhline(0, color=ACCENT, linewidth=1.4)
        axes.plot([r.compute for r in found.runs], found.found.residuals * 100, "o", color=INK, markersize=5)
        _operations(axes)
        axes.set_title("loss above the law, %")
        worst = float(np.abs(found.found.residuals).max())
        return as_svg(figure, "residuals", f"Residuals of {len(found.runs)} runs by compute, at most {worst:.2%}")


def _speeds(speeds: SpeedAnswer) -> Markup:
    ranks = np.array([float(r.ranks or 0) for r in speeds.runs])
    grid, law = np.geomspace(ranks.min(), ranks.max() * 2, POINTS), speeds.found.law
    with drawing(*WIDE) as (figure, axes):
        each = np.array([one.at(grid) for one in speeds.found.resamples])
        axes.fill_between(grid, *np.percentile(each, [2.5, 97.5], axis=0), color=ACCENT, alpha=BAND, linewidth=0)
        axes.plot(grid, law.one_rank * grid, color=MUTED, linewidth=1.0, linestyle=(0, (2, 2)), label="perfect scaling")
        axes.plot(grid, law.at(grid), color=ACCENT, linewidth=1.8, label=speeds.found.name)
        axes.plot(ranks, [r.tokens_per_second for r in speeds.runs], "o", color=INK, markersize=5, label="runs")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: formats.compact(round(value)))
            axis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("ranks")
        axes.set_title("tokens a second by ranks")
        axes.legend(loc="best")
        return as_svg(figure, "speeds", f"Tokens a second of {len(ranks)} runs by ranks with {speeds.found.name}")
