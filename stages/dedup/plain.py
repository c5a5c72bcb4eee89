"""LSHBloom as published (arXiv 2411.04257): whoever repeats a band key of a document that stayed is dropped, unverified.

Only documents that stay are put into the filters, so the order of rows decides. Blocks of rows are looked up together;
keys that two documents of one block share are found among the keys themselves. The filter of an earlier corpus is
looked up in the same way.
"""

from collections.abc import Sequence

from stages.base import num_workers
from stages.dedup.bloom import BandFilters
from stages.dedup.near import tag
from stages.dedup.spill import U64


def drop_seen(rows: U64, keys: U64, filters: BandFilters, old: Sequence[BandFilters]) -> dict[int, int]:
    """The rows of a block that are dropped, each with its number of bands seen before; the others go into `filters`."""
    seen = filters.contains(keys, num_workers())
    for earlier in old:
        seen |= earlier.contains(keys, num_workers())
    flagged, stay = {}, []
    here: set[int] = set()
    for place, (row, before, own) in enumerate(
        zip(rows.tolist(), seen.sum(axis=1).tolist(), tag(keys).tolist(), strict=True)
    ):
        if hits := before or sum(key in here for key in own):
            flagged[row] = hits
        else:
            here.update(own)
            stay.append(place)
    filters.insert(keys[stay], num_workers())
    return flagged
