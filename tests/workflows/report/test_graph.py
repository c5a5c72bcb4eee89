import random
import re
from itertools import combinations

import pytest

from workflows.report.graph import BOX_HEIGHT, BOX_WIDTH, LABEL_CHAR_WIDTH, Drawing, Edge, draw

NUMBER = r"-?\d+(?:\.\d+)?"


def random_graph(seed: int) -> tuple[int, dict[Edge, str]]:
    """A connected graph as a recipe makes it: every node after the first has one to three inputs before it."""
    chance = random.Random(seed)
    num_nodes = chance.randint(2, 14)
    labels: dict[Edge, str] = {}
    for target in range(1, num_nodes):
        for source in chance.sample(range(target), min(target, chance.randint(1, 3))):
            labels[source, target] = ", ".join(chance.sample(["documents", "model", "shards"], chance.randint(1, 2)))
    return num_nodes, labels


def points(path: str) -> list[tuple[float, float]]:
    """All points of an SVG path."""
    return [(float(x), float(y)) for x, y in re.findall(rf"({NUMBER}) ({NUMBER})", path)]


@pytest.fixture(params=range(12))
def drawn(request: pytest.FixtureRequest) -> tuple[int, dict[Edge, str], Drawing]:
    """A random graph and its drawing."""
    num_nodes, labels = random_graph(request.param)
    return num_nodes, labels, draw(num_nodes, labels)


def test_boxes_do_not_overlap(drawn: tuple[int, dict[Edge, str], Drawing]) -> None:
    """Any two boxes are apart, and all lie inside the drawing."""
    drawing = drawn[2]
    for (x1, y1), (x2, y2) in combinations(drawing.boxes, 2):
        assert abs(x1 - x2) >= BOX_WIDTH or abs(y1 - y2) >= BOX_HEIGHT
    for x, y in drawing.boxes:
        assert 0 <= x <= drawing.width - BOX_WIDTH
        assert 0 <= y <= drawing.height - BOX_HEIGHT


def test_edges_go_down_from_box_to_box(drawn: tuple[int, dict[Edge, str], Drawing]) -> None:
    """Every edge is drawn once, from the lower side of its source to the upper side of its target, never upwards."""
    _, labels, drawing = drawn
    assert {(line.source, line.target): line.label for line in drawing.lines} == labels
    for line in drawing.lines:
        (x0, y0), *_, (x1, y1) = points(line.path)
        source, target = drawing.boxes[line.source], drawing.boxes[line.target]
        assert y0 == pytest.approx(source[1] + BOX_HEIGHT, abs=0.06)
        assert y1 == pytest.approx(target[1], abs=0.06)
        assert source[0] < x0 < source[0] + BOX_WIDTH
        assert target[0] < x1 < target[0] + BOX_WIDTH
        heights = [y for _, y in points(line.path)]
        assert heights == sorted(heights)


def test_edges_pass_beside_boxes(drawn: tuple[int, dict[Edge, str], Drawing]) -> None:
    """Where an edge passes a layer, it passes between the boxes and not behind one."""
    drawing = drawn[2]
    for line in drawing.lines:
        for x, y in re.findall(rf"L({NUMBER}) ({NUMBER})", line.path):
            for left, top in drawing.boxes:
                beside = not left < float(x) < left + BOX_WIDTH
                assert beside or not top < float(y) - BOX_HEIGHT / 2 < top + BOX_HEIGHT


def test_labels_do_not_cover_each_other(drawn: tuple[int, dict[Edge, str], Drawing]) -> None:
    """Labels on one line of text have their own places."""
    for one, other in combinations(drawn[2].lines, 2):
        first, second = sorted((one, other), key=lambda line: line.x)
        if first.y == second.y:
            assert first.x + LABEL_CHAR_WIDTH * len(first.label) <= second.x


def test_labels_lie_inside(drawn: tuple[int, dict[Edge, str], Drawing]) -> None:
    """No label is cut off at the right or above."""
    drawing = drawn[2]
    for line in drawing.lines:
        assert line.x + LABEL_CHAR_WIDTH * len(line.label) <= drawing.width
        assert line.y > 0


def test_a_chain_is_a_straight_line() -> None:
    """Stages that follow each other stand below each other."""
    drawing = draw(4, {(0, 1): "a", (1, 2): "b", (2, 3): "c"})
    assert len({x for x, _ in drawing.boxes}) == 1
    assert [y for _, y in drawing.boxes] == sorted({y for _, y in drawing.boxes})


def test_a_node_stands_below_all_its_inputs() -> None:
    """The layer is that of the longest path, not of the shortest."""
    drawing = draw(4, {(0, 1): "a", (1, 2): "b", (2, 3): "c", (0, 3): "d"})
    heights = [y for _, y in drawing.boxes]
    assert heights == sorted(heights)
    assert len(set(heights)) == 4


def test_order_undoes_a_crossing() -> None:
    """Two chains that were given crosswise are drawn without a crossing."""
    drawing = draw(4, {(0, 3): "a", (1, 2): "b"})
    x = [left for left, _ in drawing.boxes]
    assert (x[0] < x[1]) == (x[3] < x[2])


def test_drawing_is_deterministic() -> None:
    """The same graph gives the same drawing."""
    assert draw(*random_graph(3)) == draw(*random_graph(3))


def test_no_nodes_and_one_node() -> None:
    """An empty graph is an empty drawing; a single node is one box."""
    assert draw(0, {}).boxes == []
    assert len(draw(1, {}).boxes) == 1
