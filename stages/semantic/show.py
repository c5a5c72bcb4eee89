"""What a run shows of itself: how near documents are to their nearest, by source, and pairs on both sides of the threshold."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.corpus import SimilarityCount, SimilarityExample
from stages.dedup.take import take
from stages.semantic.vectors import Rows
from stages.tables import Reader

BINS = 50  # of cosines from 0 to 1
PAIRS, STEP, BELOW = 3, 0.01, 0.1  # so many pairs in each step of cosine, from so far below the threshold
CHARACTERS = 300  # of a document that is shown


class Alike(NamedTuple):
    """By row: the document that it goes for, or -1; that one or else the nearest found, or -1; the cosine with that."""

    of: Rows
    partners: Rows
    cosines: npt.NDArray[np.float64]

    @classmethod
    def none(cls, count: int) -> "Alike":
        """No document is like another."""
        return cls(np.full(count, -1), np.full(count, -1), np.zeros(count))


class Counts:
    """Documents by source and cosine, and how many of them go."""

    def __init__(self) -> None:
        self._all: Counter[tuple[str, int]] = Counter()
        self._removed: Counter[tuple[str, int]] = Counter()

    def add(self, sources: Sequence[str], cosines: npt.NDArray[np.float64], stays: npt.NDArray[np.bool_]) -> None:
        """Count some documents."""
        bins = np.clip((cosines * BINS).astype(np.int64), 0, BINS - 1).tolist()
        keys = list(zip(sources, bins, strict=True))
        self._all.update(keys)
        self._removed.update(key for key, stay in zip(keys, stays.tolist(), strict=True) if not stay)

    def rows(self) -> Iterator[SimilarityCount]:
        """The counts above 0, by source and cosine."""
        for (source, number), count in sorted(self._all.items()):
            yield SimilarityCount(
                source=source,
                low=number / BINS,
                high=(number + 1) / BINS,
                num_documents=count,
                num_removed=self._removed[source, number],
            )


def examples(documents: Reader, alike: Alike, threshold: float) -> list[SimilarityExample]:
    """Pairs in equal steps of cosine around the threshold and up to 1, most alike first."""
    pairs = [(row, int(alike.partners[row])) for row in _chosen(alike, threshold)]
    wanted = np.unique(np.array(pairs, np.int64))
    facts: dict[int, dict[str, str]] = {}
    for span, table in take(documents, wanted, ("doc_id", "path", "text")):
        facts |= dict(zip(wanted[span].tolist(), table.to_pylist(), strict=True))
    return [
        SimilarityExample(
            pair=number,
            doc_id=facts[row]["doc_id"],
            path=facts[row]["path"],
            score=float(alike.cosines[pair[0]]),
            removed=bool(alike.of[row] >= 0),
            text=facts[row]["text"][:CHARACTERS],
        )
        for number, pair in enumerate(pairs)
        for row in pair
    ]


def _chosen(alike: Alike, threshold: float) -> list[int]:
    chosen: list[int] = []
    steps = np.floor(alike.cosines / STEP + 1e-9).astype(np.int64)
    seen: set[frozenset[int]] = set()
    for step in range(round(1 / STEP), int(np.floor((threshold - BELOW) / STEP)) - 1, -1):
        rows = np.flatnonzero((steps == step) & (alike.partners >= 0))
        taken = 0
        for row in rows.tolist():
            pair = frozenset((row, int(alike.partners[row])))
            if taken < PAIRS and pair not in seen:
                seen.add(pair)
                chosen.append(row)
                taken += 1
    return chosen
