"""Near-duplicates: LSHBloom (arXiv 2411.04257) flags, key files name the candidates.

Every document's band keys are put into a Bloom filter a band, which says of each whether it was there before. They are
also sorted on disk beside the row that they come from, so that a flagged key leads to the documents that have it. The
pairs that come of it are candidates; `verify` decides. Other than in the paper every document is put in, flagged or
not: a flag is not a verdict yet, and the pairs found do not depend on the rows' order.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stages.base import num_workers
from stages.compiled import compiled
from stages.dedup.bloom import BandFilters
from stages.dedup.join import first_of_each, groups, matches, pairs
from stages.dedup.keys import KeyFile
from stages.dedup.segments import FILTERS, Segment
from stages.dedup.shape import Shape
from stages.dedup.spill import U64, Spill
from stages.progress import Progress
from stages.tables import Reader

BATCH_ROWS = 1024  # of 64 keys: half a megabyte an array
BLOCK_PAIRS = 1 << 20
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: tells equal keys of two bands apart
NAMED = np.uint64(1 << 32)  # in a candidate's weight, above the count of bands: the two documents share a name


class Flagged(NamedTuple):
    """What the filters leave behind.

    `keys` are (key, row * 2 + flag), `hits` the keys that each earlier segment has, (key, row).
    """

    keys: Spill
    hits: list[tuple[Segment, Spill]]


def flag(
    shape: Shape, segments: Sequence[Segment], wanted: npt.NDArray[np.bool_], scratch: Path, progress: Progress
) -> Flagged:
    """Put the band keys of the newest segment's `wanted` rows into its filters; spill them with flags.

    `wanted` is cleared where a row has no keys.
    """
    *old, own = segments
    records = own.sketches.num_rows * shape.num_bands
    earlier = [BandFilters.open(s.path("filters"), shape.settings) for s in old]
    hits = [(s, Spill(scratch / f"hits-{n}", 2, records)) for n, s in enumerate(old)]
    found = Flagged(Spill(scratch / "bands", 2, records), hits)
    with BandFilters.create(own.folder / FILTERS, shape) as filters:
        for rows, keys in batches_of_keys(own.sketches, wanted):
            for known, (_, spill) in zip(earlier, hits, strict=True):
                seen = known.contains(keys, num_workers())
                spill.add(np.column_stack([tag(keys)[seen], np.broadcast_to(rows[:, None], keys.shape)[seen]]))
            seen = filters.first_seen(keys, num_workers())
            _write_records(keys, rows, seen, found.keys.room(keys.size))
            progress.advance(len(rows))
    return found


def tag(keys: U64) -> U64:
    """Band keys (n, num_bands), each made its band's own."""
    return keys ^ (np.arange(keys.shape[1], dtype=np.uint64) * MULTIPLIER)


@compiled
def _write_records(keys: U64, rows: U64, seen: npt.NDArray[np.bool_], records: U64) -> None:
    """Fill `records` with (tagged key, row * 2 + seen), row after row."""
    num_bands = keys.shape[1]
    for i in range(keys.shape[0]):
        for band in range(num_bands):
            records[i * num_bands + band, 0] = keys[i, band] ^ (np.uint64(band) * MULTIPLIER)
            records[i * num_bands + band, 1] = rows[i] << np.uint64(1) | np.uint64(seen[i, band])


def batches_of_keys(sketches: Reader, wanted: npt.NDArray[np.bool_]) -> Iterator[tuple[U64, U64]]:
    """Rows, and their band keys (n, num_bands), of the `wanted` documents; the mark of those that have none is cleared."""
    first = 0
    for batch in sketches.batches(("band_keys", "num_shingles"), BATCH_ROWS):
        own = wanted[first : first + batch.num_rows]
        own &= np.from_dlpack(batch["num_shingles"]) > 0
        if own.any():
            yield np.flatnonzero(own).astype(np.uint64) + np.uint64(first), key_matrix(batch["band_keys"], own)
        first += batch.num_rows


def key_matrix(column: pa.BinaryArray, wanted: npt.NDArray[np.bool_]) -> U64:
    """Band keys (n, num_bands) of the wanted rows of `Sketch.band_keys`, none of which is empty."""
    _, offsets, data = column.buffers()
    starts = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    present = starts[1:] > starts[:-1]
    keys = np.frombuffer(data, np.uint8)[starts[0] : starts[-1]].view("<u8").reshape(int(present.sum()), -1)
    return keys if wanted.all() else keys[wanted[present]]


def candidates(flagged: Flagged, own: Segment, found: Spill) -> None:
    """Write the key file; add to `found` (row, earlier row, 1 band in common) for each key that two rows share."""
    start, written = own.start, KeyFile(own.folder / "keys" / "bands.npy", 2, flagged.keys.num_records)
    for block in flagged.keys.sorted(num_workers()):
        flags = np.append(np.uint64(0), np.cumsum(block[:, 1] & np.uint64(1)))
        block[:, 1] >>= np.uint64(1)
        written.append(block)
        starts, ends = groups(block[:, 0])
        asked = flags[ends] > flags[starts]
        both = pairs(block[:, 1], starts[asked], ends[asked]) + np.uint64(start)
        found.add(np.column_stack([both, np.ones(len(both), np.uint64)]))
    for segment, hits in flagged.hits:
        keys, rows = segment.keys("bands")
        for block in hits.sorted(num_workers()):
            ours, theirs = matches(block[:, 0], keys)
            late, early = block[ours, 1] + np.uint64(start), rows[theirs] + np.uint64(segment.start)
            found.add(np.column_stack([late, early, np.ones(len(late), np.uint64)]))


def write_united(found: Spill, file: Path) -> U64:
    """Write and map the candidates (row, earlier row, weight), each pair once, in order.

    A weight's low half counts the bands in common; `NAMED` is added where the two share a name.
    """
    with file.open("wb") as out:
        for block in found.sorted(num_workers()):
            starts = first_of_each(block[:, 0], block[:, 1])
            out.write(np.column_stack([block[starts, :2], _weight(block[:, 2], starts)]).tobytes())
    mapped: U64 = np.memmap(file, np.uint64, "r") if file.stat().st_size else np.zeros(0, np.uint64)
    return mapped.reshape(-1, 3)


def blocks(pairs: U64) -> Iterator[U64]:
    """Candidates, some at a time."""
    return (np.asarray(pairs[start : start + BLOCK_PAIRS]) for start in range(0, len(pairs), BLOCK_PAIRS))


def _weight(weights: U64, starts: npt.NDArray[np.int64]) -> U64:
    bands: U64 = np.add.reduceat(weights & (NAMED - np.uint64(1)), starts)
    named: U64 = np.maximum.reduceat(weights & NAMED, starts)
    return bands | named
