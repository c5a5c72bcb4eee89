"""Typed tables in and out of a stage.

A `Reader` yields the rows of one shard: a contiguous range of the input's rows, so that the rows that come out are in
the same order whatever the number of shards. A `Writer` casts to its contract and refuses what does not fit.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.corpus import Dropped
from schemas.manifest import Cost, Input, Manifest, Output, Part, exists
from schemas.table import BlobRef, ContractError, Row
from stages.progress import Progress
from stages.quarantine import Mark, read_quarantine

BATCH_ROWS = 1024
BATCH_BYTES = 4 << 20  # of rows that wait to be a batch: 1024 books would be gigabytes
ROW_GROUP_BYTES = 32 << 20
READ_BYTES = 1 << 20  # of a column at a time


class Reader:
    """The rows of one input table, or of one shard of them. `folder` is `<stage output>/<table name>`."""

    def __init__(self, folder: Path, row: type[Row], shard: tuple[int, int] = (0, 1)) -> None:
        self.folder, self.row = folder, row
        self.base = folder.parent
        if exists(folder):
            tables = ", ".join(str(folder / name) for name in sorted(Manifest.read(folder).outputs))
            raise ContractError(str(folder), [f"expected a table, found a whole output, whose tables are {tables}"])
        self.manifest = Manifest.read(self.base)
        if folder.name not in self.manifest.outputs:
            raise ContractError(str(folder), [f"{self.base} has the tables {sorted(self.manifest.outputs)}"])
        self.output = self.manifest.outputs[folder.name]
        for part in self.output.parts:
            row.check(self._schema(part), part.path)
        index, count = shard
        total = self.output.num_rows
        self.start, self.stop = total * index // count, total * (index + 1) // count

    def _schema(self, part: Part) -> pa.Schema:
        """The schema of a file; `ContractError` if it is gone, was cut short or is another one."""
        file = self.base / part.path
        cure = f"make it again: parsl run --only {self.manifest.stage} --force"
        try:
            metadata = pq.read_metadata(file)
        except (pa.ArrowInvalid, FileNotFoundError) as error:
            found = f"{file.stat().st_size} bytes" if file.is_file() else "no file"
            problem = f"{part.path}: expected {part.size_bytes} bytes, found {found}"
            raise ContractError(str(self.base), [f"{problem}; {cure}"]) from error
        if metadata.num_rows != part.num_rows:
            problem = f"{part.path}: expected {part.num_rows} rows, found {metadata.num_rows}"
            raise ContractError(str(self.base), [f"{problem}; {cure}"])
        return metadata.schema.to_arrow_schema()

    @property
    def num_rows(self) -> int:
        """Rows in this shard."""
        return self.stop - self.start

    def record(self) -> Input:
        """What the manifest of the reading stage says of this input."""
        return Input(fingerprint=self.manifest.fingerprint, path=str(self.folder), num_rows=self.output.num_rows)

    def batches(self, columns: Sequence[str] | None = None, batch_rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Record batches of this shard in row order; memory is that of a row group's pages as they lie on disk."""
        offset = 0
        for part in self.output.parts:
            first, last = max(self.start - offset, 0), min(self.stop - offset, part.num_rows)
            if first < last:
                yield from _slice(self.base / part.path, first, last, columns, batch_rows)
            offset += part.num_rows

    def rows(self) -> Iterator[Any]:
        """The rows of this shard as `Row` objects."""
        for batch in self.batches():
            for fields in batch.to_pylist():
                yield self.row.model_validate(fields)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All of this shard in memory."""
        schema = self.row.arrow_schema()
        if columns is not None:
            schema = pa.schema([schema.field(c) for c in columns])
        return pa.Table.from_batches((b.cast(schema) for b in self.batches(columns)), schema=schema)

    def open_path(self, blob: BlobRef) -> Path:
        """The file that a row of this table points at."""
        return blob.open_path(self.base)


def _slice(
    file: Path, first: int, last: int, columns: Sequence[str] | None, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(file, buffer_size=READ_BYTES, pre_buffer=False) as parquet:  # or it holds a row group's columns
        offset = 0
        for group in range(parquet.num_row_groups):
            stop = offset + parquet.metadata.row_group(group).num_rows
            if first < stop and last > offset:
                for batch in parquet.iter_batches(batch_rows, row_groups=[group], columns=columns, use_threads=False):
                    low, high = max(first - offset, 0), min(last - offset, batch.num_rows)
                    if low < high:
                        yield batch.slice(low, high - low)
                    offset += batch.num_rows
            offset = stop


class Writer:
    """One output table of one shard: a Parquet file that gets its name when it is complete."""

    def __init__(self, base: Path, name: str, row: type[Row], shard: tuple[int, int]) -> None:
        self.base, self.row, self.schema = base, row, row.arrow_schema()
        self.path = base / name / f"part-{shard[0]:05d}-of-{shard[1]:05d}.parquet"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self.temporary = self.path.with_suffix(".tmp")
        self._parquet = pq.ParquetWriter(self.temporary, self.schema, compression="zstd")
        self._rows: list[Row] = []
        self._rows_bytes = 0
        self._tables: list[pa.Table] = []
        self._bytes = 0
        self._appended = 0

    @property
    def num_rows(self) -> int:
        """Rows accepted so far."""
        return self._appended + len(self._rows)

    def write(self, rows: Row | Iterable[Row] | pa.RecordBatch | pa.Table) -> None:
        """Append rows, checked against the contract; `ContractError` if they do not fit."""
        if isinstance(rows, pa.RecordBatch):
            rows = pa.Table.from_batches([rows])
        if isinstance(rows, pa.Table):
            self._flush_rows()
            self._append(self._checked(rows))
            return
        for row in [rows] if isinstance(rows, Row) else rows:
            if not isinstance(row, self.row):
                raise ContractError(self.path.parent.name, [f"expected {self.row.__name__}, got {type(row).__name__}"])
            self._rows.append(row)
            self._rows_bytes += _num_bytes(row)
            if len(self._rows) >= BATCH_ROWS or self._rows_bytes >= BATCH_BYTES:
                self._flush_rows()

    def close(self) -> Output:
        """Finish the file and give it its name."""
        self._flush_rows()
        self._flush_tables()
        self._parquet.close()
        self.temporary.replace(self.path)
        size = self.path.stat().st_size
        part = Part(path=str(self.path.relative_to(self.base)), num_rows=self.num_rows, size_bytes=size)
        return Output(contract=self.row.contract(), parts=(part,))

    def abort(self) -> None:
        """Leave nothing, finished or not."""
        with suppress(OSError, pa.ArrowException):  # closing writes, and what ended the stage may be a full disk
            self._parquet.close()
        self.temporary.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def _arrow(self, rows: Sequence[Row]) -> pa.Table:
        try:
            return self.row.table(rows)
        except (
            pa.ArrowException,
            ValueError,
            OverflowError,
        ) as error:  # no such type, or it has no room for the number
            raise ContractError(self.path.parent.name, [f"{self.row.contract()}: {error}"]) from error

    def _checked(self, table: pa.Table) -> pa.Table:
        name = self.path.parent.name
        if missing := [n for n in self.schema.names if n not in table.column_names]:
            raise ContractError(name, [f"column {n}: missing" for n in missing])
        try:
            table = table.select(self.schema.names).cast(self.schema)
        except (pa.ArrowException, ValueError) as error:  # another type, or a null where the contract has none
            raise ContractError(name, [f"{self.row.contract()}: {error}"]) from error
        _, failures = self.row.filter(table)
        if failures.counts:
            raise ContractError(name, [f"{rule}: {n} row(s) break it" for rule, n in failures.counts.items()])
        return table

    def _append(self, table: pa.Table) -> None:
        self._tables.append(table)
        self._bytes += table.nbytes
        self._appended += table.num_rows
        if self._bytes >= ROW_GROUP_BYTES:
            self._flush_tables()

    def _flush_rows(self) -> None:
        if self._rows:
            rows, self._rows, self._rows_bytes = self._rows, [], 0
            self._append(self._checked(self._arrow(rows)))  # `model_copy` makes rows that nobody has checked

    def _flush_tables(self) -> None:
        if self._tables:
            self._parquet.write_table(pa.concat_tables(self._tables))
            self._tables, self._bytes = [], 0


def _num_bytes(row: Row) -> int:
    """About what a row's text and lists take: a character counts as one byte, a thing in a list that is no row as eight."""
    size = 0
    for value in row.__dict__.values():
        if isinstance(value, (str, bytes)):
            size += len(value)
        elif isinstance(value, list):
            size += sum(_num_bytes(item) if isinstance(item, Row) else 8 for item in value)
    return size


class Outputs(Mapping[str, Writer]):
    """A stage's writers by table name, with `drop` for rows that go no further and `folder` for files."""

    def __init__(self, folder: Path, contracts: Mapping[str, type[Row]], shard: tuple[int, int]) -> None:
        self.folder, self.shard = folder, shard
        folder.mkdir(parents=True, exist_ok=True)
        self._writers = {name: Writer(folder, name, row, shard) for name, row in contracts.items()}
        self.dropped: Counter[str] = Counter()
        self.costs: dict[str, Cost] = {}
        self.progress = Progress(folder / "progress" / f"{shard[0]:05d}-of-{shard[1]:05d}.json")
        self._quarantine, self._mark = read_quarantine(folder), Mark(self.progress.file.with_suffix(".row"))

    def __getitem__(self, name: str) -> Writer:
        return self._writers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._writers)

    def __len__(self) -> int:
        return len(self._writers)

    def drop(self, row_id: str, reason: str, detail: str = "", path: str = "") -> None:
        """Record a row that is not passed on. The stage declares the table `dropped` to use this."""
        self.dropped[reason] += 1
        self["dropped"].write(Dropped(row_id=row_id, path=path, reason=reason, detail=detail))

    def spent(self, name: str, seconds: float) -> None:
        """Add a piece of work to what the manifest says that work of this name took."""
        before = self.costs.get(name, Cost(count=0, seconds=0.0))
        self.costs[name] = Cost(count=before.count + 1, seconds=before.seconds + seconds)

    def begin(self, row_id: str) -> str:
        """Say which row comes next, in case it crashes the stage; how it did, if it has twice: then it must be dropped."""
        self._mark.set(row_id)
        return self._quarantine.get(row_id, "")

    def blob(self, file: Path) -> BlobRef:
        """Point at a file inside this stage's output folder."""
        return BlobRef.of(file, self.folder)

    def close(self) -> dict[str, Output]:
        """Finish all tables."""
        return {name: writer.close() for name, writer in self._writers.items()}

    def abort(self) -> None:
        """Leave no table behind."""
        for writer in self._writers.values():
            writer.abort()
