"""The certificate of a run: decoys whose similarity is known are sketched as the corpus was and looked up in its filters.

    similarity 0      texts of random words, as long as documents of the corpus: each one found is a false positive
    in between        documents of the corpus whose last words are replaced by random ones until their Jaccard
                      similarity to themselves is the wanted one: found with probability 1 - (1 - s^rows)^bands
    similarity 1      documents of the corpus as they are: all are found

A run fails if so many false positives, or so few of the similar ones, have a chance below one in ten million even at the
edge of what is tolerated. So a correct run does not fail by chance, whatever the size of its corpus, and a small corpus
proves less. What is found beyond theory at a similarity above 0 is no error: the corpus has other copies.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.corpus import Certificate
from schemas.table import ContractError
from stages.dedup.bloom import BandFilters
from stages.dedup.family import Family
from stages.dedup.spill import Places
from stages.dedup.take import take
from stages.dedup.verify import set_similarities
from stages.tables import Reader

SIMILARITIES = (0.3, 0.5, 0.7, 0.9, 1.0)
CHANCE = 1e-7  # of failing a correct run, a line of the certificate
UNRELATED = 5  # as many decoys of similarity 0 as this many documents each
MAX_WORDS = 2000  # of a decoy of similarity 0
STRETCHES = 8  # of neighbouring documents, to read few row groups
LEVEL = 0.95  # of the intervals


class Decoys(NamedTuple):
    """Texts, and the true similarity of each to a document that the filters hold."""

    texts: list[str]
    similarities: npt.NDArray[np.float64]


class Test(NamedTuple):
    """How many decoys a run is tested with, and how far its rates may be off: FP by a factor, recall by a difference."""

    num_decoys: int
    rate_factor: float
    recall_slack: float
    seed: int


def certify(documents: Reader, eligible: Places, family: Family, filters: BandFilters, test: Test) -> list[Certificate]:
    """Rows of the certificate, made with documents among the `eligible` rows."""
    draw = np.random.default_rng(test.seed)
    rows = _stretches(eligible, test.num_decoys, draw)
    texts = [t for _, table in take(documents, rows, ("text",)) for t in table["text"].to_pylist()]
    lines = [_unrelated(texts, family, filters, test, draw)]
    for similarity in SIMILARITIES if texts else ():
        lines += [_similar(_decoys(texts, similarity, family, draw), similarity, family, filters, test)]
    return lines


def check(lines: Sequence[Certificate]) -> None:
    """Raise `ContractError` if a line did not pass."""
    if failed := [describe(line) for line in lines if not line.passed]:
        cure = "the keys or the filters are broken: compare the versions of sketch and dedup with those of the last good run"
        raise ContractError("the certificate of this run", [*failed, cure])


def describe(line: Certificate) -> str:
    """One line for people."""
    return (
        f"similarity {line.similarity:.1f}: {line.num_found} of {line.num_decoys} decoys found, "
        f"{line.low:.4f} to {line.high:.4f}; expected {line.expected:.3g}{'' if line.passed else ': failed'}"
    )


def _unrelated(
    texts: Sequence[str], family: Family, filters: BandFilters, test: Test, draw: np.random.Generator
) -> Certificate:
    lengths = [min(MAX_WORDS, len(t.split())) or 1 for t in texts] or [MAX_WORDS // 10]
    decoys = [_words(lengths[i % len(lengths)], draw) for i in range(UNRELATED * test.num_decoys)]
    found = _found(decoys, family, filters)
    expected = filters.shape.rate
    likely = tail_above(found, len(decoys), min(1.0, test.rate_factor * expected)) >= CHANCE
    return _line(0.0, found, len(decoys), expected, passed=likely)


def _similar(decoys: Decoys, similarity: float, family: Family, filters: BandFilters, test: Test) -> Certificate:
    found = _found(decoys.texts, family, filters)
    expected = float(np.mean(s_curve(decoys.similarities, family))) if decoys.texts else 0.0
    slack = test.recall_slack if similarity < 1 else 0.0
    count = len(decoys.texts)
    likely = tail_above(count - found, count, min(1.0, 1 - expected + slack)) >= CHANCE
    return _line(similarity, found, count, expected, passed=likely)


def _line(similarity: float, found: int, count: int, expected: float, *, passed: bool) -> Certificate:
    low, high = clopper_pearson(found, count)
    fields = {"num_decoys": count, "num_found": found, "expected": expected, "low": low, "high": high}
    return Certificate.model_validate({"similarity": similarity, "passed": passed, **fields})


def s_curve(similarities: npt.NDArray[np.float64], family: Family) -> npt.NDArray[np.float64]:
    """The chance that documents of these similarities have a band in common."""
    bands, rows = family.settings.num_bands, family.settings.rows_per_band
    chance: npt.NDArray[np.float64] = 1 - (1 - similarities**rows) ** bands
    return chance


def _stretches(eligible: Places, count: int, draw: np.random.Generator) -> Places:
    size = -(-count // STRETCHES)
    if len(eligible) <= count:
        return eligible
    starts = draw.integers(0, len(eligible) - size, STRETCHES)
    return np.unique(np.concatenate([eligible[s : s + size] for s in starts]))


def _decoys(texts: Sequence[str], similarity: float, family: Family, draw: np.random.Generator) -> Decoys:
    """Texts that keep their first words. S n-grams of which the last m are new: similarity (S - m) / (S + m)."""
    made = []
    for text in texts:
        words = text.split()
        replaced = round((1 - similarity) / (1 + similarity) * len(words))
        made.append(" ".join([*words[: len(words) - replaced], *([_words(replaced, draw)] if replaced else [])]))
    both = [family.minhash.sets(pa.array(each, pa.string())) for each in (texts, made)]
    return Decoys(made, set_similarities(*both))


def _words(count: int, draw: np.random.Generator) -> str:
    return " ".join(f"{word:x}" for word in draw.integers(1 << 60, 1 << 63, count))


def _found(texts: Sequence[str], family: Family, filters: BandFilters) -> int:
    sets = family.minhash.sets(pa.array(texts, pa.string()))
    return int(filters.contains(family.minhash.keys(sets)).any(axis=1).sum())


# ---- binomial tails and intervals


def tail_above(found: int, count: int, share: float) -> float:
    """The chance of `found` or more out of `count` where each has the chance `share`."""
    if found <= 0 or share >= 1:
        return 1.0
    if share <= 0:
        return 0.0
    logs = (
        math.lgamma(count + 1)
        - math.lgamma(k + 1)
        - math.lgamma(count - k + 1)
        + k * math.log(share)
        + (count - k) * math.log1p(-share)
        for k in range(found, count + 1)
    )
    return min(1.0, math.fsum(math.exp(log) for log in logs))


def clopper_pearson(found: int, count: int, level: float = LEVEL) -> tuple[float, float]:
    """The exact interval of a share (Clopper and Pearson 1934)."""
    half = (1 - level) / 2
    low = _solve(lambda p: tail_above(found, count, p) < half) if found else 0.0
    high = 1 - _solve(lambda p: tail_above(count - found, count, p) < half) if found < count else 1.0
    return low, high


def _solve(below: Callable[[float], bool]) -> float:
    """Where a condition that holds from 0 on ends."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return low
