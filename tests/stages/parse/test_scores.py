"""Scores of words, against sacrebleu, rouge-score, nltk and plain dynamic programming."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.parse.score import score
from stages.parse.score.words import (
    bleu,
    character_accuracy,
    common,
    distance,
    nid,
    rouge_l,
    tokens,
    word_accuracy,
)
from tests.stages.parse import conftest

TEXTS = st.text("abc de.", max_size=40)
WORDS = [*conftest.WORDS.lower().replace(".", "").split()[:15], "3.5"]


def altered(seed: int) -> tuple[str, str]:
    """A text of 60 words, and the same with some words changed, dropped and moved."""
    rng = random.Random(seed)
    truth = [rng.choice(WORDS) for _ in range(60)]
    text = [rng.choice(WORDS) if rng.random() < 0.15 else w for w in truth if rng.random() > 0.1]
    return " ".join(truth), " ".join(text[20:] + text[:20])


@pytest.mark.parametrize("seed", range(8))
def test_bleu_is_that_of_sacrebleu(seed: int) -> None:
    """BLEU of tokens is that of sacrebleu without its own tokenizer and without smoothing."""
    sacrebleu = pytest.importorskip("sacrebleu")
    truth, text = altered(seed)
    ours, theirs = " ".join(tokens(truth)), " ".join(tokens(text))
    found = sacrebleu.sentence_bleu(theirs, [ours], tokenize="none", smooth_method="none", use_effective_order=False)
    assert bleu(truth, text) == pytest.approx(found.score / 100, abs=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_rouge_is_that_of_rouge_score(seed: int) -> None:
    """ROUGE-L of words is that of rouge-score where its tokenizer and ours agree: letters and numbers only."""
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"])
    truth, text = (t.replace("3.5", "35") for t in altered(seed))
    assert rouge_l(truth, text) == pytest.approx(scorer.score(truth, text)["rougeL"].fmeasure, abs=1e-9)


@given(TEXTS, TEXTS)
def test_distance_is_that_of_nltk(first: str, second: str) -> None:
    """The bit-parallel Levenshtein distance is that of nltk's table, for any two strings."""
    nltk = pytest.importorskip("nltk.metrics.distance")
    assert distance(first, second) == nltk.edit_distance(first, second)


def in_common(first: str, second: str) -> int:
    """Length of the longest common subsequence, by the textbook's table."""
    above = [0] * (len(second) + 1)
    for a in first:
        row = [0]
        for j, b in enumerate(second):
            row.append(above[j] + 1 if a == b else max(above[j + 1], row[j]))
        above = row
    return above[-1]


def apart(first: str, second: str) -> int:
    """Levenshtein distance, by the textbook's table."""
    above = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        row = [i]
        for j, b in enumerate(second):
            row.append(min(above[j] + (a != b), above[j + 1] + 1, row[j] + 1))
        above = row
    return above[-1]


@given(TEXTS, TEXTS)
def test_common_is_that_of_the_table(first: str, second: str) -> None:
    """The bit-parallel length of the longest common subsequence is that of the textbook's table."""
    assert common(first, second) == in_common(first, second)


def test_long_texts() -> None:
    """Order and accuracy of characters are the indel and Levenshtein similarities of texts that take many machine words."""
    truth, text = altered(1)
    assert nid(truth, text) == pytest.approx(2 * in_common(truth, text) / (len(truth) + len(text)))
    assert character_accuracy(truth, text) == pytest.approx(max(0.0, 1 - apart(truth, text) / len(truth)))
    assert character_accuracy(truth, truth[9:]) == pytest.approx(1 - 9 / len(truth))


def test_bounds() -> None:
    """Every score is 1 for the truth itself, 0 for nothing, and right where there is nothing to read."""
    truth, _ = altered(0)
    for measure in (bleu, rouge_l, word_accuracy, character_accuracy, nid):
        assert measure(truth, truth) == 1
        assert measure(truth, "") == 0
        assert measure("", "") == 1
        assert 0 <= measure(truth, truth[::-1]) < 0.6


def test_order_costs() -> None:
    """A text whose halves are exchanged keeps its words, loses order, and loses more of it than a mended word."""
    words = [chr(0x3400 + i) for i in range(100)]  # all different
    truth, moved = " ".join(words), " ".join(words[50:] + words[:50])
    assert nid(truth, moved) < 0.8 < nid(truth, truth.replace(words[50], "x"))
    assert word_accuracy(truth, moved) == 0
    assert bleu(truth, moved) > 0.9


def test_quality_is_the_mean_of_words_and_science() -> None:
    """Quality is the mean of BLEU and science, BLEU alone where there is no science, 1 for an empty page read as such."""
    truth = "The heat of the alloy rose by 3.5 kJ/mol in CaCO3 while it was being held there for some time."
    text = truth.replace("3.5", "8.5")
    found = score(truth, text)
    assert found.science == pytest.approx(2 / 3)
    assert found.quality == pytest.approx((found.bleu + 2 / 3) / 2)
    assert score("no science is here at all", "no science is here at all") == (1, 1, None)
    assert score("", "") == (1, 1, None)
    assert score("", "phantom") == (0, 0, None)
