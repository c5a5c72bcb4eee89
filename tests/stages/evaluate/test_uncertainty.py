"""Standard errors of ratios, and the unigram bound."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.evaluate.uncertainty import bits, perplexity, ratio_and_error, unigram_bits


def documents(count: int, seed: int) -> tuple[list[float], list[float]]:
    """Log-likelihoods and sizes of documents of unequal length, about 1.3 nats a byte."""
    rng = random.Random(seed)
    sizes = [float(rng.randrange(200, 4000)) for _ in range(count)]
    return [-size * rng.gauss(1.3, 0.2) for size in sizes], sizes


def test_equals_lm_evals_aggregation() -> None:
    """The values are those of lm-eval's own aggregation functions."""
    from lm_eval.api.metrics import bits_per_byte, weighted_perplexity

    likelihoods, sizes = documents(30, seed=0)
    items = list(zip(likelihoods, sizes, strict=True))
    assert perplexity(likelihoods, sizes)[0] == pytest.approx(weighted_perplexity(items), rel=1e-12)
    assert bits(likelihoods, sizes)[0] == pytest.approx(bits_per_byte(items), rel=1e-12)


def test_equals_the_error_of_a_mean_for_documents_of_one_size() -> None:
    """With equal sizes a ratio is a mean, and its error the sample's standard deviation over the root of n."""
    rng = random.Random(1)
    values = [rng.random() for _ in range(40)]
    ratio, error = ratio_and_error(values, [1.0] * 40)
    mean = sum(values) / 40
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / 39)
    assert ratio == pytest.approx(mean)
    assert error == pytest.approx(deviation / math.sqrt(40))


@pytest.mark.parametrize("function", [perplexity, bits])
def test_agrees_with_a_bootstrap_over_documents(function: object) -> None:
    """Drawing the documents anew 4,000 times gives the same error within 8 %."""
    assert callable(function)
    likelihoods, sizes = documents(60, seed=2)
    rng = random.Random(3)
    drawn = []
    for _ in range(4000):
        chosen = rng.choices(range(60), k=60)
        drawn.append(function([likelihoods[i] for i in chosen], [sizes[i] for i in chosen])[0])
    mean = sum(drawn) / len(drawn)
    spread = math.sqrt(sum((d - mean) ** 2 for d in drawn) / (len(drawn) - 1))
    assert function(likelihoods, sizes)[1] == pytest.approx(spread, rel=0.08)


def test_holds_the_truth_as_often_as_it_says() -> None:
    """In 600 corpora drawn anew, value ± 1.96 errors holds the true rate about 95 times in 100."""
    hits = 0
    for seed in range(600):
        value, error = bits(*documents(40, seed=seed))
        assert error is not None
        hits += abs(value - 1.3 / math.log(2)) < 1.96 * error
    assert 0.91 < hits / 600 < 0.98


def test_one_document_has_no_error() -> None:
    """A single document gives a value and no error, never an error of zero."""
    value, error = perplexity([-20.0], [10.0])
    assert value == pytest.approx(math.exp(2))
    assert error is None
    assert bits([-20.0], [10.0])[1] is None


@given(st.lists(st.lists(st.integers(0, 9), min_size=1), min_size=1))
def test_no_unigram_model_beats_the_bound(texts: list[list[int]]) -> None:
    """The entropy of the counts is at most what any other distribution over the same tokens needs."""
    tokens = [t for text in texts for t in text]
    uniform = len(tokens) * math.log2(10) / 100
    smoothed = [(tokens.count(t) + 1) / (len(tokens) + 10) for t in tokens]
    bound = unigram_bits(texts, 100)
    assert bound <= uniform + 1e-12
    assert bound <= -sum(math.log2(p) for p in smoothed) / 100 + 1e-12


def test_unigram_bits_of_a_fair_coin() -> None:
    """Two tokens equally often are one bit each: 8 tokens over 4 bytes are 2 bits a byte."""
    assert unigram_bits([[0, 1, 0, 1], [1, 1, 0, 0]], 4) == pytest.approx(2.0)


def test_a_perplexity_past_all_floats_is_infinite() -> None:
    """Text without spaces is one word of thousands of nats: infinity, without an error; the bits of it are exact."""
    assert perplexity([-50_000.0, -40_000.0], [1, 1]) == (math.inf, None)
    assert perplexity([-50_000.0], [1]) == (math.inf, None)
    value, error = perplexity([-709.0, -709.5], [1, 1])
    assert math.isfinite(value)
    assert error is not None
    assert bits([-50_000.0], [1])[0] == pytest.approx(50_000 / math.log(2), rel=1e-15)
