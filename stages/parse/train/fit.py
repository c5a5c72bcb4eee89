"""Train the router: pages whose text is known, what the free pass and each OCR engine make of them, boosted trees.

Predictions are calibrated out of fold, a fold being families of layouts that the others do not have, so that the gains
are as true for a new journal as they can be known to be. Pages that no engine has read still teach what a text layer is
worth. With pages of a user's own (any `Known`) the router learns their corpus.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.parse import pdf
from stages.parse.layout import document_text
from stages.parse.lines import Page
from stages.parse.router.calibrate import isotonic, reliability
from stages.parse.router.model import LAYER, PICTURE, Model, Parser, columns, cost_table, feature_table, ruled
from stages.parse.router.trees import Floats, Trees, fit
from stages.parse.score import score
from stages.parse.train.pages import Known
from stages.parse.train.readings import Reading

NUM_FOLDS = 4


@dataclass(frozen=True)
class Labelled:
    """A known page: as the free pass has it, the layer's quality, and by each parser that read it quality and seconds."""

    known: Known
    page: Page
    layer: float
    read: Mapping[str, tuple[float, float]]


def page_text(page: Page) -> str:
    """A page's text as it would be in a document of this page alone."""
    return document_text([page])[0]


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
    signs, pictures = columns(table, LAYER), columns(table, PICTURE)
    layer = np.array([r.layer for r in rows])
    folds = _folds([r.known.group for r in rows])
    guessed = ruled([r.page for r in rows], _out_of_fold(signs, layer, folds))
    found: dict[str, Parser] = {}
    plots = {}
    for name in parsers:
        have = np.array([i for i, r in enumerate(rows) if name in r.read])
        quality = np.array([rows[i].read[name][0] for i in have])
        gain = quality - layer[have]
        predicted = _out_of_fold(pictures[have], quality, folds[have]) - guessed[have]
        calibration = isotonic(predicted, gain)
        plots[name] = [[round(v, 4) for v in point] for point in reliability(calibration(predicted), gain)]
        seconds = _seconds(table[have], np.array([rows[i].read[name][1] for i in have]))
        found[name] = Parser(_trees(pictures[have], quality), calibration, seconds)
    facts = {"pages": len(rows), "read": {n: sum(n in r.read for r in rows) for n in found}, "calibration": plots}
    return Model(_trees(signs, layer), found, table.min(axis=0), table.max(axis=0), facts)


def _trees(table: Floats, quality: Floats) -> Trees:
    return fit(table, quality, num_trees=60 if len(table) < 400 else 120, min_leaf=max(6, len(table) // 80))


def _folds(groups: Sequence[str]) -> Floats:
    """A fold for every row; a group is in one."""
    numbers = {group: i % NUM_FOLDS for i, group in enumerate(sorted(set(groups)))}
    return np.array([numbers[g] for g in groups])


def _out_of_fold(table: Floats, target: Floats, folds: Floats) -> Floats:
    """Each row's prediction by trees that saw no row of its fold."""
    found = np.full(len(table), float(target.mean()))
    for fold in range(NUM_FOLDS):
        inside, outside = folds == fold, folds != fold
        if inside.any() and outside.sum() >= 20:
            found[inside] = _trees(table[outside], target[outside]).predict(table[inside])
    return found


def _seconds(table: Floats, seconds: Floats) -> tuple[float, ...]:
    """Least squares with no weight below zero: the worst weight goes until none is."""
    kept, parts = list(range(4)), cost_table(table)
    while kept:
        weights = np.linalg.lstsq(parts[:, kept], seconds, rcond=None)[0]
        if weights.min() >= 0:
            break
        kept.pop(int(weights.argmin()))
    full = np.zeros(4)
    full[kept] = weights
    return tuple(round(float(w), 5) for w in full)


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
