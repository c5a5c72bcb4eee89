"""Copies that are known by name: the same normalized text (exact), and the same work by DOI, arXiv id or title.

Names are 128-bit digests, sorted outside memory, so equal ones lie side by side. A work's identifier is taken at its
word unless more than `MAX_COPIES` documents carry it (a journal's issue, a data set's DOI on every page about it), those of
earlier corpora counted. A
title never is: "Editorial" is the title of many works. Documents that share only such a name are compared, and are
copies if they share a tenth of their text (see `verify`); 5-grams of unrelated papers overlap by 3 % at most.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from stages.dedup.join import groups, matches, pairs, stars
from stages.dedup.keys import KeyFile, write_keys
from stages.dedup.segments import Segment
from stages.dedup.spill import U64, Spill
from stages.tables import Reader

MAX_COPIES = 16
COLUMNS = ("doc_id", "content_sha", "works")
BATCH_ROWS = 8192


class Names:
    """Digests of all documents of a table, sorted on disk: `contents` and `works` of (high, low, row)."""

    def __init__(self, sketches: Reader, folder: Path) -> None:
        num_rows = sketches.num_rows
        self.documents = Spill(folder / "documents", 2, num_rows)
        self.contents = Spill(folder / "contents", 3, num_rows)
        self.works = Spill(folder / "works", 3, num_rows)
        first = 0
        for batch in sketches.batches(COLUMNS, BATCH_ROWS):
            self._add(batch, first)
            first += batch.num_rows

    def _add(self, batch: pa.RecordBatch, first: int) -> None:
        rows = np.arange(first, first + batch.num_rows, dtype=np.uint64)
        ids = digests_of_hex(batch["doc_id"])
        self.documents.add(np.column_stack([ids[:, 0], rows]))
        self.contents.add(np.column_stack([digests_of_hex(batch["content_sha"]), rows]))
        names = pc.list_flatten(batch["works"]).to_pylist()
        owners = rows[np.from_dlpack(pc.list_parent_indices(batch["works"]))]
        self.works.add(np.column_stack([_work_digests(names), owners]))


class Links(NamedTuple):
    """Pairs (n, 2) of rows of all segments.

    `copies` are (row, first row with the same text), ascending, each row once; `works` are copies of one work; `doubtful`
    pairs share a name that proves nothing.
    """

    copies: U64
    works: U64
    doubtful: U64


def find_links(names: Names, segments: Sequence[Segment], folder: Path) -> Links:
    """Write the key files `documents`, `contents` and `works` of the newest segment, and link its rows by them."""
    *old, own = segments
    write_keys(folder / "documents.npy", names.documents.sorted(), 2, names.documents.num_records)
    links: dict[str, list[U64]] = {"copies": [], "old copies": [], "works": [], "doubtful": []}
    contents = KeyFile(folder / "contents.npy", 3, names.contents.num_records)
    for block in names.contents.sorted():
        contents.append(block)
        links["copies"].append(copies(block) + np.uint64(own.start))
        for segment in old:
            ours, theirs = known(block, segment.keys("contents"))
            links["old copies"].append(_numbered(block[ours, 2], theirs, own, segment))
    works = KeyFile(folder / "works.npy", 3, names.works.num_records)
    for block in names.works.sorted():
        works.append(block)
        keys = [segment.keys("works") for segment in old]
        doubtful = is_doubtful(block, [block[:, 0], *(key[0] for key in keys)])
        for name, pairs_ in zip(("works", "doubtful"), same_work(block, doubtful), strict=True):
            links[name].append(pairs_ + np.uint64(own.start))
        for segment, key in zip(old, keys, strict=True):
            ours, theirs = known(block, key)
            both = _numbered(block[ours, 2], theirs, own, segment)
            links["works"].append(both[~doubtful[ours]])
            links["doubtful"].append(both[doubtful[ours]])
    found = {name: np.concatenate([*arrays, np.zeros((0, 2), np.uint64)]) for name, arrays in links.items()}
    same_text = np.concatenate([found["old copies"], found["copies"]])
    _, first = np.unique(same_text[:, 0], return_index=True)
    return Links(same_text[first], found["works"], found["doubtful"])


def _numbered(rows: U64, old_rows: U64, own: Segment, segment: Segment) -> U64:
    return np.column_stack([rows + np.uint64(own.start), old_rows + np.uint64(segment.start)])


def digests_of_hex(names: pa.StringArray) -> U64:
    """The first 128 bits of hexadecimal digests of one length, big-endian (n, 2), so that they sort as they are written."""
    _, offsets, data = names.buffers()
    starts = np.frombuffer(offsets, np.int32)[names.offset : names.offset + len(names) + 1]
    if not len(names):
        return np.zeros((0, 2), np.uint64)
    letters = np.frombuffer(data, np.uint8)[starts[0] : starts[-1]].reshape(len(names), -1)[:, :32]
    halves = np.where(letters >= ord("a"), letters - (ord("a") - 10), letters - ord("0"))
    return (halves[:, ::2] << 4 | halves[:, 1::2]).view(">u8").astype(np.uint64)


def _work_digests(names: Sequence[str]) -> U64:
    """128 bits a name; the last bit says whether it must be confirmed (a title)."""
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=16).digest() for name in names)
    columns = np.frombuffer(digests, ">u8").astype(np.uint64).reshape(-1, 2)
    titles = np.fromiter((name.startswith("title:") for name in names), np.uint64, len(names))
    columns[:, 1] = columns[:, 1] & ~np.uint64(1) | titles
    return columns


def copies(block: U64) -> U64:
    """Links (row, first row) of the documents with the same content in a sorted block of (high, low, row)."""
    return stars(block[:, 2], *groups(block[:, 0], block[:, 1]))


def is_doubtful(block: U64, carriers: Sequence[U64]) -> npt.NDArray[np.bool_]:
    """Whether each name in a block of (high, low, row) proves nothing: a title, or one that too many documents carry.

    `carriers` are the sorted high halves of the names of all corpora.
    """
    high = block[:, 0]
    count = sum(np.searchsorted(c, high, side="right") - np.searchsorted(c, high, side="left") for c in carriers)
    return (block[:, 1] & np.uint64(1)).astype(bool) | (np.asarray(count) > MAX_COPIES)


def same_work(block: U64, doubtful: npt.NDArray[np.bool_]) -> tuple[U64, U64]:
    """Links that stand and pairs to be confirmed, each (n, 2), of the rows with a name in common in a sorted block."""
    starts, ends = groups(block[:, 0], block[:, 1])
    ask, rows = doubtful[starts], block[:, 2]
    return stars(rows, starts[~ask], ends[~ask]), pairs(rows, starts[ask], ends[ask])


def known(block: U64, old: U64) -> tuple[npt.NDArray[np.int64], U64]:
    """Places in a sorted block of (high, low, row) whose names an earlier corpus' key file has, beside the rows it has them in."""
    ours, theirs = matches(block[:, 0], old[0])
    equal = block[ours, 1] == old[1][theirs]
    return ours[equal], old[2][theirs[equal]]
