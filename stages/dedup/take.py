"""Chosen rows of a table, by their numbers: only the row groups that hold one of them are read."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.dedup.spill import Places
from stages.tables import BATCH_ROWS, READ_BYTES, Reader


def take(reader: Reader, rows: Places, columns: Sequence[str]) -> Iterator[tuple[slice, pa.Table]]:
    """For ascending `rows`, tables of them in their order, each beside the place in `rows` that it begins and ends."""
    offset = 0
    for part in reader.output.parts:
        first, last = np.searchsorted(rows, [offset, offset + part.num_rows])
        if first < last:
            with pq.ParquetFile(reader.base / part.path, buffer_size=READ_BYTES, pre_buffer=False) as file:
                for span, table in _take_groups(file, rows[first:last] - offset, columns):
                    yield slice(first + span.start, first + span.stop), table
        offset += part.num_rows


def _take_groups(file: pq.ParquetFile, rows: Places, columns: Sequence[str]) -> Iterator[tuple[slice, pa.Table]]:
    offset = 0
    for group in range(file.num_row_groups):
        stop = offset + file.metadata.row_group(group).num_rows
        if np.searchsorted(rows, offset) < np.searchsorted(rows, stop):
            for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=list(columns), use_threads=False):
                first, last = (int(n) for n in np.searchsorted(rows, [offset, offset + batch.num_rows]))
                if first < last:
                    found = batch.take(pa.array(rows[first:last] - offset))
                    yield slice(first, last), pa.Table.from_batches([found])
                offset += batch.num_rows
        offset = stop
