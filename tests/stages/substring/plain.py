"""What the stage computes, written down plainly: tuples of words in a dictionary, and a suffix array with its LCP."""

import itertools
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Place = tuple[int, int]  # document, number of a word in it
UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)


def kind(char: str) -> str:
    """`L` for letters, `N` for digits; planes 2 and 3 of Unicode are ideographs, where they have no name yet too."""
    return "L" if 0x20000 <= ord(char) < 0x40000 else unicodedata.category(char)[0]


class Word(NamedTuple):
    """A word and where it stands (characters)."""

    text: str
    start: int
    end: int

    @property
    def lettered(self) -> bool:
        """Whether a character of it is a letter."""
        return any(kind(c) == "L" for c in self.text)


def words(text: str) -> list[Word]:
    """Runs of what is not space, cut before and after letters of scripts without spaces; with a letter or digit."""
    found = []
    for run in re.finditer(r"\S+", text):
        edges, seen, alone = [run.start()], False, False
        for i in range(run.start(), run.end()):
            solid = kind(text[i]) in "LN"
            single = kind(text[i]) == "L" and bool(UNSPACED.match(text[i]))
            if seen and (single or (alone and solid)):
                edges.append(i)
                alone = False
            seen, alone = seen or solid, alone or single
        edges.append(run.end())
        found += [Word(text[a:b], a, b) for a, b in itertools.pairwise(edges)]
    return [w for w in found if any(kind(c) in "LN" for c in w.text)]


class Answer(NamedTuple):
    """Windows that are repeated, by their words: all places; and the words that go, by document."""

    places: dict[tuple[str, ...], list[Place]]
    gone: list[set[int]]


def answer(texts: Sequence[str], size: int, least: tuple[int, int], *, first_stays: bool) -> Answer:
    """Find repeated windows by looking at each one. `least`: occurrences and documents."""
    places: dict[tuple[str, ...], list[Place]] = defaultdict(list)
    for row, text in enumerate(texts):
        own = words(text)
        for i in range(len(own) - size + 1):
            window = own[i : i + size]
            if 2 * sum(w.lettered for w in window) >= size:
                places[tuple(w.text for w in window)].append((row, i))
    kept = {w: p for w, p in places.items() if len(p) >= least[0] and len({row for row, _ in p}) >= least[1]}
    gone: list[set[int]] = [set() for _ in texts]
    for found in kept.values():
        for row, i in found[1:] if first_stays else found:
            gone[row].update(range(i, i + size))
    return Answer(kept, gone)


def suffix_array(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The order of all suffixes, by doubling the length that is sorted by (Manber and Myers 1993)."""
    rank, size = ids.copy(), 1
    while True:
        after = np.concatenate([rank[size:] + 1, np.zeros(min(size, len(rank)), np.int64)])
        order = np.lexsort([after, rank])
        new = (np.diff(rank[order], prepend=-1) != 0) | (np.diff(after[order], prepend=-1) != 0)
        rank = np.empty_like(rank)
        rank[order] = np.cumsum(new) - 1
        size *= 2
        if rank.max(initial=0) == len(rank) - 1:
            return order


def common_prefixes(ids: Sequence[int], order: Sequence[int]) -> list[int]:
    """Of each suffix and the next one in order, how many words they share (Kasai et al. 2001)."""
    rank = [0] * len(ids)
    for number, place in enumerate(order):
        rank[place] = number
    out, size = [0] * len(ids), 0
    for place in range(len(ids)):
        if rank[place] + 1 == len(ids):
            size = 0
            continue
        other = order[rank[place] + 1]
        while max(place, other) + size < len(ids) and ids[place + size] == ids[other + size]:
            size += 1
        out[rank[place]] = size
        size = max(0, size - 1)
    return out
