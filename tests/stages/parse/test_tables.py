"""TEDS against the formula by hand, and tree edit distances against the apted package."""

import pytest
from apted import APTED, Config
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.parse.score.markup import plain
from stages.parse.score.tables import Node, Tree, change, tables, teds, teds_of_texts, tree, tree_distance

SMALL = (("a", "b"), ("1", "2"), ("3", "4"))


class Costs(Config):  # type: ignore[misc]
    """Our costs, for the other implementation."""

    def rename(self, node1: Node, node2: Node) -> float:
        """A node in place of another."""
        return change(node1, node2)

    def children(self, node: Node) -> tuple[Node, ...]:
        """A node's children."""
        return node.children


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (SMALL, 1.0),
        ((("a", "b"), ("1", "2")), 1 - 3 / 12),  # a row and its two cells are gone, of 12 nodes
        ((("a",), ("1",), ("3",)), 1 - 3 / 12),  # a column
        ((("a", "b"), ("1", "2"), ("3", "x")), 1 - 1 / 12),  # all of a cell's text
        ((("a", "b"), ("1", "2"), ("3", "41")), 1 - 0.5 / 12),  # half of it
        ((("a", "b"), ("1", "2"), ("3", "4"), ("5", "6")), 1 - 3 / 15),  # a row too many
    ],
)
def test_teds_is_what_the_formula_says(found: tuple[tuple[str, ...], ...], expected: float) -> None:
    """One minus the distance over the nodes of the larger tree, worked out by hand."""
    assert teds(SMALL, found) == pytest.approx(expected)
    assert teds(found, SMALL) == pytest.approx(expected)


nodes = st.recursive(
    st.builds(Node, st.sampled_from(["tr", "td"]), st.text("ab1", max_size=4)),
    lambda inner: st.builds(
        Node, st.sampled_from(["table", "tr"]), st.just(""), st.lists(inner, max_size=4).map(tuple)
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(nodes, nodes)
def test_distances_are_those_of_apted(first: Node, second: Node) -> None:
    """Of any two trees the distance is that of the apted package (Pawlik and Augsten) with the same costs."""
    expected = APTED(first, second, Costs()).compute_edit_distance()
    assert tree_distance(Tree(first), Tree(second)) == pytest.approx(expected)


rows = st.lists(st.lists(st.text("xy 0", max_size=3), min_size=1, max_size=3), min_size=2, max_size=3)


@settings(max_examples=25, deadline=None)
@given(rows, rows)
def test_teds_is_a_similarity(first: list[list[str]], second: list[list[str]]) -> None:
    """From 0 to 1, the same both ways, 1 for a table and itself, and by apted's distance what it is by ours."""
    score = teds(first, second)
    assert 0 <= score <= 1
    assert score == pytest.approx(teds(second, first))
    assert teds(first, first) == 1
    most = max(len(Tree(tree(t)).nodes) for t in (first, second))
    assert score == pytest.approx(1 - APTED(tree(first), tree(second), Costs()).compute_edit_distance() / most)


TEXT = """Before.

| a | b |
|---|:--:|
| 1 | x \\| y |

Between | not a table.

| one | row |
|---|---|
"""


def test_tables_of_a_text() -> None:
    """Rows of two lines and more between bars are a table, delimiters are none of its rows, an escaped bar is a bar."""
    assert tables(TEXT) == [[["a", "b"], ["1", "x | y"]]]


def test_tables_are_paired() -> None:
    """Tables in another order are paired by likeness; one that is missing, or too many, counts nothing."""
    first, second = "| a | b |\n|---|---|\n| 1 | 2 |", "| long head | c |\n|---|---|\n| 77 | 88 |\n| 5 | 6 |"
    both = f"{first}\n\n{second}"
    assert teds_of_texts(both, f"{second}\n\n{first}") == 1
    assert teds_of_texts(both, first) == 0.5
    assert teds_of_texts(first, both) == 0.5
    assert teds_of_texts("no table", both) is None
    assert teds_of_texts(both, "no table") == 0


def test_markdown_is_scored_by_its_words() -> None:
    """Signs of headings, emphasis, tables and links go, and nothing of what they stand around."""
    text = "# Heat\n\nIn **bold** and *slanted* [words](http://x.y) 2 * 3 = a*b #5.\n\n| T | k |\n|---|:-:|\n| 5 K | x \\| y |\n"
    words = "Heat In bold and slanted words 2 * 3 = a*b #5. T k 5 K x | y"
    assert plain(text).split() == words.split()
    assert plain("no markup: -5 | 3") == "no markup: -5 | 3"
