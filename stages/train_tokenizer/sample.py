"""Which documents to look at when there are too many: those with the lowest hashes, as many as fit a limit in bytes.

A bottom-k sample (Cohen and Kaplan 2007) by size: every document is as likely as its neighbour, the choice is the same in any
order of rows and for any number of workers, and memory goes with the limit and not with the corpus.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from stages.stream.split import Draws

PIECE_CHARS = 1 << 18  # a book is looked at in pieces: the library holds 256 texts at once

Sizes = npt.NDArray[np.int64]


class LowestDraws:
    """Finds the threshold under which draws belong to documents of at most `max_bytes` in all, and of one at least."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self._threshold, self._total = max_bytes, np.inf, 0
        self._draws: list[Draws] = []
        self._sizes: list[Sizes] = []

    def add(self, draws: Draws, sizes: Sizes) -> None:
        """Look at N documents: their draws, and their sizes in bytes."""
        low = draws < self._threshold
        self._draws.append(draws[low])
        self._sizes.append(sizes[low])
        self._total += int(self._sizes[-1].sum())
        if self._total > 2 * self.max_bytes:
            self._cut()

    def below(self) -> float:
        """Documents with a draw under this are the sample; infinite if all are."""
        self._cut()
        return self._threshold

    def num_bytes(self) -> int:
        """Bytes of the sample."""
        self._cut()
        return self._total

    def _cut(self) -> None:
        draws, sizes = (np.concatenate([*kept, np.zeros(0)]) for kept in (self._draws, self._sizes))
        order = np.argsort(draws, kind="stable")
        fitting = int(np.searchsorted(np.cumsum(sizes[order]), self.max_bytes, side="right"))
        kept = order[: max(fitting, 1)]
        if len(kept) < len(order):
            self._threshold = float(draws[order[len(kept)]])
        self._draws, self._sizes = [draws[kept]], [sizes[kept].astype(np.int64)]
        self._total = int(self._sizes[0].sum())


def pieces(text: str) -> Iterator[str]:
    """Yield a text in pieces of at most `PIECE_CHARS`, cut after a line where there is one."""
    start = 0
    while len(text) - start > PIECE_CHARS:
        end = text.rfind("\n", start, start + PIECE_CHARS) + 1 or start + PIECE_CHARS
        yield text[start:end]
        start = end
    yield text[start:]
