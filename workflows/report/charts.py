"""Charts as small SVG that takes its colours from the page, so that one drawing serves light, dark and print.

Matplotlib draws with stand-in colours; they become CSS variables. Text stays text (`svg.fonttype: none`). The same
data gives the same bytes: no dates, hashed ids from a fixed salt.
"""

import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.figure import Figure

from workflows.report.evaluation import INTERVAL_95, Contestant
from workflows.report.formats import number, shorten
from workflows.report.training import ALL_TEXT, BASELINE

COLOURS = {"#010203": "--accent", "#020304": "--ink", "#030405": "--muted", "#040506": "--rule", "#050607": "--paper"}
ACCENT, INK, MUTED, RULE, PAPER = COLOURS
STYLE: Any = {  # Matplotlib has a type of its own for the keys
    "svg.fonttype": "none",
    "svg.hashsalt": "borealis",
    "text.parse_math": False,  # names of tasks may hold dollar signs
    "font.size": 11,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 10.5,
    "lines.linewidth": 1.6,
    "path.simplify": True,
}
POINTS_PER_INCH = 72
WIDE, NARROW = (440, 245), (300, 150)
CHAR_WIDTH, MAX_LABEL_CHARS = 6.2, 28
METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))

Rows = Sequence[Mapping[str, Any]]


@contextmanager
def drawing(width: float, height: float, left: float = 44, bottom: float = 42) -> Iterator[tuple[Figure, Any]]:
    """A figure of so many SVG points, and its axes; margins are given, as measuring text doubles the time."""
    with rc_context(STYLE), warnings.catch_warnings():
        # The browser draws the text with its own fonts; Matplotlib only measures it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        size = (width / POINTS_PER_INCH, height / POINTS_PER_INCH)
        figure = Figure(figsize=size, facecolor="none")
        axes = figure.add_axes((left / width, bottom / height, 1 - (left + 14) / width, 1 - (bottom + 24) / height))
        axes.set_facecolor("none")
        yield figure, axes


def as_svg(figure: Figure, name: str, description: str) -> Markup:
    """The figure as an inline SVG element with a spoken description."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=METADATA, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    view = re.search(r'viewBox="[^"]*"', text)
    assert view is not None, "Matplotlib writes a viewBox"
    head = f'<svg class="chart" {view[0]} role="img" aria-label="{escape(description)}">'
    text = head + re.sub(
        r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>|<metadata>.*?</metadata>|<!--.*?-->",
        "",
        text[text.index(">") + 1 :],
        flags=re.DOTALL,
    )
    for colour, variable in COLOURS.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    text = re.sub(r"\n\s*", "\n", text).replace("xlink:href", "href")
    return Markup(_own_ids(text, name))  # noqa: S704 - written by Matplotlib, which escapes the words that it draws


def _own_ids(svg: str, name: str) -> str:
    """Ids must be unique in a page: keep those that are referred to, under the chart's name; remove the others."""
    used = set(re.findall(r'(?:url\(#|href="#)([\w.-]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", svg)
    return re.sub(r'(url\(#|href="#)([\w.-]+)', rf"\g<1>{name}-\g<2>", svg)


def _finite(values: Sequence[float | None]) -> list[float]:
    """What cannot be drawn (null, infinite) becomes a gap."""
    return [v if v is not None and math.isfinite(v) else math.nan for v in values]


class Marks(NamedTuple):
    """Steps to be marked on a curve: of spikes, with their classes, and of checkpoints."""

    spikes: Sequence[tuple[int, str]] = ()
    checkpoints: Sequence[int] = ()


NO_MARKS = Marks()


def loss(name: str, title: str, steps: Rows, held_out: Mapping[str, Rows], marks: Marks = NO_MARKS) -> Markup:
    """Training loss by step, held-out losses as points, spikes marked at the top and checkpoints at the bottom."""
    with drawing(*WIDE) as (figure, axes):
        axes.plot(_column(steps, "step"), _column(steps, "loss"), color=ACCENT, alpha=0.85, label="training")
        for i, (label, rows) in enumerate(held_out.items()):
            marker = "osD^v"[i % 5]
            at, values = _column(rows, "step"), _column(rows, "value")
            axes.plot(at, values, color=INK, linewidth=0.9, marker=marker, markersize=4.5, label=label)
        words = _mark(axes, marks)
        axes.set_xlabel("step")
        axes.set_title(title)
        axes.legend(loc="best")
        last = next((v for v in reversed(_column(steps, "loss")) if not math.isnan(v)), math.nan)
        return as_svg(figure, name, f"{title}: line chart over {len(steps)} points, ending at {last:.4g}{words}")


def _mark(axes: Any, marks: Marks) -> str:
    """Draw the marks at the edges of the axes, so that they do not stretch them; in words, how many."""
    edge, words = axes.get_xaxis_transform(), ""
    if marks.checkpoints:
        places = [0.0] * len(marks.checkpoints)
        axes.plot(marks.checkpoints, places, "|", transform=edge, color=MUTED, markersize=9, label="checkpoint")
        words += f"; {len(marks.checkpoints)} checkpoints"
    for i, cause in enumerate(sorted({cause for _, cause in marks.spikes})):
        at = [step for step, one in marks.spikes if one == cause]
        axes.vlines(at, 0, 1, transform=edge, color=INK, linewidth=0.7, linestyle=(0, (2, 2)))
        look = {"color": INK, "markerfacecolor": PAPER if i % 2 else INK, "markersize": 7, "clip_on": False}
        axes.plot(at, [1.0] * len(at), "v^sD"[i % 4], transform=edge, linestyle="none", label=f"spike: {cause}", **look)
        words += f"; {len(at)} spikes of class {cause}"
    return words


def bits_per_byte(name: str, rows: Rows, baseline: float) -> Markup:
    """The model's bits per byte by step, above or below the unigram baseline."""
    with drawing(*WIDE) as (figure, axes):
        values = _column(rows, "bits_per_byte")
        axes.plot(_column(rows, "step"), values, color=ACCENT, marker="o", markersize=4.5, label="model")
        axes.axhline(baseline, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label=BASELINE)
        axes.set_xlabel("step")
        axes.set_title("held-out bits per byte (lower is better)")
        axes.legend(loc="best")
        words = f"Held-out bits per byte by step, ending at {values[-1]:.4g}; the {BASELINE} baseline is {baseline:.4g}"
        return as_svg(figure, name, words)


def by_domain(name: str, domains: Mapping[str, Rows]) -> Markup:
    """Held-out bits per byte by step: all text, and each domain with a mark of its own."""
    with drawing(*WIDE) as (figure, axes):
        for i, (domain, rows) in enumerate(domains.items()):
            whole = domain == ALL_TEXT
            look = {"color": ACCENT, "linewidth": 2.2} if whole else {"color": INK, "linewidth": 0.8, "alpha": 0.9}
            marker = {"marker": "o" if whole else "sD^vPX"[(i - 1) % 6], "markersize": 4.5}
            fill = {} if whole else {"markerfacecolor": PAPER}
            label = "all text" if whole else domain
            axes.plot(_column(rows, "step"), _column(rows, "bits_per_byte"), label=label, **look, **marker, **fill)
        axes.set_xlabel("step")
        axes.set_title("held-out bits per byte by domain (lower is better)")
        axes.legend(loc="best", ncols=2)
        last = ", ".join(f"{domain} {_column(rows, 'bits_per_byte')[-1]:.4g}" for domain, rows in domains.items())
        return as_svg(figure, name, f"Held-out bits per byte by step and domain, ending at: {last}")


def small(name: str, title: str, steps: Rows, column: str) -> Markup | None:
    """A small chart of one column by step; none where it was never measured."""
    values = _column(steps, column)
    known = [v for v in values if not math.isnan(v)]
    if not known:
        return None
    with drawing(*NARROW, left=52, bottom=24) as (figure, axes):
        axes.plot(_column(steps, "step"), values, color=ACCENT, linewidth=1.3)
        axes.set_title(title)
        axes.locator_params(nbins=5)
        axes.yaxis.set_major_formatter(lambda value, _: number(float(f"{value:.6g}")))
        words = f"{title} by step: from {known[0]:.4g} to {known[-1]:.4g}"
        return as_svg(figure, name, words)


def histogram(name: str, title: str, rows: Rows) -> Markup:
    """Documents by their tokens."""
    with drawing(*WIDE) as (figure, axes):
        starts, counts = _column(rows, "start"), _column(rows, "num_documents")
        widths = [r["stop"] - r["start"] for r in rows]
        axes.bar(starts, counts, widths, align="edge", color=ACCENT, edgecolor=PAPER, linewidth=1.0)
        axes.grid(visible=False, axis="x")
        axes.set_title(title)
        axes.set_xlabel("tokens")
        axes.yaxis.get_major_locator().set_params(integer=True)
        return as_svg(figure, name, f"{title}: histogram of {sum(counts):.0f} documents")


def scores(name: str, title: str, rows: Rows, who: Mapping[Contestant, str]) -> Markup:
    """Tasks on one axis: a point and a 95 % interval for each contestant, and what the baseline scores.

    `rows` are those of `evaluation.scores`, with a `label` each.
    """
    labels = [shorten(r["label"], MAX_LABEL_CHARS) for r in rows]
    left = 20 + CHAR_WIDTH * max(map(len, labels))
    with drawing(WIDE[0], 90 + 17 * len(rows) * (len(who) + 1), left, 56) as (figure, axes):
        for i, (contestant, label) in enumerate(who.items()):
            shown = [(y, *r["values"][contestant]) for y, r in enumerate(rows) if contestant in r["values"]]
            if shown:
                offset = (i - (len(who) - 1) / 2) * 0.6 / len(who)
                _contestant(axes, shown, offset, label, _look(i, len(who)))
        _baselines(axes, rows)
        axes.set_yticks(range(len(rows)), labels)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.locator_params(axis="x", nbins=6)
        axes.grid(visible=False, axis="y")
        axes.set_title(f"{title} ({'higher' if rows[0]['higher_is_better'] else 'lower'} is better)")
        figure.legend(loc="lower left", ncols=3)
        return as_svg(figure, name, f"{title} with 95 % intervals; the values are in the table of scores")


def fertility(name: str, title: str, rows: Rows, tokenizers: Sequence[str]) -> Markup:
    """Kinds of text on one axis, tokens a byte on the other: a point a tokenizer. `rows` have `kind` and `values`."""
    with drawing(WIDE[0], 90 + 14 * len(rows) * (len(tokenizers) + 1), 60, 56) as (figure, axes):
        for i, tokenizer in enumerate(tokenizers):
            offset, look = (i - (len(tokenizers) - 1) / 2) * 0.6 / len(tokenizers), _look(i, len(tokenizers))
            at = [y + offset for y, r in enumerate(rows) if tokenizer in r["values"]]
            values = [r["values"][tokenizer] for r in rows if tokenizer in r["values"]]
            axes.errorbar(values, at, markersize=6, linestyle="none", label=shorten(tokenizer, MAX_LABEL_CHARS), **look)
        axes.set_yticks(range(len(rows)), [r["kind"] for r in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.grid(visible=False, axis="y")
        axes.set_title(f"{title} (fewer is better)")
        figure.legend(loc="lower left", ncols=3)
        return as_svg(figure, name, f"{title}, by kind of text and tokenizer; the values are in the table beside it")


def _look(i: int, count: int) -> dict[str, str]:
    """The last contestant carries the accent; shapes tell the others apart without colour."""
    if i == count - 1:
        return {"fmt": "o", "color": ACCENT, "markerfacecolor": ACCENT}
    return {"fmt": "sD^v"[i % 4], "color": INK, "markerfacecolor": PAPER}


def _contestant(
    axes: Any, shown: Sequence[tuple[int, float, float | None]], offset: float, label: str, look: Mapping[str, str]
) -> None:
    values = _finite([value for _, value, _ in shown])
    errors = [INTERVAL_95 * e if e is not None and math.isfinite(e) else 0.0 for _, _, e in shown]
    at = [y + offset for y, _, _ in shown]
    axes.errorbar(values, at, xerr=errors, markersize=6, capsize=3, linewidth=1.4, label=label, **look)


def _baselines(axes: Any, rows: Rows) -> None:
    named: set[str] = set()
    for y, row in enumerate(rows):
        if row["baseline"]:
            label, value = row["baseline"]
            dashes = {"color": MUTED, "linewidth": 1.4, "linestyle": (0, (2, 2))}
            axes.plot([value, value], [y - 0.4, y + 0.4], label=None if label in named else label, **dashes)
            named.add(label)


def _column(rows: Rows, name: str) -> list[float]:
    return _finite([r[name] for r in rows])
