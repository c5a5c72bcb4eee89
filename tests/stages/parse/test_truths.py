"""Cells of tables, words of gold texts and wears of generated pages: nothing is lost, doubled or put elsewhere."""

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.parse.lines import Line
from stages.parse.score.tables import tables
from stages.parse.structure import Cell, Row, columns, table
from stages.parse.train import gold, wear

cells = st.lists(
    st.lists(st.tuples(st.text("ab|", min_size=1, max_size=4), st.integers(0, 50), st.integers(1, 20)), min_size=1, max_size=4),
    min_size=2,
    max_size=5,
)  # fmt: skip


@given(cells)
def test_a_table_keeps_its_cells(found: list[list[tuple[str, int, int]]]) -> None:
    """A row of Markdown for each row, of as many columns, with all words of all cells; bars in them come back as bars."""
    rows = [
        Row((Line("x", 0, 0, 1, 1, 1),), tuple(Cell(t, x, x + w) for t, x, w in sorted(row, key=lambda c: c[1])))
        for row in found
    ]
    (read,) = tables("\n".join(line.text for line in table(rows)))
    assert [len(r) for r in read] == [len(columns(rows))] * len(rows)
    for row, back in zip(rows, read, strict=True):
        assert Counter(" ".join(c.text for c in row.cells).split()) == Counter(" ".join(back).split())


# ---- gold texts


@given(st.lists(st.sampled_from("abcdefgh"), max_size=60), st.lists(st.integers(0, 60), max_size=3))
def test_every_word_of_the_gold_is_on_one_page(found: list[str], cuts: list[int]) -> None:
    """Where any place is tied, all words are given out once and in order on each page; else none is."""
    bounds = [0, *sorted(cuts), len(found)]
    pages = [" ".join(found[a:b]) for a, b in pairwise(bounds)]
    truths, ties = gold.tied(found, pages)
    assert len(truths) == len(pages)
    given_out = Counter(w for t in truths for w in t.split())
    assert given_out == (Counter(found) if ties else Counter())


def test_words_go_to_the_page_that_has_them() -> None:
    """Of a text whose words are all different each page gets its own words, but for those near an edge that none is tied to."""
    found = [f"w{i}" for i in range(60)]
    pages = [" ".join(found[:20]), "figure " + " ".join(found[20:45]), " ".join(found[45:])]
    truths, ties = gold.tied(found, pages)
    assert ties == 17 + 22 + 12
    assert [t.split() for t in truths] == [found[:20], found[20:45], found[45:]]


def test_words_that_no_page_has_go_with_the_nearest() -> None:
    """A stretch of the gold that is in no layer is divided between the pages around it."""
    found = [f"w{i}" for i in range(30)]
    truths, _ = gold.tied(found, [" ".join(found[:10]), " ".join(found[20:])])
    assert [t.split() for t in truths] == [found[:15], found[15:]]


# ---- wears


@pytest.mark.parametrize("rate", [0.001, 0.03, 0.3])
def test_readers_err_as_often_as_they_should(rate: float) -> None:
    """The share of characters that are not as they were is the rate; none of them are errors at a rate of 0."""
    text = "x" * 200_000
    found = wear.misread(text, rate, random.Random(0))
    assert (200_000 - found.count("x")) / 200_000 == pytest.approx(rate * 0.85, rel=0.25)
    assert wear.misread(text, 0.0, random.Random(0)) == text


LINES = [
    Line(f"line {i} of words", 50 + 200 * (i % 2), 700 - 10 * i, 200 + 200 * (i % 2), 710 - 10 * i, 10)
    for i in range(8)
]


@pytest.mark.parametrize("kind", ["layered", "jumbled", "glued"])
def test_layers_are_of_the_lines(kind: str) -> None:
    """A layer has every line at its place, jumbled or not; glued ones lose spaces only, or get one between all letters."""
    for seed in range(6):
        found = wear.LAYERS[kind](list(LINES), random.Random(seed))
        assert sorted(n[1:] for n in found) == sorted(n[1:] for n in LINES)
        if kind == "glued":
            assert [n.text.replace(" ", "") for n in found] == [n.text.replace(" ", "") for n in LINES]
            assert [n.text for n in found] != [n.text for n in LINES]


def test_kinds_are_drawn_as_often_as_they_say() -> None:
    """Every kind has a way to be made, and comes in its share."""
    draw = random.Random(0)
    found = Counter(wear.draw(draw) for _ in range(20_000))
    assert set(wear.SHARES) == set(wear.LAYERS) | set(wear.KINDS)
    for kind, share in wear.SHARES.items():
        assert found[kind] / 20_000 == pytest.approx(share / sum(wear.SHARES.values()), abs=0.012)
