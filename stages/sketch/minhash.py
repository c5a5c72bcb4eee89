"""MinHash band keys of texts (Broder 1997; Indyk and Motwani 1998), whole Arrow arrays at a time.

The chance that two documents agree in one of the P = num_bands * rows_per_band minima is the share of their word n-grams
that they have in common (Jaccard). A band is `rows_per_band` minima, its key a 64-bit hash of them; two documents that
have a key in common are candidates. (The reference implementation of LSHBloom takes the *sum* of the minima; minima of
long documents are all near 0, so sums of unrelated documents collide.) The work is done in `kernel`.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from stages.sketch import kernel
from stages.sketch.characters import characters
from stages.sketch.fold import Folded, Offsets, fold
from stages.sketch.kernel import Hashes


class Sets(NamedTuple):
    """Sorted distinct hashes of word n-grams: those of text `i` are `hashes[offsets[i]:offsets[i + 1]]`."""

    hashes: Hashes
    offsets: Offsets


class MinHash:
    """One family of hashes: texts sketched with equal settings can be compared, others not."""

    def __init__(self, num_bands: int, rows_per_band: int, seed: int, ngram_words: int = 5) -> None:
        self.bands, self.seed, self.ngram_words = (num_bands, rows_per_band), np.uint64(seed), ngram_words

    def sketch(self, folded: Folded) -> tuple[Hashes, Offsets]:
        """Keys (N, num_bands) of N normalized texts, and the distinct n-grams of each; keys of none are 0."""
        return kernel.band_keys(folded, self.ngram_words, self.bands, self.seed, characters().kinds)

    def sets(self, texts: pa.Array) -> Sets:
        """The n-grams of each text, as they are."""
        return Sets(*kernel.distinct_ngrams(fold(texts), self.ngram_words, characters().kinds))

    def keys(self, sets: Sets) -> Hashes:
        """Keys (N, num_bands) of N sets of n-grams; keys of an empty set are 0."""
        return kernel.keys_of_sets(sets, self.bands, self.seed)
