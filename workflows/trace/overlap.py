"""Which documents the tokens of samples belong to: spans against sorted documents, no loop over tokens or documents."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stages.stream.order import Indices, Pieces


class Runs(NamedTuple):
    """K runs of tokens, each of one sample and one document.

    `documents` counts in the list that was given, `starts` in the dataset, `places` in the sample.
    """

    samples: Indices
    documents: Indices
    starts: Indices
    lengths: Indices
    places: Indices

    def inputs(self, sequence_tokens: int) -> Indices:
        """How many tokens of each run are inputs: those among the first `sequence_tokens` of their sample."""
        found: Indices = np.clip(sequence_tokens - self.places, 0, self.lengths)
        return found


def runs(pieces: Pieces, starts: Indices, lengths: Indices) -> Runs:
    """Cut pieces, each sample whole and once, at the borders of documents, which are sorted and do not overlap.

    Tokens of no given document are left out.
    """
    ends = pieces.starts + pieces.lengths
    first = np.maximum(starts.searchsorted(pieces.starts, side="right") - 1, 0)
    counts = np.maximum(starts.searchsorted(ends, side="left") - first, 0)
    piece = np.repeat(np.arange(len(ends)), counts)
    document = first[piece] + np.arange(len(piece)) - np.repeat(np.cumsum(counts) - counts, counts)
    begin = np.maximum(pieces.starts[piece], starts[document])
    length = np.minimum(ends[piece], starts[document] + lengths[document]) - begin
    place = _before(pieces)[piece] + begin - pieces.starts[piece]
    kept = length > 0
    return Runs(pieces.samples[piece[kept]], document[kept], begin[kept], length[kept], place[kept])


def _before(pieces: Pieces) -> Indices:
    """How many tokens of its sample stand before each piece."""
    ends = np.cumsum(pieces.lengths)
    first = np.flatnonzero(np.diff(pieces.samples, prepend=-1))
    before: Indices = ends - pieces.lengths
    return before - np.repeat(before[first], np.diff(first, append=len(ends)))


def touched(starts: Indices, ends: Indices, pieces: Pieces) -> npt.NDArray[np.bool_]:
    """Say of each range `starts[i] : ends[i]` whether any piece has a token of it."""
    if not len(pieces.starts):
        return np.zeros(len(starts), np.bool_)
    order = np.argsort(pieces.starts, kind="stable")
    reach = np.maximum.accumulate((pieces.starts + pieces.lengths)[order])
    last = pieces.starts[order].searchsorted(ends, side="left") - 1  # the last piece that begins before the range ends
    found: npt.NDArray[np.bool_] = (last >= 0) & (reach[np.maximum(last, 0)] > starts)
    return found
