"""Contracts: what maps to Arrow, what `check` and `filter` refuse, and that samples satisfy their own contract."""

import math
from typing import Annotated, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import Field

from schemas.corpus import Document
from schemas.table import BlobRef, ContractError, Row, sha256_file
from stages.base import PACKAGE_ROOT


class Inner(Row):
    """A struct column."""

    weight: Annotated[float, Field(gt=0)]


class Mineral(Row):
    """One column of every kind that a contract can hold."""

    contract_version = 3

    name: Annotated[str, Field(min_length=2, max_length=20)]
    hardness: Annotated[float, Field(ge=1, le=10)]
    kind: Literal["oxide", "sulfide"]
    atoms: Annotated[list[int], Field(min_length=1)]
    inner: Inner
    raw: bytes
    stable: bool
    small: Annotated[int, pa.int32(), Field(lt=100)]
    note: str | None


def minerals(**changes: list[object]) -> pa.Table:
    """A table of sample rows with some columns replaced."""
    table = Mineral.table(Mineral.sample(3))
    for name, values in changes.items():
        field = table.schema.field(name)
        table = table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))
    return table


def all_rows() -> list[type[Row]]:
    """Every contract of the project."""
    for file in (PACKAGE_ROOT / "schemas").glob("*.py"):
        __import__(f"schemas.{file.stem}")
    return [row for row in Row.__subclasses__() if row.__module__.startswith("schemas.")]


def test_schema_maps_every_kind() -> None:
    """Each kind of field becomes its Arrow type, and only `| None` is nullable."""
    schema = Mineral.arrow_schema()
    assert schema.field("name").type == pa.string()
    assert schema.field("kind").type == pa.string()
    assert schema.field("atoms").type == pa.list_(pa.field("item", pa.int64(), nullable=False))
    assert schema.field("inner").type == pa.struct([pa.field("weight", pa.float64(), nullable=False)])
    assert schema.field("small").type == pa.int32()
    assert [f.name for f in schema if f.nullable] == ["note"]


def test_schema_refuses_what_arrow_cannot_hold() -> None:
    """A field without an Arrow type is an error that names the column."""

    class Loose(Row):
        anything: dict[str, object]

    with pytest.raises(TypeError, match="column 'anything'"):
        Loose.arrow_schema()


def test_contract_survives_parquet(tmp_path) -> None:
    """Name, version and nullability are still there after a Parquet round trip."""
    pq.write_table(minerals(), tmp_path / "m.parquet")
    found = pq.read_schema(tmp_path / "m.parquet")
    Mineral.check(found)
    assert found.metadata[b"contract"] == b"Mineral@3"


@pytest.mark.parametrize("row", all_rows(), ids=lambda r: r.__name__)
def test_samples_satisfy_their_contract(row: type[Row]) -> None:
    """Every contract's sample rows pass its own check and all of its rules, and are the same twice."""
    table = row.table(row.sample(4))
    row.check(table.schema)
    kept, failures = row.filter(table)
    assert (kept.num_rows, failures.counts) == (4, {})
    assert row.sample(4) == row.sample(4)


def test_check_lists_every_problem() -> None:
    """A table that does not fit is refused once, with all that is wrong: missing, extra, type, nullability, version."""
    schema = pa.schema([("name", pa.string()), ("hardness", pa.int32()), ("extra", pa.int8())])
    with pytest.raises(ContractError) as error:
        Mineral.check(schema, "table m")
    words = str(error.value)
    assert "problem(s) with table m" in words
    assert "expected Mineral@3, found no contract" in words
    assert "column kind: missing" in words
    assert "column extra: not in the contract" in words
    assert "column hardness: expected double not null, found int32" in words


def test_check_refuses_another_order_of_columns() -> None:
    """The same columns in another order are another contract."""
    schema = Mineral.arrow_schema()
    swapped = pa.schema([schema.field(i) for i in (1, 0, *range(2, len(schema)))], metadata=schema.metadata)
    with pytest.raises(ContractError, match="the order"):
        Mineral.check(swapped)


@pytest.mark.parametrize(
    ("column", "values", "rule"),
    [
        ("name", ["x", "quartz", "calcite"], "name: length >= 2"),
        ("name", ["x" * 21, "quartz", "calcite"], "name: length <= 20"),
        ("hardness", [0.5, 2.0, 3.0], "hardness: >= 1"),
        ("hardness", [10.5, 2.0, 3.0], "hardness: <= 10"),
        ("hardness", [math.nan, 2.0, 3.0], "hardness: >= 1"),
        ("kind", ["salt", "oxide", "oxide"], "kind: one of oxide|sulfide"),
        ("atoms", [[], [1], [2]], "atoms: length >= 1"),
        ("small", [100, 1, 2], "small: < 100"),
        ("inner", [{"weight": 0.0}, {"weight": 1.0}, {"weight": 2.0}], "inner.weight: > 0"),
    ],
)
def test_filter_names_the_rule(column: str, values: list[object], rule: str) -> None:
    """A row that breaks a limit is taken out with the rule it broke, NaN included; the others stay."""
    kept, failures = Mineral.filter(minerals(**{column: values}))
    assert failures.counts == {rule: 1}
    assert kept.num_rows == 2
    assert failures.reasons.to_pylist() == [rule]


def test_filter_takes_a_row_once() -> None:
    """A row that breaks two rules is counted under the first."""
    table = minerals(name=["x", "quartz", "calcite"], hardness=[0.0, 2.0, 3.0])
    assert Mineral.filter(table)[1].counts == {"name: length >= 2": 1}


def test_filter_agrees_with_pydantic() -> None:
    """The vectorized rules and pydantic's own validation give the same verdict on every row of a grid."""
    rows = [
        {**Mineral.sample(1)[0].model_dump(), "hardness": h / 2, "small": s} for h in range(24) for s in (98, 99, 100)
    ]
    table = pa.Table.from_pylist(rows, schema=Mineral.arrow_schema())
    expected = [r for r in rows if _valid(r)]
    assert Mineral.filter(table)[0].to_pylist() == expected


def _valid(row: dict[str, object]) -> bool:
    try:
        Mineral.model_validate(row)
    except ValueError:
        return False
    return True


def test_blob_knows_its_file(tmp_path) -> None:
    """A blob's digest is the file's SHA-256, its path is relative to the base, and a cut file is refused."""
    file = tmp_path / "a" / "b.bin"
    file.parent.mkdir()
    file.write_bytes(b"x" * 3_000_000)
    blob = BlobRef.of(file, tmp_path)
    assert (blob.path, blob.size_bytes, blob.sha256) == ("a/b.bin", 3_000_000, sha256_file(file))
    assert blob.open_path(tmp_path) == file
    file.write_bytes(b"x")
    with pytest.raises(ContractError, match="expected 3000000 bytes, found 1"):
        blob.open_path(tmp_path)
    file.unlink()
    with pytest.raises(ContractError, match="missing"):
        blob.open_path(tmp_path)


def test_sha256_is_the_published_one(tmp_path) -> None:
    """The digest of `abc` is the one in FIPS 180-4's example."""
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_rows_are_values() -> None:
    """A row cannot be changed and takes no unknown column."""
    row = Document.sample(1)[0]
    with pytest.raises(ValueError, match="frozen"):
        row.text = "other"
    with pytest.raises(ValueError, match="Extra inputs"):
        Document(**row.model_dump(), more=1)
