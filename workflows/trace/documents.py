"""The documents of training by their places in the datasets. DuckDB reads the tables."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
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
        self._connection = connect()
        relation(self._connection, tokenized).create_view("tokenized")
        rows = [
            (file.shard.bin.path, number, int(end) - len(file))
            for number, dataset in enumerate(datasets)
            for file, end in zip(dataset.files, dataset.ends, strict=True)
        ]
        columns = dict(zip(("bin", "dataset", "first"), map(list, zip(*rows, strict=True)), strict=True))
        self._connection.from_arrow(pa.table(columns)).create("bins")
        self._connection.execute(
            f"""
            CREATE VIEW placed AS
            SELECT doc_id, dataset, start + first AS start, num_tokens, source, coalesce(licence, '{UNKNOWN}') AS licence
            FROM tokenized JOIN bins USING (bin) WHERE split = 'train'
            """  # noqa: S608 - a word of ours
        )

    def licensed(self, dataset: int) -> Licensed:
        """Starts, tokens and licences of all documents of a dataset, sorted: 24 bytes a document."""
        sql = "SELECT start, num_tokens, licence FROM placed WHERE dataset = ? AND num_tokens > 0 ORDER BY start"
        table = self._connection.sql(sql, params=[dataset]).to_arrow_table()
        licences = table["licence"].combine_chunks().dictionary_encode()
        if isinstance(licences, pa.ChunkedArray):
            licences = licences.unify_dictionaries().combine_chunks()
        columns = (table["start"], table["num_tokens"], licences.indices)
        starts, lengths, codes = (c.to_numpy().astype(np.int64, copy=False) for c in columns)
        return Licensed(starts, lengths, codes, licences.dictionary.to_pylist())

    def touched(self, pieces: Mapping[int, Pieces]) -> list[Placed]:
        """Documents of which any piece (by dataset) has a token, by dataset and start; memory is a batch's."""
        found: list[Placed] = []
        for batch in self._connection.sql("SELECT * FROM placed").to_arrow_reader(BATCH_ROWS):
            hit = np.zeros(batch.num_rows, np.bool_)
            numbers, starts, lengths = (batch[c].to_numpy() for c in ("dataset", "start", "num_tokens"))
            for dataset, some in pieces.items():
                hit |= (numbers == dataset) & touched(starts, starts + lengths, some)
            found += [Placed(**row) for row in batch.filter(pa.array(hit)).to_pylist()]
        return sorted(found, key=lambda d: (d.dataset, d.start))

    def placed(self, doc_id: str) -> list[Placed]:
        """Where a document's training tokens are; nowhere if it was held out or dropped."""
        cursor = self._connection.execute("SELECT * FROM placed WHERE doc_id = ? ORDER BY dataset, start", [doc_id])
        return [Placed(*row) for row in cursor.fetchall()]

    def splits(self, doc_id: str) -> set[str]:
        """The splits that have tokens of a document."""
        cursor = self._connection.execute("SELECT DISTINCT split FROM tokenized WHERE doc_id = ?", [doc_id])
        return {row[0] for row in cursor.fetchall()}
