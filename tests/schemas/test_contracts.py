"""Every contract of the project, as files have it: what survives a round trip, what is refused, and errors that travel."""

import hashlib
import pickle
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from schemas.corpus import Document, Dropped
from schemas.table import BlobRef, ContractError, Row
from tests.schemas.test_table import all_rows

ROWS = pytest.mark.parametrize("row", all_rows(), ids=lambda r: r.__name__)


@ROWS
def test_rows_survive_files(row: type[Row], tmp_path) -> None:
    """What Parquet and Arrow files give back is the contract still, nullability within lists too, and the same rows."""
    rows = row.sample(3)
    pq.write_table(row.table(rows), tmp_path / "t.parquet", compression="zstd")
    feather.write_feather(row.table(rows), str(tmp_path / "t.arrow"))
    for table in (pq.read_table(tmp_path / "t.parquet"), feather.read_table(tmp_path / "t.arrow")):
        row.check(table.schema)
        assert [row.model_validate(fields, strict=True) for fields in table.to_pylist()] == rows


@ROWS
def test_any_other_schema_is_refused_by_column(row: type[Row]) -> None:
    """A column that is missing, doubled, of another type or nullability is refused, and the message names it."""
    schema = row.arrow_schema()
    for i, field in enumerate(schema):
        changes = {
            "missing": schema.remove(i),
            "found 2 times": schema.append(field),
            "found int8": schema.set(i, pa.field(field.name, pa.int8(), field.nullable)),
            f"found {field.type}": schema.set(i, field.with_nullable(not field.nullable)),
            "not in the contract": schema.insert(i, pa.field("new", pa.int8())),
        }
        for words, found in changes.items():
            with pytest.raises(ContractError) as error:
                row.check(found)
            assert len(error.value.problems) == 1
            assert words in error.value.problems[0]
            assert ("new" if words.startswith("not") else field.name) in error.value.problems[0]


def test_nulls_within_a_list_make_another_contract() -> None:
    """A list whose items may be null is not a list of items that are there."""
    loose = Document.arrow_schema()
    page = loose.field("pages").type.value_type
    loose = loose.set(2, pa.field("pages", pa.list_(pa.field("item", page, nullable=True)), nullable=False))
    with pytest.raises(ContractError, match="column pages"):
        Document.check(loose)


def test_the_version_alone_is_refused() -> None:
    """The same columns under another version are another contract: they may mean something else."""
    found = Dropped.arrow_schema().with_metadata({"contract": "Dropped@99"})
    with pytest.raises(ContractError, match=r"expected Dropped@1, found Dropped@99"):
        Dropped.check(found)


def test_choices_are_words() -> None:
    """Choices that are not strings have no column, and the contract says so before any row is written."""

    class Numbered(Row):
        choice: Literal[1, 2]

    with pytest.raises(TypeError, match="column 'choice'"):
        Numbered.arrow_schema()


def test_a_contract_error_comes_out_of_a_worker_process() -> None:
    """An error survives the pickling by which a pool hands it over; one that does not breaks the pool, or hangs it."""
    error = ContractError("table 7", ["first", "second"])
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - of our own making
    assert str(again) == str(error) == "2 problem(s) with table 7\n  first\n  second"
    assert again.problems == ["first", "second"]


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_digest_of_any_size(tmp_path, size: int) -> None:
    """A file's digest is hashlib's of all its bytes, at the edges of the blocks that it is read in too."""
    content = bytes(i % 251 for i in range(997)) * (size // 997 + 1)
    (tmp_path / "f").write_bytes(content[:size])
    blob = BlobRef.of(tmp_path / "f", tmp_path)
    assert blob.sha256 == hashlib.sha256(content[:size]).hexdigest()
    assert blob.size_bytes == size


def test_a_foreign_file_keeps_its_absolute_path(tmp_path, monkeypatch) -> None:
    """A blob outside of a stage's folder is found from any folder, though it was given by a relative name."""
    (tmp_path / "paper.pdf").write_bytes(b"%PDF")
    monkeypatch.chdir(tmp_path)
    blob = BlobRef.of(Path("paper.pdf"))
    assert Path(blob.path).is_absolute()
    assert blob.open_path(tmp_path / "elsewhere").read_bytes() == b"%PDF"
