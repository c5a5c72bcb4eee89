"""Charts as SVG: valid, described, in the page's colours, safe with any words and numbers."""

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any

import pytest
from markupsafe import Markup

from workflows.report import charts

STEPS: list[dict[str, Any]] = [
    {"step": i, "loss": 9 / i, "gradient_norm": None, "learning_rate": 1e-4 * i, "tokens_per_second": 9e3}
    for i in range(1, 60)
]
HELD_OUT = [{"step": 20, "value": 1.0, "bits_per_byte": 2.0}, {"step": 50, "value": 0.5, "bits_per_byte": 1.0}]
WHO = {(0, "base"): "base", (1, "chat"): "chat"}


def scored(label: str, *values: tuple[float, float | None]) -> dict[str, Any]:
    """A row of scores."""
    found = dict(zip(WHO, values, strict=False))
    return {"label": label, "values": found, "higher_is_better": True, "baseline": ("chance", 0.25)}


def parsed(chart: Markup | None) -> ET.Element:
    """The chart as XML; fails if it is not well-formed."""
    assert chart is not None
    return ET.fromstring(chart)  # noqa: S314 - our own output


def words(chart: Markup | None) -> list[str]:
    """All texts that the chart shows."""
    return ["".join(e.itertext()) for e in parsed(chart).iter() if e.tag.endswith("text")]


def drawn() -> Sequence[Markup]:
    """One of each kind of chart."""
    small = charts.small("d", "learning rate", STEPS, "learning_rate")
    assert small is not None
    return [
        charts.loss("a", "loss", STEPS, {"held out": HELD_OUT}),
        charts.bits_per_byte("b", HELD_OUT, 2.5),
        charts.histogram("c", "lengths", [{"start": 0, "stop": 2, "num_documents": 3}]),
        small,
        charts.scores("e", "accuracy", [scored("task", (0.5, 0.1), (0.6, None))], WHO),
        charts.by_domain("f", {"all": HELD_OUT, "latex": HELD_OUT[:1], "smiles": HELD_OUT}),
    ]


@pytest.mark.parametrize("index", range(6))
def test_charts_are_plain_described_svg(index: int) -> None:
    """A chart is well-formed, has a description, scales by its viewBox, and carries no date, comment or metadata."""
    chart = drawn()[index]
    root = parsed(chart)
    assert root.get("role") == "img"
    assert len(root.get("aria-label", "")) > 10
    assert root.get("viewBox")
    assert root.get("width") is None
    assert not re.search(r"<!--|<metadata|<style|20\d\d-\d\d-\d\d", chart)
    assert len(chart) < 60_000


@pytest.mark.parametrize("index", range(6))
def test_colours_are_the_pages(index: int) -> None:
    """Every colour is a variable of the page, so that dark mode and print change it; none is left as a number."""
    chart = drawn()[index]
    assert set(re.findall(r"#[0-9a-fA-F]{6}\b", chart)) == set()
    used = set(re.findall(r"var\((--\w+)\)", chart))
    assert used <= set(charts.COLOURS.values())
    assert "--accent" in used


def test_ids_carry_the_charts_name() -> None:
    """Ids of different charts never meet, and every reference inside a chart has its target."""
    for name, chart in zip("abcdef", drawn(), strict=True):
        ids = set(re.findall(r' id="([^"]+)"', chart))
        assert all(i.startswith(f"{name}-") for i in ids)
        assert set(re.findall(r'(?:url\(|href=")#([^)"]+)', chart)) <= ids


def test_same_data_same_bytes() -> None:
    """Drawing twice gives the same text."""
    assert drawn() == drawn()


def test_words_stay_text_and_are_escaped() -> None:
    """Names of tasks and models are text elements, with markup and dollar signs as they are."""
    evil = '<script>$x^2$&"'
    who = {(0, "a"): evil}
    chart = charts.scores("s", evil, [{**scored(evil), "values": {(0, "a"): (0.5, 0.1)}}], who)
    assert "<script" not in chart
    assert words(chart).count(evil) == 2
    assert any(w.startswith(evil) and "higher is better" in w for w in words(chart))


def test_letters_without_a_font_here() -> None:
    """Letters that Matplotlib's own fonts lack are left to the browser without a warning."""
    assert "密度 🜁" in words(charts.scores("s", "acc", [scored("密度 🜁", (0.5, 0.1))], WHO))


def test_gaps_where_numbers_are_not_finite() -> None:
    """Infinite and missing values leave gaps; a column that was never measured makes no chart."""
    steps = [{**s, "loss": math.inf if s["step"] == 30 else s["loss"]} for s in STEPS]
    root = parsed(charts.loss("a", "loss", steps, {}))
    assert "inf" not in ET.tostring(root, encoding="unicode")
    assert charts.small("b", "gradient norm", STEPS, "gradient_norm") is None


def test_interval_is_95_percent() -> None:
    """The bar reaches 1.96 standard errors to either side of the point, by the axis's own scale."""
    chart = charts.scores("s", "acc", [scored("one", (0.4, 0.1)), scored("two", (0.8, 0.05))], {(0, "base"): "base"})
    lines = re.findall(r'd="M ([\d.]+) ([\d.]+) \nL ([\d.]+) \2 \n"[^>]*stroke: var\(--accent\)', chart)
    spans = sorted({float(x1) - float(x0) for x0, _, x1 in lines})[-2:]
    assert spans[1] / spans[0] == pytest.approx(2.0, rel=1e-3)
    ticks = [(float(w), float(x)) for x, w in re.findall(r'translate\(([\d.]+) [\d.]+\)">([\d.]+)</text>', chart)]
    if len(ticks) < 2:
        ticks = [(float(w), float(x)) for x, w in re.findall(r'<text[^>]* x="([\d.]+)"[^>]*>(0\.\d+)</text>', chart)]
    (w0, x0), (w1, x1) = ticks[0], ticks[-1]
    per_unit = (x1 - x0) / (w1 - w0)
    assert spans[1] / per_unit == pytest.approx(2 * 1.96 * 0.1, rel=1e-2)
