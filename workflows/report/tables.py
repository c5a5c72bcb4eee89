"""The tables of a run, one view per contract: every finished output of that contract, with the node it came from.

DuckDB aggregates over the Parquet parts that the manifests list; files are given to it by Arrow, so that a bracket in
a path is never a pattern. One thread, so that sums of floats come out the same every time; a report reads few columns.
"""

from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from schemas.corpus import Allotment, Document, Dropped, Duplicate, SimilarityCount, SimilarityExample, SourceFile
from schemas.evaluation import Sample, Score
from schemas.health import Heartbeat, SpikeEvent, TensorHealth
from schemas.serving import Endpoint
from schemas.table import ContractError, Row
from schemas.tokens import Fertility, MixtureShare, TokenizedDocument, Tokenizer, TokenOrder
from schemas.training import BatchLedger, Checkpoint, DomainLoss, Model, TrainStep, Validation
from stages.tables import Reader
from workflows.report.summary import Summary

SHOWN: tuple[type[Row], ...] = (
    SourceFile, Allotment, Document, Dropped, Duplicate, SimilarityCount, SimilarityExample, Tokenizer, Fertility, TokenizedDocument,
    TokenOrder, MixtureShare, TrainStep, BatchLedger, Validation, Checkpoint, Model, Score, Sample, Endpoint,
    SpikeEvent, TensorHealth, Heartbeat, DomainLoss,
)  # fmt: skip
CONFIG: dict[str, Any] = {"threads": "1", "autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}


class Tables:
    """Views named after row classes; `node` is the index of the node that wrote the row."""

    def __init__(self, summaries: Sequence[Summary]) -> None:
        self.problems: list[str] = []
        self._connection = duckdb.connect(":memory:", config=CONFIG)
        self._found = {row for row in SHOWN if self._view(row, summaries)}

    def close(self) -> None:
        """Let go of the files."""
        self._connection.close()

    def has(self, *rows: type[Row]) -> bool:
        """Whether there is a finished table of each of these contracts."""
        return self._found.issuperset(rows)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """The rows of a query; none, and a problem noted, where a file turns out to be damaged."""
        try:
            cursor = self._connection.execute(sql, list(parameters))
            names = [d[0] for d in cursor.description or []]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except (duckdb.IOException, duckdb.InvalidInputException) as error:  # what Arrow's reader raises ends here
            self.problems.append(f"a table could not be read: {str(error).splitlines()[0]}")
            return []

    def _view(self, row: type[Row], summaries: Sequence[Summary]) -> bool:
        relation = None
        for summary in summaries:
            outputs = summary.manifest.outputs if summary.manifest else {}
            for name, output in outputs.items():
                if output.contract == row.contract() and (found := self._dataset(summary, name, row)):
                    one = self._connection.from_arrow(found).project(f"{summary.index} AS node, *")
                    relation = one if relation is None else relation.union(one)  # its truth value would read all rows
        if relation is not None:
            relation.create_view(row.__name__)
        return relation is not None

    def _dataset(self, summary: Summary, name: str, row: type[Row]) -> "ds.Dataset | None":
        try:
            reader = Reader(summary.node.path / name, row)  # checks the contract of every part
            parts = [str(reader.base / p.path) for p in reader.output.parts]
            return ds.dataset(parts, schema=row.arrow_schema(), format="parquet")
        except (ContractError, OSError, pa.ArrowException) as error:
            self.problems.append(f"{summary.name}, table {name}: {' '.join(str(error).split())}")
            return None
