"""Weights become exact counts, phases and epochs, and what is wrong with them is said at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.tokens import MixtureShare
from stages.base import SettingsError
from stages.stream.apportion import ONE, Apportionment
from stages.stream.mixture import (
    Supply,
    left_out,
    phases_of,
    plan,
    quantize,
    repeated,
    shares,
    weights_by_size,
)

SOURCES = ["arxiv", "code", "web"]
SUPPLIES = [Supply("arxiv", 8001, 1000), Supply("code", 801, 100), Supply("web", 80_001, 10_000)]


def test_quantized_weights_are_a_whole() -> None:
    """Integers sum to 2^40, follow the weights within one unit, and equal weights differ by at most one."""
    assert quantize([1, 1, 2]).tolist() == [ONE // 4, ONE // 4, ONE // 2]
    thirds = quantize([1, 1, 1])
    assert thirds.sum() == ONE
    assert thirds.max() - thirds.min() == 1


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.just(0.0), st.floats(1e-11, 1e3)), min_size=1, max_size=50).filter(any))
def test_any_weights_quantize(weights: list[float]) -> None:
    """Nothing is lost or invented: the sum is whole, only zero is zero, and doing it twice changes nothing."""
    parts = quantize(weights)
    assert parts.sum() == ONE
    assert [p > 0 for p in parts] == [w > 0 for w in weights]
    assert quantize([int(p) / ONE for p in parts]).tolist() == parts.tolist()
    tiny = sum(0 < w < 2 * sum(weights) / ONE for w in weights)
    assert np.abs(parts - np.array(weights) / sum(weights) * ONE).max() <= 1 + tiny + 1e-3


def test_weights_by_size() -> None:
    """By size is in proportion; a temperature of 2 is the square root; a source without tokens has no weight."""
    tokens = {"a": 100, "b": 400, "c": 0}
    assert weights_by_size(tokens) == {"a": 0.25, "b": 1.0}
    assert weights_by_size(tokens, temperature=2) == {"a": 0.5, "b": 1.0}
    flat = weights_by_size({"a": 1, "b": 10**13}, temperature=1e9)
    assert flat["a"] == pytest.approx(1, abs=1e-6)


def test_phases() -> None:
    """Phases follow one another without a gap, end where they say, and hold a weight for each source of the corpus."""
    phases = plan([(0.5, {"web": 3, "code": 1}), (0.9, {"web": 1}), (1, {"arxiv": 1, "web": 1})], SOURCES, 101)
    assert [(p.first_step, p.last_step, p.num_steps) for p in phases] == [(1, 51, 51), (52, 91, 40), (92, 101, 10)]
    assert (phases[0].parts / ONE).tolist() == [0, 0.25, 0.75]
    assert (phases[2].parts / ONE).tolist() == [0.5, 0, 0.5]
    assert left_out(phases, SOURCES) == []
    assert left_out(phases[:2], SOURCES) == ["arxiv"]


def test_problems_are_listed_at_once() -> None:
    """A source that is not there (with the nearest), zero and negative weights, empty phases: each in one error."""
    with pytest.raises(SettingsError) as error:
        plan([(0.5, {"arxvi": 1, "web": 0, "code": -1}), (0.501, {"web": 1}), (0.9, {})], SOURCES, 100)
    assert str(error.value).split("\n") == [
        "phases: the last must go until 1, the end of training",
        "phase 1: weights name 'arxvi', which the corpus does not have; the nearest of its sources: 'arxiv'",
        "phase 1: weight 0 of 'web': expected a number above 0; to leave a source out, do not name it",
        "phase 1: weight -1 of 'code': expected a number above 0; to leave a source out, do not name it",
        "phase 2: no step of 100 lies before 0.501 and after the phase before it",
        "phase 3: no weights",
    ]


def test_what_cannot_be_mixed() -> None:
    """Too many sources, no source at all, no phase, and a weight too small to count are refused."""
    many = [str(n) for n in range(32_768)]
    with pytest.raises(SettingsError, match=r"32,768 sources, at most 32,767 can be mixed"):
        plan([(1, {"0": 1})], many, 10)
    with pytest.raises(SettingsError, match="the corpus has no training tokens"):
        plan([(1, {})], [], 10)
    with pytest.raises(SettingsError, match="the last must go until 1"):
        plan([], SOURCES, 10)
    with pytest.raises(SettingsError, match=r"the smallest weight, 1e-13, is below 2\^-40"):
        plan([(1, {"web": 1, "code": 1e-13})], SOURCES, 10)
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(SettingsError, match="expected a number above 0"):
            plan([(1, {"web": wrong, "code": 1})], SOURCES, 10)


def test_the_most_sources_that_can_be_mixed() -> None:
    """32,767 sources are planned, each with a weight."""
    names = [str(n) for n in range(32_767)]
    (phase,) = plan([(1, weights_by_size({name: n + 1 for n, name in enumerate(names)}))], names, 10)
    assert (phase.parts > 0).all()


def test_shares_count_what_the_run_takes() -> None:
    """Rows hold weight, samples taken in the phase and epochs so far; taken samples sum to the phase's batches."""
    phases = plan([(0.5, {"code": 1, "web": 3}), (1, {"code": 1, "arxiv": 1})], SOURCES, 100)
    rows = shares(phases, SUPPLIES, batch_sequences=8)
    assert [(r.phase, r.source, r.weight) for r in rows] == [
        (0, "code", 0.25),
        (0, "web", 0.75),
        (1, "arxiv", 0.5),
        (1, "code", 0.5),
    ]
    assert [r.num_taken for r in rows] == [100, 300, 200, 200]
    assert [r.epochs for r in rows] == [1.0, 0.03, 0.2, 3.0]
    assert {(r.first_step, r.last_step) for r in rows} == {(1, 50), (51, 100)}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(SOURCES), st.floats(1e-6, 1), min_size=1), min_size=1, max_size=4))
def test_rows_hold_the_phases(weights: list[dict[str, float]]) -> None:
    """The phases are read back from the rows exactly, also after they went through a table."""
    stages = [((n + 1) / len(weights), w) for n, w in enumerate(weights)]
    phases = plan(stages, SOURCES, 97)
    rows = [MixtureShare.model_validate(r) for r in MixtureShare.table(shares(phases, SUPPLIES, 16)).to_pylist()]
    again = phases_of(rows, SOURCES)
    assert [(p.first_step, p.last_step, p.parts.tolist()) for p in again] == [
        (p.first_step, p.last_step, p.parts.tolist()) for p in phases
    ]
    for number, phase in enumerate(phases):
        taken = sum(r.num_taken for r in rows if r.phase == number)
        assert taken == phase.num_steps * 16


def test_over_repetition_is_named() -> None:
    """A source that the run goes through more often than allowed is named with its epochs and what would help."""
    rows = shares(plan([(1, {"code": 1, "web": 1})], SOURCES, 100), SUPPLIES, batch_sequences=10)
    (words,) = repeated(rows, max_epochs=4)
    assert words == ("code: 5.0 epochs of 801 tokens, above max_epochs 4; a weight 1.2 times smaller would keep it")
    assert repeated(rows, max_epochs=5) == []


def test_weights_are_kept_over_a_run() -> None:
    """Over a run the samples taken are the weights' share, within a few samples, for weights of many sizes."""
    weights = {str(n): 1 / (n + 1) ** 2 for n in range(60)}
    (phase,) = plan([(1, weights)], list(weights), 100_000)
    taken = Apportionment(phase.parts, 64).given(np.full(60, 100_000), np.arange(60))
    targets = np.array(list(weights.values())) / sum(weights.values()) * 64 * 100_000
    assert np.abs(taken - targets).max() < 13  # 2 (log2(100,000) / 3 + 1)
