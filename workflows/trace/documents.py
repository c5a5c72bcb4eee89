"""The documents of training by their places in the datasets, read batch by batch; one document is found by DuckDB."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from stages.base import num_workers
from stages.stream.corpus import Dataset
from stages.stream.order import Indices, Pieces
from stages.tables import Reader
from workflows.trace.overlap import touched

BATCH_ROWS = 1 << 16
CONFIG: dict[str, Any] = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
UNKNOWN = "unknown"


class Placed(NamedTuple):
    """A document of the training split: tokens `start : start + num_tokens` of a dataset, end token included."""

    doc_id: str
    dataset: int
    start: int
    num_tokens: int
    source: str
    licence: str


class Licensed(NamedTuple):
    """All documents of a dataset in order: where they start, their tokens, and their licences as codes of `names`."""

    starts: Indices
    lengths: Indices
    codes: Indices
    names: list[str]


class Batch(NamedTuple):
    """Rows of tokenized documents that are in the datasets, with the dataset and the place there of each."""

    rows: pa.RecordBatch
    datasets: Indices
    starts: Indices
    lengths: Indices


def connect() -> duckdb.DuckDBPyConnection:
    """A database in memory, with as many threads as a stage may use."""
    return duckdb.connect(":memory:", config={**CONFIG, "threads": str(num_workers())})


def relation(connection: duckdb.DuckDBPyConnection, reader: Reader) -> Any:
    """The rows of a table. Files go through Arrow, so that a bracket in a path is never a pattern."""
    parts = [str(reader.base / p.path) for p in reader.output.parts]
    return connection.from_arrow(ds.dataset(parts, schema=reader.row.arrow_schema(), format="parquet"))


class Documents:
    """Tokenized documents, each with its dataset and its place there."""

    def __init__(self, tokenized: Reader, datasets: Sequence[Dataset]) -> None:
        self._reader = tokenized
        files = [
            (file.shard.bin.path, number, int(end) - len(file))
            for number, dataset in enumerate(datasets)
            for file, end in zip(dataset.files, dataset.ends, strict=True)
        ]
        self._bins = pa.array([path for path, _, _ in files], pa.string())
        self._datasets = np.array([number for _, number, _ in files], np.int64)
        self._firsts = np.array([first for _, _, first in files], np.int64)

    def licensed(self, dataset: int) -> Licensed:
        """Starts, tokens and licences of all documents of a dataset, sorted: 24 bytes a document."""
        names: dict[str, int] = {}
        columns: list[list[Indices]] = [[np.empty(0, np.int64)] for _ in range(3)]
        for batch in self._batches(["licence"]):
            mine = batch.datasets == dataset
            licences = pc.fill_null(batch.rows["licence"], UNKNOWN).dictionary_encode()
            codes = np.array([names.setdefault(n, len(names)) for n in licences.dictionary.to_pylist()], np.int64)
            some = (batch.starts, batch.lengths, codes[licences.indices.to_numpy()])
            for column, values in zip(columns, some, strict=True):
                column.append(values[mine])
        starts, lengths, found = (np.concatenate(column) for column in columns)
        order = np.argsort(starts, kind="stable")
        return Licensed(starts[order], lengths[order], found[order], list(names))

    def touched(self, pieces: Mapping[int, Pieces]) -> list[Placed]:
        """Documents of which any piece (by dataset) has a token, by dataset and start; memory is a batch's."""
        found: list[Placed] = []
        for batch in self._batches(["doc_id", "source", "licence"]):
            hit = np.zeros(len(batch.starts), np.bool_)
            for dataset, some in pieces.items():
                inside = touched(batch.starts, batch.starts + batch.lengths, some)
                hit |= (batch.datasets == dataset) & inside
            found += _placed(batch, np.flatnonzero(hit))
        return sorted(found, key=lambda d: (d.dataset, d.start))

    def placed(self, doc_id: str) -> list[Placed]:
        """Where a document's training tokens are; nowhere if it was held out or dropped."""
        found: list[Placed] = []
        for batch in self._located(self._with(doc_id).to_arrow_table().to_batches()):
            found += _placed(batch, np.arange(len(batch.starts)))
        return found

    def splits(self, doc_id: str) -> set[str]:
        """The splits that have tokens of a document."""
        return {row[0] for row in self._with(doc_id).project("split").fetchall()}

    def _with(self, doc_id: str) -> Any:
        rows = relation(connect(), self._reader)
        return rows.filter(duckdb.ColumnExpression("doc_id") == duckdb.ConstantExpression(doc_id))

    def _batches(self, columns: Sequence[str]) -> Iterator[Batch]:
        return self._located(self._reader.batches([*columns, "bin", "start", "num_tokens"], BATCH_ROWS))

    def _located(self, batches: Any) -> Iterator[Batch]:
        for rows in batches:
            file = pc.index_in(rows["bin"], value_set=self._bins)
            kept = rows.filter(file.is_valid())  # the others are held out
            files = file.drop_null().to_numpy()
            starts = kept["start"].to_numpy() + self._firsts[files]
            yield Batch(kept, self._datasets[files], starts, kept["num_tokens"].to_numpy())


def _placed(batch: Batch, at: Indices) -> list[Placed]:
    rows = batch.rows.take(pa.array(at)).to_pylist()
    places = (batch.datasets[at].tolist(), batch.starts[at].tolist())
    return [
        Placed(row["doc_id"], dataset, start, row["num_tokens"], row["source"], row["licence"] or UNKNOWN)
        for row, dataset, start in zip(rows, *places, strict=True)
    ]
