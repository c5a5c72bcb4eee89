"""Train or validation, document by document, from a hash of the seed and the document's id.

A document's side depends on nothing else, so a corpus may grow or be reordered and no document changes sides; the one
exception is the document that is moved so that no side is empty.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


def held_out(doc_ids: Iterable[str], seed: int, fraction: float) -> Mask:
    """Say of each of N documents whether it is for validation: N booleans.

    With a fraction above 0 and two documents or more, both sides have at least one.
    """
    draws = np.fromiter((_draw(seed, doc_id) for doc_id in doc_ids), np.float64)
    mask = draws < fraction
    if len(draws) == 0 or draws.min() == draws.max():  # one document: a model cannot be trained without it
        return np.zeros(len(draws), np.bool_)
    if fraction and not mask.any():
        mask = draws == draws.min()
    elif mask.all():
        mask = draws < draws.max()
    return mask.astype(np.bool_)


def _draw(seed: int, doc_id: str) -> float:
    """Draw a number from [0, 1), the same for the same document and seed on every machine."""
    digest = hashlib.blake2b(f"{seed}:{doc_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64
