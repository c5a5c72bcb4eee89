"""The vectorized limits against pydantic's own, on drawn rows: one verdict, one reason, whatever the chunks."""

import json
import math
from typing import Annotated, Any, Literal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from schemas.table import Row


class Vein(Row):
    """A struct with a choice and a limit of its own."""

    rock: Literal["granite", "gneiss"]
    width: Annotated[float, Field(ge=0, lt=5)]


class Ore(Row):
    """Limits on every kind of column that takes them, most of them on columns that may be null."""

    grade: Annotated[float, Field(gt=0, le=1)]
    colour: Literal["red", "grün", ""] | None
    label: Annotated[str | None, Field(min_length=2, max_length=3)]
    assay: Annotated[bytes | None, Field(min_length=1, max_length=2)]
    digest: Annotated[str, Field(pattern="^[0-9a-f]{2}$")]
    lots: Annotated[list[int] | None, Field(min_length=1, max_length=2)]
    count: Annotated[int | None, pa.int32(), Field(ge=-1)]
    vein: Vein
    other: Vein | None


WORDS = st.text(alphabet="aä𝛼\n\0 e\u0301", max_size=4)
ROWS = st.fixed_dictionaries(
    {
        "grade": st.sampled_from([0.5, 1.0, 0.0, -0.0, 5e-324, math.nextafter(1, 2), math.nan, math.inf, -math.inf]),
        "colour": st.sampled_from([None, "red", "grün", "gru\u0308n", "", "RED", "red|grün"]),
        "label": st.none() | WORDS,
        "assay": st.none() | st.binary(max_size=3),
        "digest": st.sampled_from(["00", "ff", "0g", "FF", "000", "00\n", "\n00", "0", "٠٠"]),
        "lots": st.none() | st.lists(st.integers(0, 9), max_size=3),
        "count": st.sampled_from([None, -(2**31), -2, -1, 0, 2**31 - 1]),
        "vein": st.fixed_dictionaries(
            {"rock": st.sampled_from(["granite", "gneiss", "marl"]), "width": st.sampled_from([0.0, 4.9, 5.0, -1.0])}
        ),
        "other": st.none()
        | st.fixed_dictionaries({"rock": st.sampled_from(["granite", ""]), "width": st.just(math.nan) | st.just(1.0)}),
    }
)


def broken(row: dict[str, Any]) -> list[str]:
    """The columns that pydantic refuses, in its order."""
    try:
        Ore.model_validate(row, strict=True)
    except ValidationError as error:
        return [".".join(map(str, e["loc"])) for e in error.errors()]
    return []


def words(rows: list[dict[str, Any]]) -> str:
    """Rows in a form in which NaN equals itself."""
    return json.dumps(rows, sort_keys=True, default=list)


def chunked(rows: list[dict[str, Any]], size: int) -> pa.Table:
    """A table whose chunks have `size` rows."""
    tables = [pa.Table.from_pylist(rows[i : i + size], Ore.arrow_schema()) for i in range(0, len(rows), size)]
    return pa.concat_tables(tables) if tables else Ore.arrow_schema().empty_table()


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(ROWS, max_size=8), size=st.integers(1, 3))
def test_filter_and_pydantic_agree_on_every_row(rows: list[dict[str, Any]], size: int) -> None:
    """A row is kept exactly where pydantic takes it, and is taken out for a column that pydantic refuses."""
    problems = [broken(row) for row in rows]
    kept, failures = Ore.filter(chunked(rows, size))
    assert words(kept.to_pylist()) == words([r for r, p in zip(rows, problems, strict=True) if not p])
    assert words(failures.table.to_pylist()) == words([r for r, p in zip(rows, problems, strict=True) if p])
    reasons = failures.reasons.to_pylist()
    for reason, columns in zip(reasons, filter(None, problems), strict=True):
        assert reason.split(": ")[0] in columns
    assert sum(failures.counts.values()) == len(reasons)


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("colour", "green", "colour: one of red|grün|"),
        ("assay", b"", "assay: length >= 1"),
        ("assay", "ä".encode() * 2, "assay: length <= 2"),
        ("vein", {"rock": "marl", "width": 1.0}, "vein.rock: one of granite|gneiss"),
        ("other", {"rock": "granite", "width": 5.0}, "other.width: < 5"),
    ],
)
def test_the_rule_names_the_column_and_the_bound(column: str, value: object, rule: str) -> None:
    """A reason has the column with the struct that it lies in, and what was expected; bytes are counted as bytes."""
    row = {**Ore.sample(1)[0].model_dump(), column: value}
    assert Ore.filter(chunked([row], 1))[1].counts == {rule: 1}


def test_null_is_no_choice() -> None:
    """A column of choices that may be null keeps its nulls, on its own and in a struct that is null."""
    row = {**Ore.sample(1)[0].model_dump(), "colour": None, "other": None}
    assert Ore.filter(chunked([row], 1))[0].to_pylist() == [row]
