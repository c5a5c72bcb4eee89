"""Boosted trees and isotonic regression, against scikit-learn where it is installed."""

import json

import numpy as np
import pytest

from stages.parse.router.calibrate import Calibration, calibrated, isotonic, reliability
from stages.parse.router.trees import NUM_BINS, Trees, fit


def data(num_rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Six columns, of which three matter, one of them by a step."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(num_rows, 6))
    target = (
        np.where(table[:, 0] > 0.3, 1.0, 0.0) + 0.4 * table[:, 1] * (table[:, 2] > 0) + rng.normal(0, 0.05, num_rows)
    )
    return table, target


def test_trees_learn_as_well_as_scikit_learn() -> None:
    """On rows that were not seen, the squared error is at most a tenth above that of scikit-learn's trees on as many bins."""
    ensemble = pytest.importorskip("sklearn.ensemble")
    (table, target), (new, truth) = data(800, 0), data(400, 1)
    ours = fit(table, target, num_trees=100).predict(new)
    peer = ensemble.HistGradientBoostingRegressor(
        max_iter=100, max_depth=3, max_leaf_nodes=8, min_samples_leaf=8, max_bins=NUM_BINS, early_stopping=False
    )
    theirs = peer.fit(table, target).predict(new)
    assert np.mean((ours - truth) ** 2) < 1.1 * np.mean((theirs - truth) ** 2)


def test_trees_survive_json() -> None:
    """Trees written as JSON and read back predict the same to six digits."""
    table, target = data(200, 2)
    trees = fit(table, target, num_trees=20)
    again = Trees.of(json.loads(json.dumps(trees.plain())))
    np.testing.assert_allclose(again.predict(table), trees.predict(table), atol=1e-4)


def test_nothing_to_learn() -> None:
    """A target that is one number is predicted as that number, and so are rows that are all alike."""
    table, _ = data(50, 3)
    np.testing.assert_allclose(fit(table, np.full(50, 0.7)).predict(table), 0.7)
    alike = np.ones((50, 2))
    np.testing.assert_allclose(fit(alike, np.arange(50.0)).predict(alike), 24.5)


def test_isotonic_is_that_of_scikit_learn() -> None:
    """The calibrated line has scikit-learn's isotonic values in the mean, never falls, and is level beyond its ends."""
    peer = pytest.importorskip("sklearn.isotonic")
    rng = np.random.default_rng(4)
    predicted = rng.uniform(-1, 1, 300)
    true = predicted**3 + rng.normal(0, 0.1, 300)
    ours = isotonic(predicted, true)(predicted)
    theirs = peer.IsotonicRegression().fit_transform(predicted, true)
    assert np.abs(ours - theirs).mean() < 0.03
    line = isotonic(predicted, true)(np.linspace(-3, 3, 200))
    assert (np.diff(line) >= -1e-12).all()
    assert line[0] == line[5]
    again = Calibration.of(json.loads(json.dumps(isotonic(predicted, true).plain())))
    np.testing.assert_allclose(again(predicted), ours, atol=1e-5)


def test_reliability() -> None:
    """The points of a calibration plot hold every row once, in the order of the predictions."""
    points = reliability(np.arange(10.0), np.arange(10.0) * 2, num_bins=3)
    assert [n for *_, n in points] == [4, 3, 3]
    assert points[0][:2] == (1.5, 3.0)


def test_a_calibration_ties_no_two_predictions() -> None:
    """Half of it is scikit-learn's isotonic values' mean line, half numpy's line: it rises everywhere, and is true on average."""
    rng = np.random.default_rng(5)
    predicted = rng.normal(size=300)
    true = np.round(predicted) + rng.normal(scale=0.3, size=300)
    found = calibrated(predicted, true)
    slope, start = np.polyfit(predicted, true, 1)
    expected = (isotonic(predicted, true)(predicted) + start + slope * predicted) / 2
    assert found(predicted) == pytest.approx(expected, abs=0.02)
    assert (np.diff(found(np.sort(predicted))) > 0).all()
    assert found(predicted).mean() == pytest.approx(true.mean(), abs=0.02)
    falling = calibrated(predicted, -predicted)
    assert (np.diff(falling(np.sort(predicted))) >= 0).all()


def test_trees_add_up() -> None:
    """The sum of two models predicts the sum of what they predict."""
    rng = np.random.default_rng(6)
    table, first, second = rng.normal(size=(60, 3)), rng.normal(size=60), rng.normal(size=60)
    one, other = fit(table, first, num_trees=7), fit(table, second, num_trees=5)
    assert (one + other).predict(table) == pytest.approx(one.predict(table) + other.predict(table))
    assert Trees.of(json.loads(json.dumps((one + other).plain()))).predict(table) == pytest.approx(
        (one + other).predict(table), abs=1e-4
    )
