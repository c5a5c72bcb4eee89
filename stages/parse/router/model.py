"""What the router expects of a page: the quality of its text layer, and by each parser a quality and a time.

The layer's quality and each parser's are learned apart (boosted trees on `Features`), because the first needs no OCR to
learn from and so sees many more pages, each on the features that mean the same in every journal; the difference is calibrated on pages that were left out. Of a
parser that reads the layer itself, the gain is learned as it is, and a broken layer gains nothing. Seconds are a line in
what a parser's time goes with: the page's area and its characters. A page without a layer is taken to be full, as nearly
all pages of papers are. A page with features that no page of the training had is read as if it were at the edge of what
was seen, and counted: `strange` warns of such a corpus.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.parse.features import Features
from stages.parse.garble import SUSPECT_BITS
from stages.parse.lines import Page
from stages.parse.parsers import cost
from stages.parse.router.calibrate import Calibration
from stages.parse.router.trees import Floats, Trees

WEIGHTS = Path(__file__).with_name("weights.json")
SCANNED = 0.5  # of the page a picture, or of the characters hidden
MAX_ERRORS = 0.02  # of the characters
MIN_GAIN = 0.05  # expected; less than that is noise of two readings that are equally good
MIN_GAIN_OF_LAYER = 0.01  # of a parser that reads the layer too: what it does not mend it leaves as it is
MAX_STRANGE_SHARE = 0.2  # of a corpus's pages; from there on the router should be trained on pages like them
MARGIN = 0.25  # of a feature's range, outside of which a page is strange
MIN_CHARS = 100  # of a layer that tells how full its page is
MIN_SECONDS = 0.05  # a page, by any parser
LAYER = (  # what tells a layer's worth whatever the journal: no counts, no sizes, nothing of its layout
    "hidden_share", "map_errors", "bad_share", "bits", "sign_share", "wide_share", "ligatures", "lone_letters", "broken_words",
    "mixed_case", "word_length", "overlap", "backward", "image_share", "scanner",
)  # fmt: skip
PICTURE = ("image_share", "image_dpi", "bits_a_pixel", "hidden_share", "two_columns", "line_size", "area", "wide_share")
SHARES = (
    "image_share",
    "hidden_share",
    "bad_share",
    "map_errors",
    "bits",
    "lone_letters",
    "broken_words",
    "word_length",
)


@dataclass(frozen=True)
class Expected:
    """Of every page (rows), by each of `parsers` (columns): gain in quality over the layer, and seconds."""

    parsers: tuple[str, ...]
    layer: Floats
    gains: Floats
    seconds: Floats
    strange: NDArray[np.bool_]


@dataclass(frozen=True)
class Parser:
    """What is known of a parser: its quality (or gain, see `inputs`), what a predicted gain is worth, its seconds a page."""

    quality: Trees
    calibration: Calibration
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Model:
    """The router's weights: `full` is a full page's characters an area, `low` and `high` the training's range of features."""

    layer: Trees
    parsers: Mapping[str, Parser]
    full: float
    low: Floats
    high: Floats
    facts: Mapping[str, Any]

    def expect(self, pages: Sequence[Page], parsers: Sequence[str]) -> Expected:
        """What to expect of pages from the free pass by those of `parsers` that the model knows."""
        known = tuple(p for p in parsers if p in self.parsers)
        table = feature_table(pages)
        layer = ruled(pages, self.layer.predict(columns(table, LAYER)))
        predicted = [expected_gain(p, self.parsers[p].quality, table, layer) for p in known]
        gains = [self.parsers[p].calibration(g) for p, g in zip(known, predicted, strict=True)]
        parts = cost_table(table, chars_of(table, self.full))
        seconds = [np.maximum(parts @ np.asarray(self.parsers[p].seconds), MIN_SECONDS) for p in known]
        empty = np.array([p.verdict == "empty" for p in pages], dtype=bool)
        found = _columns(gains, (len(pages), len(known)))
        broken = np.array([p.needs_ocr for p in pages], dtype=bool)[:, None]
        of_layer = np.array([cost(p) == "text" for p in known], dtype=bool)
        found = np.where(broken, np.where(of_layer, 0.0, np.maximum(found, MIN_GAIN)), found)
        least = np.where(of_layer, MIN_GAIN_OF_LAYER, MIN_GAIN)
        found = np.where((found > 0) & ((found < least) | typeset(table)[:, None]), 0.0, found)
        shape = (len(pages), len(known))
        return Expected(
            known,
            layer,
            np.where(empty[:, None], -1.0, found),
            _columns(seconds, shape),
            self._strange(table),
        )

    def _strange(self, table: Floats) -> NDArray[np.bool_]:
        """Pages that are outside of the training's range in a feature that the router decides by."""
        room = MARGIN * (self.high - self.low)
        outside = (table < self.low - room) | (table > self.high + room)
        return np.asarray(columns(outside, SHARES).any(axis=1))

    def save(self, file: Path) -> None:
        """Write the weights, a few hundred kilobytes of JSON."""
        plain = {
            "facts": dict(self.facts), "features": list(Features._fields), "full": round(self.full, 1),
            "low": np.round(self.low, 6).tolist(), "high": np.round(self.high, 6).tolist(), "layer": self.layer.plain(),
            "parsers": {
                name: {"quality": p.quality.plain(), "calibration": p.calibration.plain(), "seconds": list(p.seconds)}
                for name, p in self.parsers.items()
            },
        }  # fmt: skip
        file.write_text(json.dumps(plain, separators=(",", ":")) + "\n")


@cache
def load(file: Path = WEIGHTS) -> Model:
    """The weights of the repository, or others; `ValueError` if they were made for other features."""
    plain = json.loads(file.read_text())
    if tuple(plain["features"]) != Features._fields or "full" not in plain:
        raise ValueError(f"{file} is for other features than these: run `parsl train-router`")
    parsers = {
        name: Parser(Trees.of(p["quality"]), Calibration.of(p["calibration"]), tuple(p["seconds"]))
        for name, p in plain["parsers"].items()
    }
    low, high = np.array(plain["low"]), np.array(plain["high"])
    return Model(Trees.of(plain["layer"]), parsers, plain["full"], low, high, plain["facts"])


def feature_table(pages: Sequence[Page]) -> Floats:
    """The features of pages, a row each."""
    return np.array([p.features for p in pages], dtype=float).reshape(len(pages), len(Features._fields))


def inputs(parser: str, table: Floats) -> Floats:
    """The features that a parser's trees see: of the picture, to tell its quality; of the layer, to tell a gain over it."""
    return columns(table, LAYER if cost(parser) == "text" else PICTURE)


def expected_gain(parser: str, trees: Trees, table: Floats, layer: Floats) -> Floats:
    """What a parser's trees say that it gains over a layer of that quality."""
    found = trees.predict(inputs(parser, table))
    return found if cost(parser) == "text" else found - layer


def columns(table: NDArray[Any], names: Sequence[str]) -> NDArray[Any]:
    """Some of the features."""
    return table[:, [Features._fields.index(name) for name in names]]


def ruled(pages: Sequence[Page], layer: Floats) -> Floats:
    """The layer's quality where a rule knows it: nothing is worth nothing, and a garbled layer hardly anything."""
    known = {"no text": 0.0, "garbled": 0.05, "suspect": 0.6}
    limits = np.array([known.get(p.verdict, 1.0) for p in pages])
    return np.asarray(np.clip(np.minimum(layer, limits), 0.0, 1.0))


def typeset(table: Floats) -> NDArray[np.bool_]:
    """Pages whose text was set, not read, and whose letters are those of a language: reading them again gains nothing."""
    hidden, image, errors, bad, bits = columns(
        table, ("hidden_share", "image_share", "map_errors", "bad_share", "bits")
    ).T
    as_set = (hidden < SCANNED) & (image < SCANNED) & (errors < MAX_ERRORS) & (bad < MAX_ERRORS)
    return np.asarray(as_set & (bits >= 0) & (bits < SUSPECT_BITS))


def chars_of(table: Floats, full: float) -> Floats:
    """Characters of pages, by their layers; a page without one is taken to be full."""
    chars, area = columns(table, ("num_chars", "area")).T
    return np.asarray(np.where(chars < MIN_CHARS, full * area, chars))


def cost_table(table: Floats, chars: Floats) -> Floats:
    """What a parser's time goes with, a row each page: 1, the area, thousands of characters."""
    return np.stack([np.ones(len(table)), columns(table, ("area",))[:, 0], chars / 1000], axis=1)


def _columns(found: Sequence[Floats], shape: tuple[int, int]) -> Floats:
    return np.stack(found, axis=1) if found else np.zeros(shape)
