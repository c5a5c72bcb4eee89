"""Train the router: pages whose text is known, what the free pass and each OCR engine make of them, boosted trees.

Predictions are calibrated out of fold, a fold being families of layouts that the others do not have, so that the gains
are as true for a new journal as they can be known to be; parsers that read pictures have one calibration, which cannot change their order. Pages that no engine has read still teach what a text layer is
worth. With pages of a user's own (any `Known`) the router learns their corpus.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages.parse import pdf
from stages.parse.layout import document_text
from stages.parse.lines import Page
from stages.parse.parsers import cost
from stages.parse.router.calibrate import calibrated, isotonic, reliability
from stages.parse.router.model import LAYER, Model, Parser, chars_of, columns, cost_table, feature_table, inputs, ruled
from stages.parse.router.trees import Floats, Trees, fit
from stages.parse.score import score
from stages.parse.score.markup import plain
from stages.parse.train.pages import Known
from stages.parse.train.readings import Reading

NUM_FOLDS = 4
FULL = 0.9  # of the pages have less text an area than one that is full


@dataclass(frozen=True)
class Labelled:
    """A known page: as the free pass has it, the layer's quality, and by each parser that read it quality and seconds."""

    known: Known
    page: Page
    layer: float
    read: Mapping[str, tuple[float, float]]


def page_text(page: Page) -> str:
    """A page's words as they would be in a document of this page alone, without signs of Markdown."""
    text = document_text([page])[0]
    return plain(text) if any(line.kind != "text" for line in page.lines) else text


def label(known: Known, readings: Mapping[str, Reading]) -> Labelled:
    """Score what the free pass and the engines make of a page."""
    document = pdf.open_pdf(str(known.path))
    page = pdf.read_page(document, known.index)
    document.close()
    layer = 0.0 if page.verdict == "garbled" else score(known.truth, page_text(page)).quality
    read = {p: (score(known.truth, page_text(r.page)).quality, r.seconds) for p, r in readings.items()}
    return Labelled(known, page, layer, read)


def train(rows: Sequence[Labelled], parsers: Iterable[str]) -> Model:
    """A model of `parsers` from labelled pages, with its calibration plots' points in `facts`."""
    table = feature_table([r.page for r in rows])
    signs = columns(table, LAYER)
    layer = np.array([r.layer for r in rows])
    folds = _folds([r.known.group for r in rows])
    guessed = ruled([r.page for r in rows], _out_of_fold(signs, layer, folds, _trees))
    fitted = {name: _fitted(name, rows, table, (layer, guessed, folds)) for name in parsers}
    plots, found = {}, {}
    for name, mine in fitted.items():
        alike = [f for other, f in fitted.items() if (cost(other) == "text") == (cost(name) == "text")]
        line = isotonic if cost(name) == "text" else calibrated  # most gains over a good layer are none
        calibration = line(np.concatenate([f.predicted for f in alike]), np.concatenate([f.gain for f in alike]))
        plots[name] = [[round(v, 4) for v in p] for p in reliability(calibration(mine.predicted), mine.gain)]
        found[name] = Parser(mine.trees, calibration, mine.seconds)
    facts = {"pages": len(rows), "read": {n: sum(n in r.read for r in rows) for n in found}, "calibration": plots}
    full = float(np.quantile(_chars(rows) / columns(table, ("area",))[:, 0], FULL))
    return Model(_trees(signs, layer), found, full, table.min(axis=0), table.max(axis=0), facts)


class Fitted(NamedTuple):
    """A parser's trees, its pages' gains as predicted out of fold and as they are, its seconds."""

    trees: Trees
    predicted: Floats
    gain: Floats
    seconds: tuple[float, ...]


def _fitted(name: str, rows: Sequence[Labelled], table: Floats, layers: tuple[Floats, Floats, Floats]) -> Fitted:
    """Learn a parser from the pages that it read; `layers` are their qualities, as they are and as predicted, and folds."""
    have = np.array([i for i, r in enumerate(rows) if name in r.read])
    layer, guessed, folds = (values[have] for values in layers)
    quality = np.array([rows[i].read[name][0] for i in have])
    seen, of_layer = inputs(name, table[have]), cost(name) == "text"
    target, grow = (quality - layer, _trees) if of_layer else (_shared(name, rows, have.tolist()), _both)
    predicted = _out_of_fold(seen, target, folds, grow) - (0.0 if of_layer else guessed)
    parts = cost_table(table[have], _chars([rows[i] for i in have]))
    seconds = _seconds(parts, np.array([rows[i].read[name][1] for i in have]))
    return Fitted(grow(seen, target), predicted, quality - layer, seconds)


def _trees(table: Floats, quality: Floats) -> Trees:
    return fit(table, quality, num_trees=60 if len(table) < 400 else 120, min_leaf=max(6, len(table) // 80))


def _shrubs(table: Floats, quality: Floats) -> Trees:
    """Few splits of many rows each: readings are few, and parsers are compared by differences that are small."""
    return fit(table, quality, num_trees=30, min_leaf=max(6, len(table) // 4))


def _shared(name: str, rows: Sequence[Labelled], have: Sequence[int]) -> Floats:
    """The mean quality of all engines that read a page's picture, and what this one is better: two columns.

    They are learned apart, because what makes a picture hard for all of them says nothing of who is better at it.
    """
    alike = [{p: q for p, (q, _) in rows[i].read.items() if cost(p) != "text"} for i in have]
    means = np.array([np.mean(list(found.values())) for found in alike])
    return np.stack([means, [found[name] for found in alike] - means], axis=1)


def _both(table: Floats, target: Floats) -> Trees:
    return _shrubs(table, target[:, 0]) + _shrubs(table, target[:, 1])


def _folds(groups: Sequence[str]) -> Floats:
    """A fold for every row; a group is in one."""
    numbers = {group: i % NUM_FOLDS for i, group in enumerate(sorted(set(groups)))}
    return np.array([numbers[g] for g in groups])


def _out_of_fold(table: Floats, target: Floats, folds: Floats, grow: Callable[[Floats, Floats], Trees]) -> Floats:
    """Each row's prediction by trees that saw no row of its fold."""
    found = np.full(len(table), float(target.sum() / len(target)))
    for fold in range(NUM_FOLDS):
        inside, outside = folds == fold, folds != fold
        if inside.any() and outside.sum() >= 20:
            found[inside] = grow(table[outside], target[outside]).predict(table[inside])
    return found


def _chars(rows: Sequence[Labelled]) -> Floats:
    """Characters of pages, by their truth where there is no layer to count them."""
    layers = chars_of(feature_table([r.page for r in rows]), 0.0)
    return np.where(layers > 0, layers, [float(len("".join(r.known.truth.split()))) for r in rows])


def _seconds(parts: Floats, seconds: Floats) -> tuple[float, ...]:
    """Least squares with no weight below zero: the worst weight goes until none is."""
    kept = list(range(parts.shape[1]))
    while kept:
        weights = np.linalg.lstsq(parts[:, kept], seconds, rcond=None)[0]
        if weights.min() >= 0:
            break
        kept.pop(int(weights.argmin()))
    found = np.zeros(parts.shape[1])
    found[kept] = weights
    return tuple(round(float(w), 5) for w in found)


def calibration_plot(model: Model, file: Path) -> None:
    """Predicted gains against true ones, of pages left out, for each parser."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([-1, 1], [-1, 1], color="0.7", linewidth=1)
    for name, points in model.facts["calibration"].items():
        axes.plot([p[0] for p in points], [p[1] for p in points], "o-", label=name)
    axes.set(xlabel="predicted gain in quality", ylabel="true gain, on layouts left out")
    axes.legend()
    figure.savefig(file, dpi=120)
