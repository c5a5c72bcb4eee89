"""Candidates against a search without an index."""

import random

import numpy as np
import pyarrow as pa
import pytest

from schemas.evaluation import BenchmarkItem
from stages.decontaminate.needles import MAX_ITEMS, SIZE, gram_hashes, index, needle
from stages.decontaminate.windows import MIN_SHARE, REACH, SLACK, windows
from stages.decontaminate.words import words
from tests.stages.decontaminate.conftest import around


def best_share(text: str, texts: list[str], number: int) -> float:
    """The share of weight of item `number` in its best window, every window tried."""
    found = index(texts)
    grams = gram_hashes(words(texts[number]).hashes)
    here = gram_hashes(words(text).hashes)
    kept = {int(k): int(g) for k, g in zip(found.keys, found.grams, strict=True) if k}
    weight = {int(g): float(found.weights[kept[int(g)]]) for g in grams if int(g) in kept}
    reach = int(found.lengths[number] * REACH) + SLACK
    most = 0.0
    for start in range(len(here)):
        inside = {int(g) for g in here[start : start + reach - SIZE + 1]}
        most = max(most, sum(w for g, w in weight.items() if g in inside))
    return most / sum(weight.values())


def test_windows_have_what_the_best_of_all_windows_has(items: list[BenchmarkItem]) -> None:
    """The share is that of the best window, over random mixtures of the items' own words."""
    draw = random.Random(7)
    texts = [needle(i) for i in items[:4]]
    pool = [piece for t in texts for piece in (" ".join(t.split()[i : i + 5]) for i in range(0, len(t.split()), 5))]
    documents = [" ".join(draw.choice(pool) for _ in range(draw.randrange(1, 60))) for _ in range(40)]
    found = windows(pa.array(documents), index(texts))
    shares = {(int(d), int(i)): float(s) for d, i, s in zip(found.documents, found.items, found.shares, strict=True)}
    for d, text in enumerate(documents):
        for i in range(len(texts)):
            expected = best_share(text, texts, i)
            assert shares.get((d, i), 0) == pytest.approx(expected if expected >= MIN_SHARE else 0, abs=2e-6)


def test_a_window_covers_the_item(items: list[BenchmarkItem]) -> None:
    """An item that stands in a text lies inside its window, and the trigrams' places are the item's own ends."""
    texts = [needle(i) for i in items[:4]]
    documents = [around(t) for t in texts]
    found = windows(pa.array(documents), index(texts))
    for number, text in enumerate(texts):
        row = np.flatnonzero((found.documents == number) & (found.items == number))[0]
        data = documents[number].encode()
        assert text in data[found.starts[row] : found.ends[row]].decode()
        assert text.startswith(data[found.firsts[row] : found.lasts[row]].decode()[:40])
        assert found.shares[row] == pytest.approx(1, abs=1e-6)


def test_slices_and_empty_texts(items: list[BenchmarkItem]) -> None:
    """A slice of an Arrow array is read from where it begins; a text without words has no candidates."""
    texts = [needle(i) for i in items[:4]]
    found = windows(pa.array(["x", "", around(texts[1]), " ."]).slice(1), index(texts))
    assert found.documents.tolist() == [1]
    assert windows(pa.array([], pa.string()), index(texts)).items.size == 0
    assert windows(pa.array([texts[0]]), index([])).items.size == 0


def test_phrases_of_many_items_weigh_nothing() -> None:
    """A trigram that more items share than MAX_ITEMS is not looked for."""
    texts = [f"which of the following things is number {chr(97 + i)}{chr(98 + i)}x kept" for i in range(MAX_ITEMS + 1)]
    assert windows(pa.array(["which of the following things is number"]), index(texts)).items.size == 0
    assert index(texts).counts.max() < len(words(texts[0]).hashes) - SIZE


def test_short_questions_bring_their_answers(items: list[BenchmarkItem]) -> None:
    """A question of a few words is looked for together with its answer, a long one alone."""
    by_name = {i.item_id: i for i in items}
    assert needle(by_name["ducks"]) == by_name["ducks"].question
    assert needle(by_name["short"]).endswith(by_name["short"].answer)
