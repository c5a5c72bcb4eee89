"""Train or validation, document by document, from a hash of the seed and the document's id.

A document's draw depends on nothing else, so a corpus may grow or be reordered and no document changes sides. One number
(`SplitRule.below`) says which draws are held out, so a shard decides for its own rows. The number is the fraction that
was asked for, moved only where one side would be empty.

The hash is multilinear (Lemire and Kaser, "Strongly universal string hashing is fast", 2014): a doc_id is a SHA-256, eight
words of 32 bits; the seed's SHA-512 gives eight keys of 64 bits; the sum of their products is the draw. That is 0.2 us a
document where a cryptographic hash of each takes 0.5 us. What it gives up: ids chosen by an adversary could be held out at will.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from schemas.tokens import SplitRule

Draws = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def draw(seed: int, doc_ids: list[str], purpose: str = "split") -> Draws:
    """Draw N numbers in [0, 1), the same for the same document, seed and purpose on every machine."""
    keys = np.frombuffer(hashlib.sha512(f"{purpose}:{seed}".encode()).digest(), "<u8")
    words = np.frombuffer(bytes.fromhex("".join(doc_ids)), "<u4").reshape(-1, len(keys))
    sums = (words.astype(np.uint64) * keys).sum(axis=1, dtype=np.uint64)
    draws: Draws = (sums >> np.uint64(11)) * 2.0**-53
    return draws


def held_out(rule: SplitRule, doc_ids: list[str]) -> Mask:
    """Say of each of N documents whether it is for validation: N booleans."""
    return draw(rule.seed, doc_ids) < rule.below


def split_rule(batches: Iterable[list[str]], seed: int, fraction: float) -> SplitRule:
    """Find the threshold for a corpus whose doc_ids come in batches; memory is one batch's.

    With a fraction above 0 and two documents or more, both sides have at least one.
    """
    low, high = 1.0, 0.0
    for doc_ids in batches:
        if doc_ids:
            draws = draw(seed, doc_ids)
            low, high = min(low, float(draws.min())), max(high, float(draws.max()))
    below = fraction
    if fraction == 0 or low >= high:  # one document: a model cannot be trained without it
        below = 0.0
    elif fraction <= low:
        below = float(np.nextafter(low, 1.0))
    elif fraction > high:
        below = high
    return SplitRule(seed=seed, validation_fraction=fraction, below=below)
