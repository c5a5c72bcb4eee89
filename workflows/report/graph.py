"""A layered drawing of the graph of stages (Sugiyama, Tagawa and Toda 1981).

Layers are by longest path and order by barycentres; edges over several layers are held straight by narrow stand-ins.
Made for tens of boxes, not for hundreds.

Coordinates are in pixels, y downwards. No crossing is minimized beyond the sweeps; labels never cover each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

BOX_WIDTH, BOX_HEIGHT, LANE_WIDTH = 226.0, 66.0, 14.0
GAP_X, GAP_Y, MARGIN = 22.0, 34.0, 8.0
LABEL_HEIGHT, LABEL_CHAR_WIDTH = 14.0, 6.3
LABEL_RIGHT, LABEL_ABOVE = 5.0, 9.0  # of where an edge enters
SWEEPS = 12
PORTS_FRACTION = 0.62  # of a box's width carries the ends of its edges

Edge = tuple[int, int]


@dataclass
class Place:
    """A box, or a stand-in where an edge passes a layer. `x` is the middle, `y` the top."""

    layer: int
    node: int | None
    above: list[int] = field(default_factory=list)
    below: list[int] = field(default_factory=list)
    x: float = 0.0
    y: float = 0.0

    @property
    def width(self) -> float:
        """A stand-in is only as wide as a line needs."""
        return LANE_WIDTH if self.node is None else BOX_WIDTH


@dataclass(frozen=True)
class Line:
    """An edge: the path to draw (SVG `d`), and where its words begin."""

    source: int
    target: int
    label: str
    path: str
    x: float
    y: float


@dataclass(frozen=True)
class Drawing:
    """Where everything is. `boxes` gives the left upper corner of every node's box."""

    width: float
    height: float
    boxes: list[tuple[float, float]]
    lines: list[Line]


def draw(num_nodes: int, labels: Mapping[Edge, str]) -> Drawing:
    """Lay out nodes `0..num_nodes-1`, each edge going from a lower to a higher index, with a label each."""
    if num_nodes == 0:
        return Drawing(0.0, 0.0, [], [])
    edges = sorted(labels)
    layers_of = _layers(num_nodes, edges)
    places = [Place(layer, node) for node, layer in enumerate(layers_of)]
    chains = {edge: _chain(edge, places) for edge in edges}
    rows: list[list[int]] = [[] for _ in range(max(layers_of) + 1)]
    for index, place in enumerate(places):
        rows[place.layer].append(index)
    _order(rows, places)
    _align(rows, places)
    ends = _ends(chains, places)
    levels = _label_levels(chains, labels, places, ends)
    height = _stack(rows, places, chains, levels)
    lines = []
    for edge in edges:
        path = _path(chains[edge], places, ends[edge])
        y = places[edge[1]].y - LABEL_HEIGHT * levels[edge]
        lines.append(Line(*edge, labels[edge], path, ends[edge][1] + LABEL_RIGHT, y - LABEL_ABOVE))
    right = max(*(p.x + p.width / 2 for p in places), *(_label_end(line) for line in lines), 0.0)
    boxes = [(p.x - BOX_WIDTH / 2, p.y) for p in places[:num_nodes]]
    return Drawing(right + MARGIN, height, boxes, lines)


def _layers(num_nodes: int, edges: Sequence[Edge]) -> list[int]:
    """Longest path from a source; recipes list inputs first, so one pass in order is enough."""
    layer = [0] * num_nodes
    for source, target in sorted(edges, key=lambda e: e[1]):
        layer[target] = max(layer[target], layer[source] + 1)
    return layer


def _chain(edge: Edge, places: list[Place]) -> list[int]:
    source, target = edge
    chain = [source]
    for layer in range(places[source].layer + 1, places[target].layer):
        places.append(Place(layer, None))
        chain.append(len(places) - 1)
    chain.append(target)
    for upper, lower in pairwise(chain):
        places[upper].below.append(lower)
        places[lower].above.append(upper)
    return chain


def _order(rows: list[list[int]], places: Sequence[Place]) -> None:
    """Sort each layer by the mean position of its neighbours, downwards and upwards in turn."""
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        position = {index: i for row in rows for i, index in enumerate(row)}
        for row in rows if down else reversed(rows):
            keys = {}
            for index in row:
                near = places[index].above if down else places[index].below
                keys[index] = sum(position[n] for n in near) / len(near) if near else position[index]
            row.sort(key=lambda i: (keys[i], position[i]))
            position.update({index: i for i, index in enumerate(row)})


def _align(rows: Sequence[Sequence[int]], places: Sequence[Place]) -> None:
    """Pull every place towards its neighbours' mean, as far as its own neighbours in the layer let it."""
    for row in rows:
        _spread(row, places, [0.0] * len(row))
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 == 0 else list(reversed(rows)):
            wanted = []
            for index in row:
                near = [places[n].x for n in (*places[index].above, *places[index].below)]
                wanted.append(sum(near) / len(near) if near else places[index].x)
            _spread(row, places, wanted)
    for row in reversed(rows):
        _spread(row, places, [_straight(places[i], places) for i in row])
    left, right = min(p.x - p.width / 2 for p in places), max(p.x + p.width / 2 for p in places)
    first = [places[i].x for i in rows[0]]
    mirrored = sum(first) / len(first) > (left + right) / 2  # begin on the left, where a small screen begins
    for place in places:
        place.x = MARGIN + (right - place.x if mirrored else place.x - left)


def _straight(place: Place, places: Sequence[Place]) -> float:
    """Stand above the next in a chain, so that a chain is a straight line; else stay."""
    if len(place.below) == 1 and len(places[place.below[0]].above) == 1:
        return places[place.below[0]].x
    return place.x


def _spread(row: Sequence[int], places: Sequence[Place], wanted: Sequence[float]) -> None:
    """Positions nearest to `wanted` (least squares) with a gap between: pool adjacent violators."""
    offsets, reach = [], 0.0
    for index in row:
        half = places[index].width / 2
        offsets.append(reach + half)
        reach += 2 * half + GAP_X
    pools: list[list[float]] = []  # sum and count of wanted minus offset
    for value, offset in zip(wanted, offsets, strict=True):
        pools.append([value - offset, 1.0])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            total, count = pools.pop()
            pools[-1][0] += total
            pools[-1][1] += count
    shifts = [total / count for total, count in pools for _ in range(int(count))]
    for index, offset, shift in zip(row, offsets, shifts, strict=True):
        places[index].x = offset + shift


def _ends(chains: Mapping[Edge, Sequence[int]], places: Sequence[Place]) -> dict[Edge, tuple[float, float]]:
    """Where each edge leaves and enters its boxes: side by side, in the order in which they come."""
    leave: dict[Edge, float] = {}
    enter: dict[Edge, float] = {}
    for node in {n for edge in chains for n in edge}:
        out = sorted((e for e in chains if e[0] == node), key=lambda e: (places[chains[e][1]].x, e))
        come = sorted((e for e in chains if e[1] == node), key=lambda e: (places[chains[e][-2]].x, e))
        for side, edges in ((leave, out), (enter, come)):
            for i, edge in enumerate(edges):
                side[edge] = places[node].x + BOX_WIDTH * PORTS_FRACTION * ((i + 0.5) / len(edges) - 0.5)
    return {edge: (leave[edge], enter[edge]) for edge in chains}


def _label_levels(
    chains: Mapping[Edge, Sequence[int]],
    labels: Mapping[Edge, str],
    places: Sequence[Place],
    ends: Mapping[Edge, tuple[float, float]],
) -> dict[Edge, int]:
    """Labels stand above the box that the edge enters; one that would cover another goes a level up."""
    levels: dict[Edge, int] = {}
    taken: dict[tuple[int, int], float] = {}  # (layer, level) -> where its last label ends
    for edge in sorted(chains, key=lambda e: (places[e[1]].layer, ends[e][1])):
        layer, start = places[edge[1]].layer, ends[edge][1]
        level = 0
        while taken.get((layer, level), -1.0) > start:
            level += 1
        levels[edge] = level
        taken[layer, level] = start + LABEL_CHAR_WIDTH * len(labels[edge]) + GAP_X
    return levels


def _stack(
    rows: Sequence[Sequence[int]],
    places: Sequence[Place],
    chains: Mapping[Edge, Sequence[int]],
    levels: Mapping[Edge, int],
) -> float:
    """Give layers their heights; a gap grows with the labels that stand in it. Returns the whole height."""
    y = MARGIN
    for layer, row in enumerate(rows):
        stacked = [levels[e] + 1 for e in chains if places[e[1]].layer == layer]
        y += (GAP_Y + LABEL_HEIGHT * max(stacked, default=1)) if layer else 0.0
        for index in row:
            places[index].y = y
        y += BOX_HEIGHT
    return y + MARGIN


def _path(chain: Sequence[int], places: Sequence[Place], ends: tuple[float, float]) -> str:
    """From box to box in vertical tangents, straight past the layers in between."""
    (x, enter), y = ends, places[chain[0]].y + BOX_HEIGHT
    path = [f"M{x:.1f} {y:.1f}"]
    for index in chain[1:]:
        place = places[index]
        to = place.x if place.node is None else enter
        bend = (place.y - y) / 2
        path.append(f"C{x:.1f} {y + bend:.1f} {to:.1f} {place.y - bend:.1f} {to:.1f} {place.y:.1f}")
        x, y = to, place.y
        if place.node is None:
            y += BOX_HEIGHT
            path.append(f"L{x:.1f} {y:.1f}")
    return " ".join(path)


def _label_end(line: Line) -> float:
    return line.x + LABEL_CHAR_WIDTH * len(line.label)
