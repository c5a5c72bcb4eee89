"""What earlier runs have decided about the documents that new ones turn out to be copies of."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.corpus import Duplicate
from stages.dedup.join import matches
from stages.dedup.names import digests_of_hex
from stages.dedup.segments import Segment, take_all
from stages.dedup.spill import U64
from stages.tables import Reader

COLUMNS = ("doc_id", "of", "cluster")


class Kept(NamedTuple):
    """`of`: the document that was kept for one that was not; `cluster`: the cluster of one that was kept."""

    of: dict[str, str]
    cluster: dict[str, str]


def decided(segments: Sequence[Segment], rows: U64) -> tuple[Kept, U64]:
    """What became of ascending old `rows`, and links (row, row of the one kept for it) between old documents."""
    ids: list[str] = []
    for _, table in take_all(segments, "sketches", rows, ("doc_id",)):
        ids += table["doc_id"].to_pylist()
    row_of = dict(zip(ids, rows.tolist(), strict=True))
    of = {d["doc_id"]: d["of"] for d in _duplicates(segments, "doc_id", ids) if d["of"] is not None}
    stay = sorted({of.get(name, name) for name in ids})
    cluster = {d["of"]: d["cluster"] for d in _duplicates(segments, "of", stay)}
    found = _rows_of(segments, [name for name in stay if name not in row_of])
    links = [(row_of[name], {**found, **row_of}[kept]) for name, kept in of.items() if name in row_of]
    return Kept(of, cluster), np.array(links, np.uint64).reshape(-1, 2)


def _duplicates(segments: Sequence[Segment], column: str, ids: Sequence[str]) -> Iterator[dict[str, str]]:
    wanted = pa.array(ids, pa.string())
    for segment in segments:
        for batch in Reader(segment.folder / "duplicates", Duplicate).batches(COLUMNS) if ids else ():
            yield from batch.filter(pc.is_in(batch[column], wanted)).to_pylist()


def _rows_of(segments: Sequence[Segment], ids: Sequence[str]) -> dict[str, int]:
    """Rows of documents by name: their digests' first 64 bits are looked up, then the names are compared."""
    found: dict[str, int] = {}
    for segment in segments if ids else ():
        prefixes, rows = segment.keys("documents")
        _, places = matches(digests_of_hex(pa.array(ids, pa.string()))[:, 0], prefixes)
        old = np.unique(rows[places] + np.uint64(segment.start))
        for where, table in take_all(segments, "sketches", old, ("doc_id",)):
            names = table["doc_id"].to_pylist()
            found |= {n: int(r) for n, r in zip(names, old[where], strict=True) if n in set(ids)}
    return found
