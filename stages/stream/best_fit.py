"""Best-fit decreasing in O(N log capacity): the inner loop of `packing`, compiled.

Of bins that are equally full the one last changed is taken. What it gives up: nothing against a search of all bins.
"""

import numpy as np

from stages.compiled import compiled
from stages.stream.order import Array


@compiled
def best_fit(lengths: Array, capacity: int) -> Array:
    """The bin of each length (N, from 1 to `capacity`, falling).

    Bins with the same room lie on a stack (`top`, `under`). `occupied` is a binary tree over rooms, leaves in the second
    half, that says where any bin is, so that the least sufficient room is found in log2(capacity) looks.
    """
    num_leaves = 2
    while num_leaves <= capacity:
        num_leaves *= 2
    occupied = np.zeros(2 * num_leaves, np.bool_)
    top, under = np.full(capacity + 1, -1), np.empty(len(lengths), np.int64)
    bins, num_bins = np.empty(len(lengths), np.int64), 0
    for i in range(len(lengths)):
        room = _least_room(occupied, lengths[i])
        if room:
            chosen = top[room]
            top[room] = under[chosen]
            if top[room] < 0:
                _vacate(occupied, room)
        else:
            room, chosen = capacity, num_bins
            num_bins += 1
        bins[i] = chosen
        room -= lengths[i]
        if room:
            under[chosen], top[room] = top[room], chosen
            _occupy(occupied, room)
    return bins


@compiled
def _least_room(occupied: Array, length: int) -> int:
    """The least room of at least `length` that any bin has, 0 if none has."""
    num_leaves = len(occupied) // 2
    node = num_leaves + length
    if occupied[node]:
        return length
    while node > 1 and (node % 2 == 1 or not occupied[node + 1]):  # up, while all to the right below is empty
        node //= 2
    if node == 1:
        return 0
    node += 1
    while node < num_leaves:
        node = 2 * node if occupied[2 * node] else 2 * node + 1
    return node - num_leaves


@compiled
def _occupy(occupied: Array, room: int) -> None:
    node = len(occupied) // 2 + room
    while node and not occupied[node]:
        occupied[node] = True
        node //= 2


@compiled
def _vacate(occupied: Array, room: int) -> None:
    node = len(occupied) // 2 + room
    occupied[node] = False
    node //= 2
    while node and not (occupied[2 * node] or occupied[2 * node + 1]):
        occupied[node] = False
        node //= 2
