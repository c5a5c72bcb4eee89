"""Stretches cut out of a document, so that each character that is left still says which page it came from."""

from collections.abc import Iterable
from typing import Any

import numpy as np


def cut(fields: dict[str, Any], spans: Iterable[tuple[int, int]]) -> dict[str, Any] | None:
    """A document without these stretches of characters, its pages moved along; None if nothing but space is left."""
    merged = _merged(spans)
    text, kept, last = fields["text"], [], 0
    for start, end in merged:
        kept.append(text[last:start])
        last = end
    rest = "".join([*kept, text[last:]])
    if not rest.strip():
        return None
    starts, ends = np.array(merged, np.int64).reshape(-1, 2).T
    before = np.concatenate([[0], np.cumsum(ends - starts)])  # characters cut before each stretch, and in all

    def moved(place: int) -> int:
        number = int(np.searchsorted(starts, place))  # stretches that begin before the place
        inside = max(0, int(ends[number - 1]) - place) if number else 0
        return place - int(before[number]) + inside

    pages = [{**p, "start": moved(p["start"]), "end": moved(p["end"])} for p in fields["pages"]]
    return {**fields, "text": rest, "pages": pages}


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged
