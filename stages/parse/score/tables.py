"""How much of a table came through: TEDS, the similarity of two tables as trees, by the tree edit distance.

Zhong, ShafieiBavani and Jimeno Yepes, "Image-based table recognition" (ECCV 2020): a table is a tree of a head and a body,
rows and cells; adding or removing a node costs 1, and so does a change of its kind; a cell for another costs the
Levenshtein distance of their texts over the longer one's length. TEDS is 1 - distance / nodes of the larger tree. The
distance is that of Zhang and Shasha (SIAM J. Comput. 1989). What is given up: cells over several columns or rows, which
Markdown does not have.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from stages.parse.score.words import distance

ROW = re.compile(r"\s*\|(.*)\|\s*")
DELIMITER = re.compile(r"\s*\|?(\s*:?-+:?\s*\|)+(\s*:?-+:?\s*)?\s*")
CELL = re.compile(r"(?<!\\)\|")

Table = Sequence[Sequence[str]]  # rows of cells, the first one the head


@dataclass(frozen=True)
class Node:
    """A node of a table's tree; only cells have a text."""

    kind: str
    text: str = ""
    children: tuple["Node", ...] = ()


@dataclass(frozen=True)
class Tree:
    """A tree in postorder: its nodes, each one's leftmost leaf, and the roots of Zhang's and Shasha's subproblems."""

    root: Node
    nodes: list[Node] = field(default_factory=list)
    leftmost: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Number the nodes."""
        self._number(self.root)

    def _number(self, node: Node) -> int:
        firsts = [self._number(child) for child in node.children]
        self.leftmost.append(firsts[0] if firsts else len(self.nodes))
        self.nodes.append(node)
        return self.leftmost[-1]

    @cached_property
    def keyroots(self) -> list[int]:
        """Of all nodes with the same leftmost leaf, the highest one."""
        highest = {left: number for number, left in enumerate(self.leftmost)}
        return sorted(highest.values())


def tables(text: str) -> list[Table]:
    """The tables of a Markdown text, delimiter rows left out."""
    found: list[list[list[str]]] = []
    inside = False
    for line in text.split("\n"):
        row = ROW.fullmatch(line)
        if row and not DELIMITER.fullmatch(line):
            if not inside:
                found.append([])
            found[-1].append([cell.strip().replace("\\|", "|") for cell in CELL.split(row[1])])
        inside = row is not None
    return [table for table in found if len(table) > 1]


def tree(table: Table) -> Node:
    """A table's tree."""
    rows = [Node("tr", children=tuple(Node("td", " ".join(cell.split())) for cell in row)) for row in table]
    return Node("table", children=(Node("thead", children=tuple(rows[:1])), Node("tbody", children=tuple(rows[1:]))))


def teds(truth: Table, found: Table) -> float:
    """Similarity of two tables, from 0 to 1."""
    first, second = Tree(tree(truth)), Tree(tree(found))
    return 1 - tree_distance(first, second) / max(len(first.nodes), len(second.nodes))


def teds_of_texts(truth: str, text: str) -> float | None:
    """Mean TEDS of two texts' tables, the most alike ones paired first; one without a partner counts 0. None for none."""
    ours, theirs = tables(text), tables(truth)
    if not theirs:
        return None
    scores = sorted(((teds(t, o), i, j) for i, t in enumerate(theirs) for j, o in enumerate(ours)), reverse=True)
    total, rows, columns = 0.0, set(), set()
    for score, i, j in scores:
        if i not in rows and j not in columns:
            total += score
            rows.add(i)
            columns.add(j)
    return total / max(len(ours), len(theirs))


def change(first: Node, second: Node) -> float:
    """The cost of one node in place of another."""
    if first.kind != second.kind:
        return 1.0
    longer = max(len(first.text), len(second.text))
    return distance(first.text, second.text) / longer if longer else 0.0


def tree_distance(first: Tree, second: Tree) -> float:
    """The least cost to make one tree of the other."""
    between = [[0.0] * len(second.nodes) for _ in first.nodes]
    for i in first.keyroots:
        for j in second.keyroots:
            _forests(first, second, (i, j), between)
    return between[-1][-1]


def _forests(first: Tree, second: Tree, roots: tuple[int, int], between: list[list[float]]) -> None:
    """Fill in the distances of the subtrees whose leftmost leaves are those of `roots`."""
    i0, j0 = first.leftmost[roots[0]], second.leftmost[roots[1]]
    last = [float(j) for j in range(roots[1] - j0 + 2)]
    kept = [last]
    for i in range(i0, roots[0] + 1):
        now = [last[0] + 1]
        for j in range(j0, roots[1] + 1):
            low = min(last[j - j0 + 1] + 1, now[-1] + 1)
            if first.leftmost[i] == i0 and second.leftmost[j] == j0:
                low = min(low, last[j - j0] + change(first.nodes[i], second.nodes[j]))
                between[i][j] = low
            else:
                before = kept[first.leftmost[i] - i0][second.leftmost[j] - j0]
                low = min(low, before + between[i][j])
            now.append(low)
        kept.append(now)
        last = now
