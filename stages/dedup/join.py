"""Equal keys in sorted columns: groups within one column, matches between two, and the pairs of rows that they make.

A key that very many documents share (a licence's text, a journal's boilerplate) would make pairs by the square. So a
document is paired with the `WINDOW` before it in its group and with the group's first one; who lies further apart is
joined through those between, or through another key.
"""

import numpy as np

from stages.dedup.spill import U64, Places

WINDOW = 16


def first_of_each(*columns: U64) -> Places:
    """Where each run of neighbours that are equal in all columns starts."""
    new = np.ones(len(columns[0]), np.bool_)
    new[1:] = np.logical_or.reduce([c[1:] != c[:-1] for c in columns])
    return np.flatnonzero(new)


def groups(*columns: U64) -> tuple[Places, Places]:
    """Where each run of two or more neighbours that are equal in all columns starts and ends."""
    starts = first_of_each(*columns)
    ends = np.append(starts[1:], len(columns[0]))[: len(starts)]
    many = ends - starts > 1
    return starts[many], ends[many]


def matches(needles: U64, haystack: U64) -> tuple[Places, Places]:
    """Each place in `needles` beside each of the first `WINDOW` places in the sorted `haystack` with an equal value."""
    starts = np.searchsorted(haystack, needles, side="left")
    ends = np.searchsorted(haystack, needles, side="right")
    lengths = np.minimum(ends - starts, WINDOW)
    return np.repeat(np.arange(len(needles)), lengths), np.repeat(starts, lengths) + _counted(lengths)


def pairs(rows: U64, starts: Places, ends: Places) -> U64:
    """Pairs (n, 2), the larger row first, of the rows that lie in the same group."""
    position, place = _members(starts, ends)
    longest = int((ends - starts).max(initial=1))
    found = [_beside(rows, position[place >= back], back) for back in range(1, min(WINDOW, longest - 1) + 1)]
    far = place > WINDOW
    found.append(_beside(rows, position[far], place[far]))
    both = np.concatenate(found)
    both = np.sort(both[both[:, 0] != both[:, 1]], axis=1)
    return both[:, ::-1]


def stars(rows: U64, starts: Places, ends: Places) -> U64:
    """Links (n, 2) of each row of a group to the group's first."""
    position, place = _members(starts, ends)
    links = _beside(rows, position, place)
    others: U64 = links[links[:, 0] != links[:, 1]]
    return others


def _members(starts: Places, ends: Places) -> tuple[Places, Places]:
    """Each place that lies in a group, and how far it is from its group's first."""
    place = _counted(ends - starts)
    return np.repeat(starts, ends - starts) + place, place


def _beside(rows: U64, position: Places, back: Places | int) -> U64:
    return np.stack([rows[position], rows[position - back]], axis=1)


def _counted(lengths: Places) -> Places:
    """0, 1, .. for each length, one after the other."""
    total = int(lengths.sum())
    counted: Places = np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return counted
