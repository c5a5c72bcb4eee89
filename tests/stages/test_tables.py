"""Reader and Writer: contiguous shards, row groups, refusals."""

import subprocess
import sys
from weakref import ref

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import stages.tables
from schemas.corpus import Document, Dropped, Embedding, PageSpan
from schemas.manifest import Manifest
from schemas.table import ContractError
from stages.base import PACKAGE_ROOT
from stages.tables import Outputs, Reader, Writer
from tests.tables import write_table


def drops(count: int) -> list[Dropped]:
    """Numbered rows."""
    return [Dropped(row_id=str(i), path="p", reason="r", detail="") for i in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 11, 40])
def test_shards_partition_the_rows(tmp_path, monkeypatch, count) -> None:
    """The shards of a table are contiguous, in order, and hold every row once, across row groups."""
    monkeypatch.setattr(stages.tables, "BATCH_ROWS", 4)
    monkeypatch.setattr(stages.tables, "ROW_GROUP_BYTES", 100)
    folder = write_table(tmp_path, Dropped, drops(23), "rows")
    assert pq.ParquetFile(next(folder.iterdir())).num_row_groups >= 3
    readers = [Reader(folder, Dropped, (i, count)) for i in range(count)]
    assert [r.row_id for reader in readers for r in reader.rows()] == [str(i) for i in range(23)]
    assert sum(r.num_rows for r in readers) == 23
    assert max(r.num_rows for r in readers) - min(r.num_rows for r in readers) <= 1


def test_reader_takes_columns(tmp_path) -> None:
    """A reader gives only the columns asked for."""
    folder = write_table(tmp_path, Dropped, drops(5), "rows")
    assert Reader(folder, Dropped).table(["detail", "row_id"]).to_pylist()[4] == {"detail": "", "row_id": "4"}


def test_empty_table(tmp_path) -> None:
    """A table without rows is a table."""
    folder = write_table(tmp_path, Dropped, [], "rows")
    assert Reader(folder, Dropped).table().num_rows == 0
    assert list(Reader(folder, Dropped).rows()) == []


def test_reader_reads_what_the_manifest_lists(tmp_path) -> None:
    """A stray Parquet file in the folder is not read."""
    folder = write_table(tmp_path, Dropped, drops(3), "rows")
    pq.write_table(Dropped.table(drops(9)), folder / "part-00007-of-00009.parquet")
    assert Reader(folder, Dropped).table().num_rows == 3


@pytest.mark.parametrize("size", [0, 50, None])
def test_reader_names_a_damaged_file(tmp_path, size) -> None:
    """A file that was cut short or is gone is named, with its size found against expected and the way to make it again."""
    folder = write_table(tmp_path, Dropped, drops(3), "rows")
    part = next(folder.iterdir())
    expected = part.stat().st_size
    part.unlink() if size is None else part.write_bytes(part.read_bytes()[:size])
    with pytest.raises(ContractError) as error:
        Reader(folder, Dropped)
    found = "no file" if size is None else f"{size} bytes"
    assert f"expected {expected} bytes, found {found}" in str(error.value)
    assert "--force" in str(error.value)


def test_reader_names_the_tables_there_are(tmp_path) -> None:
    """Asking for a table that the output does not have lists those it has."""
    write_table(tmp_path, Dropped, drops(1), "rows")
    with pytest.raises(ContractError, match="rows"):
        Reader(tmp_path / "other", Dropped)


def test_writer_takes_rows_and_tables_in_order(tmp_path) -> None:
    """Rows and Arrow tables may be mixed; they come out in the order they went in."""
    writer = Writer(tmp_path, "rows", Dropped, (0, 1))
    rows = drops(6)
    writer.write(rows[0])
    writer.write(Dropped.table(rows[1:3]))
    writer.write(rows[3:5])
    writer.write(Dropped.table(rows[5:]).to_batches()[0])
    assert writer.num_rows == 6
    output = writer.close()
    assert pq.read_table(tmp_path / output.parts[0].path).to_pylist() == [r.model_dump() for r in rows]


def test_rows_wait_by_their_size(tmp_path, monkeypatch) -> None:
    """No more rows wait as objects than make a batch's bytes, however long their texts or their lists are."""
    monkeypatch.setattr(stages.tables, "BATCH_BYTES", 1 << 16)
    span = PageSpan(page=1, start=0, end=1, parser="p" * 100, origin="text layer")
    long = [{"text": "x" * (1 << 12)}, {"pages": [span] * 30}]
    most, made = 0, []
    writer = Writer(tmp_path, "rows", Document, (0, 1))
    for number in range(200):
        document = Document.sample(1)[0].model_copy(update=long[number % 2])
        made.append(ref(document))
        writer.write(document)
        most = max(most, sum(r() is not None for r in made))
    writer.abort()
    assert 10 <= most <= 25


def test_small_rows_wait_by_their_number(tmp_path) -> None:
    """Short rows come in batches of 1024, which are checked together."""
    batches: list[int] = []
    writer = Writer(tmp_path, "rows", Dropped, (0, 1))
    append, writer._append = writer._append, lambda table: (batches.append(table.num_rows), append(table))  # type: ignore[method-assign]
    writer.write(drops(2100))
    writer.close()
    assert batches == [1024, 1024, 52]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (pa.table({"row_id": ["1"]}), "reason"),
        (Dropped.table(drops(1)).set_column(2, "reason", pa.array([""])), "reason: length >= 1"),
        (Dropped.table(drops(1)).set_column(2, "reason", pa.nulls(1, pa.string())), "'reason' with null"),
        (Dropped.table(drops(1)).set_column(2, "reason", pa.array([[1]])), "Dropped@1"),
    ],
)
def test_writer_refuses(tmp_path, table, words) -> None:
    """A table that lacks a column, breaks a limit, holds a forbidden null or another type is refused by name."""
    writer = Writer(tmp_path, "rows", Dropped, (0, 1))
    with pytest.raises(ContractError, match=words):
        writer.write(table)
    writer.abort()
    assert list((tmp_path / "rows").iterdir()) == []


def test_writer_refuses_another_row(tmp_path) -> None:
    """A row of another class is refused."""
    writer = Writer(tmp_path, "rows", Dropped, (0, 1))
    with pytest.raises(ContractError, match="expected Dropped, got Document"):
        writer.write(Document.sample(1))
    writer.abort()


def test_drop_counts_and_writes(tmp_path) -> None:
    """Every drop is a row and a count under its reason."""
    outputs = Outputs(tmp_path, {"dropped": Dropped}, (0, 1))
    outputs.drop("a", "too short", "3 words", "a.txt")
    outputs.drop("b", "too short")
    outputs.drop("c", "language")
    assert outputs.dropped == {"too short": 2, "language": 1}
    assert outputs.close()["dropped"].num_rows == 3


@pytest.mark.parametrize(
    ("update", "words"),
    [({"reason": ""}, "reason: length >= 1"), ({"reason": None}, "'reason' with null")],
)
def test_writer_refuses_rows_that_were_copied_past_the_contract(tmp_path, update, words) -> None:
    """`model_copy` checks nothing, so the writer does: a row with a limit broken or a null is refused."""
    writer = Writer(tmp_path, "rows", Dropped, (0, 1))
    writer.write([drops(1)[0], drops(1)[0].model_copy(update=update)])
    with pytest.raises(ContractError, match=words):
        writer.close()
    writer.abort()
    assert list((tmp_path / "rows").iterdir()) == []


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1, 2**63])
def test_a_number_too_large_for_its_column_is_a_contract_error(tmp_path, number) -> None:
    """A number that a column of 32 bits has no room for is refused by the contract's name, not cut or crashed on."""
    writer = Writer(tmp_path, "rows", Embedding, (0, 1))
    with pytest.raises(ContractError, match="Embedding@1"):
        writer.write(Embedding(doc_id="0" * 64, num_chunks=number, vector=b"") for _ in range(2000))
    writer.abort()


def test_reader_counts_the_rows_of_each_part(tmp_path) -> None:
    """A part that was replaced by one with fewer rows is named; the rows that it lacks are not lost in silence."""
    folder = write_table(tmp_path, Dropped, drops(9), "rows")
    pq.write_table(Dropped.table(drops(8)), next(folder.iterdir()))
    with pytest.raises(ContractError, match="expected 9 rows, found 8.*--force"):
        Reader(folder, Dropped)


def test_what_failed_on_closing_leaves_no_table(tmp_path) -> None:
    """When one of two tables cannot be finished, neither stays, though the first already had its name."""
    outputs = Outputs(tmp_path, {"first": Dropped, "second": Dropped}, (0, 1))
    outputs["first"].write(drops(3))
    outputs["second"].write(drops(1)[0].model_copy(update={"reason": ""}))
    with pytest.raises(ContractError, match="second"):
        outputs.close()
    outputs.abort()
    assert [f for f in tmp_path.rglob("*") if f.is_file()] == []


FULL = """
import resource, sys
from pathlib import Path
from schemas.corpus import Dropped
from stages.tables import Outputs
import os
outputs = Outputs(Path(sys.argv[1]), {"a": Dropped, "b": Dropped}, (0, 1))
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, resource.RLIM_INFINITY))
row = Dropped(row_id="x", path="p", reason="r", detail="")
try:
    for name in ("a", "b"):
        outputs[name].write(row.model_copy(update={"detail": os.urandom(20_000).hex()}))
    outputs.close()
except OSError as error:
    outputs.abort()
    print(type(error).__name__)
"""


def test_a_full_disk_does_not_stop_the_clearing_up(tmp_path) -> None:
    """Where no file may grow any more, closing fails again on giving up; the first error is told and no part stays."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], cwd=PACKAGE_ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "OSError\n"), done.stderr
    assert [f for f in tmp_path.rglob("*") if f.is_file()] == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.integers(0, 9), min_size=1, max_size=4), count=st.integers(1, 7), batch=st.integers(1, 5))
def test_any_parts_any_shards_any_batches(tmp_path, monkeypatch, parts, count, batch) -> None:
    """However a table lies in parts and row groups, its shards' batches are its rows in order, none longer than asked for."""
    monkeypatch.setattr("os.fsync", lambda _: None)
    base = tmp_path / str(len(list(tmp_path.iterdir())))
    rows, outputs = drops(sum(parts)), []
    for i, size in enumerate(parts):
        writer = Writer(base, "rows", Dropped, (i, len(parts)))
        first = sum(parts[:i])
        for at in range(first, first + size, 4):  # a row group of four
            writer.write(rows[at : min(at + 4, first + size)])
            writer._flush_rows()
            writer._flush_tables()
        outputs += writer.close().parts
    manifest = Manifest.read(write_table(base / "x", Dropped, [], "rows").parent)
    output = manifest.outputs["rows"].model_copy(update={"parts": tuple(outputs)})
    manifest.model_copy(update={"outputs": {"rows": output}}).write(base)
    readers = [Reader(base / "rows", Dropped, (i, count)) for i in range(count)]
    batches = [b for reader in readers for b in reader.batches(["row_id"], batch)]
    assert [name for b in batches for name in b["row_id"].to_pylist()] == [r.row_id for r in rows]
    assert all(0 < b.num_rows <= batch for b in batches)
