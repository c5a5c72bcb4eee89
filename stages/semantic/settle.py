"""Who stays: in order from the best copy to the worst, each document goes if one that is like it has stayed.

So what goes is always like something that stays, by its own cosine and not through others, and no two that stay are linked.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.table import ContractError
from stages.compiled import compiled
from stages.dedup.spill import U64
from stages.dedup.survivor import rank
from stages.semantic.vectors import Rows, Unit
from stages.tables import Reader

FACTS = ("doc_id", "quality", "licence", "works", "num_shingles", "path", "num_characters")
ID_DIGITS = 16  # of a doc_id: 64 bits tell documents apart


class Places(NamedTuple):
    """The order in which documents are decided, by row: `places[row]`, and `rows[place]`."""

    places: Rows
    rows: Rows

    @classmethod
    def of(cls, keys: U64 | Unit) -> Self:
        """The least key first; of equal ones the first row."""
        rows = np.argsort(keys, kind="stable")
        places = np.empty(len(rows), np.int64)
        places[rows] = np.arange(len(rows))
        return cls(places, rows)


class Sketched(NamedTuple):
    """By row: a key, less for a better copy (the first four lines of the table in `dedup.survivor`), and characters."""

    keys: U64
    lengths: Unit

    @classmethod
    def read(cls, documents: Reader, sketches: Reader) -> Self:
        """Find the sketch of each document; `ContractError` if one has none."""
        ids, keys, lengths = _joined(_facts(sketches))
        (wanted,) = _joined((_numbers(batch["doc_id"]),) for batch in documents.batches(["doc_id"]))
        order = np.argsort(ids)
        places = np.searchsorted(ids, wanted, sorter=order)
        found = order[np.minimum(places, len(ids) - 1)] if len(ids) else np.zeros(0, np.int64)
        missing = np.count_nonzero(ids[found] != wanted) if len(ids) else len(wanted)
        if missing:
            problem = f"{missing} of {len(wanted)} documents have no sketch"
            raise ContractError("sketches", [problem, "take the table that dedup read"])
        return cls(keys[found], lengths[found].astype(np.float32))


def _joined(batches: Iterable[tuple[U64, ...]]) -> list[U64]:
    return [np.concatenate(columns) for columns in zip(*batches, strict=True)]


def _facts(sketches: Reader) -> Iterator[tuple[U64, ...]]:
    nothing = np.zeros(0, np.uint64)
    yield nothing, nothing, nothing
    for batch in sketches.batches(FACTS):
        keys = np.array([_packed(row) for row in batch.to_pylist()], np.uint64)
        yield _numbers(batch["doc_id"]), keys, batch["num_characters"].to_numpy().astype(np.uint64)


def _packed(facts: dict[str, Any]) -> int:
    legible, free, version, longer, _, _ = rank(facts)
    return (legible + 10) << 35 | (free + 2) << 33 | (version + 2) << 31 | (longer + (1 << 31) - 1)


def _numbers(ids: pa.Array) -> U64:
    digits = "".join(pc.utf8_slice_codeunits(ids, 0, ID_DIGITS).to_pylist())
    return np.frombuffer(bytes.fromhex(digits), ">u8").astype(np.uint64)


def settle(links: Iterable[U64], count: int) -> Rows:
    """For each of `count` places that of the document which it goes for, or -1; `links` come sorted by the worse place."""
    of = np.full(count, -1)
    for block in links:
        _settle(block, of)
    return of


@compiled
def _settle(links: U64, of: Rows) -> None:
    best = np.uint64(0)
    for link in range(len(links)):
        if link == 0 or links[link, 0] != links[link - 1, 0]:
            best = np.uint64(0)
        if links[link, 2] > best and of[np.int64(links[link, 1])] < 0:
            best = links[link, 2]
            of[np.int64(links[link, 0])] = np.int64(links[link, 1])
