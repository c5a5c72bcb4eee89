"""Items that occur more than once: in a document, in the benchmarks, and planted in documents of every kind."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.evaluation import BenchmarkItem
from stages.decontaminate import Decontaminate
from stages.decontaminate.needles import MAX_ITEMS, MIN_GRAMS, index
from stages.decontaminate.plant import NUM_PLANTED, plant
from stages.decontaminate.search import Search
from stages.decontaminate.words import words
from tests.stages.decontaminate.conftest import FILLER, QUESTIONS, around, document
from tests.stages.decontaminate.test_stage import run, tables
from tests.stages.decontaminate.test_stage import settings as settings_file

DUCKS, GENE = QUESTIONS["ducks"][0], QUESTIONS["gene"][0]


def item(question: str, name: str = "1", answer: str = "yes") -> BenchmarkItem:
    """An item of a toy benchmark."""
    return BenchmarkItem(benchmark="toy", item_id=name, question=question, choices=[], answer=answer, context="")


@pytest.mark.parametrize("copies", [1, 2, 5])
def test_every_copy_of_an_item_is_cut_out(tmp_path, items, copies) -> None:
    """With `span`, an item that a document has several times, beside another one, is gone from all of its places."""
    text = f"\n{FILLER}\n".join([FILLER, *([DUCKS, GENE] * copies), FILLER])
    inputs = tables(tmp_path, [document(text), document(FILLER * 9, "clean")], items)
    assert run(tmp_path / "out", *inputs, *settings_file(tmp_path, '{"remove": "span"}')) == 0
    after, clean = pq.read_table(tmp_path / "out" / "documents")["text"].to_pylist()
    assert "duck" not in after
    assert "whales" not in after
    assert after.count("nitrogen") == text.count("nitrogen")
    assert clean == FILLER * 9
    overlaps = pq.read_table(tmp_path / "out" / "overlaps").to_pylist()
    assert sorted(o["item_id"] for o in overlaps) == ["ducks"] * copies + ["gene"] * copies
    for found in overlaps:
        assert text[found["start"] : found["end"]].strip() == QUESTIONS[found["item_id"]][0]


def test_what_is_cut_leaves_the_rest_as_it_was(items) -> None:
    """Outside of the places that are named, no character of a document is touched."""
    text = f"Ärger mit 🦆: {DUCKS}\n\nUnd noch einmal, ß: {DUCKS}\n{FILLER}"
    found = Search(Decontaminate(), items).all_in(text)
    assert len(found) == 2
    assert [text[f.start : f.end].strip() for f in sorted(found, key=lambda f: f.start)] == [DUCKS] * 2


def test_copies_of_an_item_do_not_make_it_a_phrase() -> None:
    """An item that a benchmark has thirty times is looked for: its own copies do not make its words common."""
    items = [item(DUCKS, str(i)) for i in range(MAX_ITEMS + 14)]
    search = Search(Decontaminate(), items)
    assert len(search.unfit) == 0
    assert {f.number for f in search(pa.array([around(DUCKS)]))} == set(range(len(items)))


def test_phrases_of_different_items_are_still_phrases() -> None:
    """What more items than `MAX_ITEMS` share in different sentences weighs nothing, copies of them or not."""
    texts = [f"which of the following things is number {chr(97 + i)}{chr(98 + i)}x kept" for i in range(MAX_ITEMS + 1)]
    once, twice = index(texts), index(texts * 2)
    assert once.counts.tolist() == twice.counts[: len(texts)].tolist()
    assert set(once.keys.tolist()) == set(twice.keys.tolist())


def test_an_item_at_the_end_of_a_document_is_verbatim(items) -> None:
    """The tier of an item does not depend on whether anything stands before or after it."""
    search = Search(Decontaminate(), items)
    for text in (DUCKS, f"{FILLER}{DUCKS}", f"{DUCKS} {FILLER}", f"“{DUCKS}”"):
        assert [f.verdict.tier for f in search(pa.array([text]))] == ["verbatim"]


WORDS = [
    "the",
    "of",
    "rate",
    "field",
    "soil",
    "water",
    "plant",
    "growth",
    "cell",
    "model",
    "data",
    "yield",
    "acid",
    "light",
    "energy",
    "protein",
]


@settings(max_examples=40, deadline=None)
@given(
    question=st.lists(st.sampled_from([*WORDS, "β-carotene"]), min_size=12, max_size=40),
    before=st.lists(st.sampled_from(WORDS), max_size=60),
    after=st.lists(st.sampled_from(WORDS), max_size=60),
    between=st.sampled_from([" ", "\n", "  ", "\u00a0", "\t", " — "]),
)
def test_an_item_as_it_is_is_always_found(question, before, after, between) -> None:
    """Whatever stands around it, and whatever white space is in it, an item that can be looked for is found, with all its letters."""
    search = Search(Decontaminate(), [item(" ".join(question)), item(DUCKS, "2")])
    text = f"{' '.join(before)} {between.join(question)} {' '.join(after)}"
    found = [f for f in search(pa.array([text])) if f.number == 0]
    if search.index.counts[0] >= MIN_GRAMS:
        assert [f.verdict.score for f in found] == [1.0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([*WORDS, DUCKS, GENE, "\n\n", "ﬁ", "𝛼"]), max_size=30))
def test_a_document_is_clean_after_all_in(pieces) -> None:
    """Blanking what `all_in` names leaves a text in which nothing is found."""
    search = Search(Decontaminate(), [item(DUCKS), item(GENE, "2", "myoglobin")])
    text = " ".join(pieces)
    for found in search.all_in(text):
        text = text[: found.start] + " " * (found.end - found.start) + text[found.end :]
    assert search(pa.array([text])) == []


@pytest.mark.parametrize("value", [0.29, 0.91, 1.0])
def test_a_share_that_nothing_asks_for_is_refused(value) -> None:
    """Above nine tenths a setting would change nothing, as no item is asked for more; under 0.3 chance decides."""
    with pytest.raises(ValidationError, match="min_letters"):
        Decontaminate(min_letters=value)


@pytest.mark.parametrize("num_items", [1, 3, 64, 200])
def test_few_items_are_planted_as_often_as_many(num_items) -> None:
    """The self-test's verdict rests on as many plantings whatever the number of items, so one miss does not fail a run."""
    texts = [f"{DUCKS} {i}" for i in range(num_items)]
    rows = plant(texts, [FILLER], 0, lambda found: [(r, r % num_items) for r in range(len(found))], range(num_items))
    assert {r.num_planted for r in rows} == {NUM_PLANTED}


def test_a_short_item_alone_passes_the_self_test(tmp_path) -> None:
    """A benchmark of one item of nine words is found often enough under OCR's errors with any seed: no false alarm."""
    one = item("Which enzyme unwinds the double helix before it is copied?", answer="helicase")
    search = Search(Decontaminate(), [one])
    draw = random.Random(3)
    for seed in range(12):
        hosts = [FILLER * draw.randrange(1, 5)]
        rows = plant(search.needles, hosts, seed, lambda t: [(f.row, f.number) for f in search(t)], [0])
        assert all(r.num_found >= r.required * r.num_planted for r in rows), rows


@given(st.text(st.characters(codec="utf-8"), max_size=60), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_words_of_a_part_are_words_of_the_whole(text, cut) -> None:
    """Text that follows a blank line changes no word before it, however the first part ends."""
    one, other = text[:cut], text[cut:]
    both = words(f"{one}\n\n{other}").hashes.tolist()
    assert both == words(one).hashes.tolist() + words(other).hashes.tolist()
