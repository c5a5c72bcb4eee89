"""How good a copy of its work a text is: the share of it that was not made by OCR and does not stand for nothing.

Both shares are counted in characters. It gives up: a text layer that shows other letters than its page looks fine here;
`parse` has judged it by its letters already.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


def quality(pages: pa.Array, num_characters: npt.NDArray[np.int64], unreadable: npt.NDArray[np.int64]) -> pa.Array:
    """A number in 0..1 for each row, from its page spans and its unreadable characters (see `characters`)."""
    total = np.maximum(num_characters, 1)
    clean = (1 - np.minimum(_by_ocr(pages) / total, 1)) * (1 - unreadable / total)
    return pa.array(clean.astype(np.float32))


def _by_ocr(pages: pa.Array) -> npt.NDArray[np.float64]:
    spans = pages.flatten()
    read = pc.equal(spans.field("origin"), "ocr")
    lengths = pc.if_else(read, pc.subtract(spans.field("end"), spans.field("start")), 0)
    owners = pc.list_parent_indices(pages)
    lengths = lengths.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return np.bincount(owners.to_numpy(zero_copy_only=False), lengths, len(pages)).astype(np.float64)
