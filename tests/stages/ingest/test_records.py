"""Records out of JSON Lines, JSON and Parquet."""

import datetime as dt
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.ingest.records import json_records, parquet_records

LIMIT = 1000
scalars = st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
objects = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), scalars, max_size=4)


def found(data: bytes, limit: int = LIMIT) -> list[tuple[int, object]]:
    """(line, fields or reason) of every record."""
    return [(r.number, r.reason or r.fields) for r in json_records(io.BytesIO(data), limit)]


@given(st.lists(objects, min_size=1, max_size=6))
def test_json_lines_come_back(items: list[dict[str, object]]) -> None:
    """Every object of a JSON Lines file comes back, in order, with its line number and its line as text."""
    lines = [json.dumps(item, ensure_ascii=False) for item in items]
    records = list(json_records(io.BytesIO("\n".join(lines).encode()), 10**6))
    assert [r.fields for r in records] == items
    assert [r.text for r in records] == lines
    assert [r.number for r in records] == list(range(1, len(items) + 1))


@given(st.lists(objects, min_size=1, max_size=6), st.integers(0, 3))
def test_one_json_text_gives_its_objects(items: list[dict[str, object]], indent: int) -> None:
    """An array of objects, however it is laid out, gives a record an object."""
    data = json.dumps(items, indent=indent or None).encode()
    assert [fields for _, fields in found(data, 10**6)] == items


def test_a_bad_line_costs_itself() -> None:
    """A line that is no JSON, no object, no UTF-8 or too long is a reason with its number; the others are records."""
    data = b'{"a": 1}\n{"a": \n[1]\n\n{"b": "' + b"x" * LIMIT + b'"}\n{"c": "\xff"}\n{"d": 4}'
    assert found(data) == [
        (1, {"a": 1}),
        (2, "invalid JSON"),
        (3, "not a JSON object"),
        (5, "too large"),
        (6, "invalid JSON"),
        (7, {"d": 4}),
    ]


def test_a_bad_first_line_is_not_the_end() -> None:
    """A file whose first line is broken is still read line by line, past the limit of one record too."""
    lines = [b"{broken", *(b'{"n": %d}' % n for n in range(400))]
    records = found(b"\n".join(lines))
    assert records[0] == (1, "invalid JSON")
    assert [fields for _, fields in records[1:]] == [{"n": n} for n in range(400)]
    assert [number for number, _ in records] == list(range(1, 402))


def test_an_object_over_many_lines_is_one_record() -> None:
    """A pretty-printed object is one record."""
    assert found(b'{\n "a": 1,\n "b": [2]\n}\n') == [(1, {"a": 1, "b": [2]})]


def test_deep_nesting_is_bad_json_not_a_crash() -> None:
    """JSON nested deeper than the interpreter's stack is a reason."""
    assert found(b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", 10**6)[0][1] == "invalid JSON"


def test_a_half_surrogate_is_kept_as_its_escape() -> None:
    """Half of a surrogate pair, which UTF-8 cannot hold, stays the escape that the line has."""
    (record,) = json_records(io.BytesIO(b'{"text": "\\ud800"}'), LIMIT)
    assert record.text == '{"text": "\\ud800"}'
    (record,) = json_records(io.BytesIO(b'[\n{"text": "\\ud800"}]'), LIMIT)
    assert record.reason == "invalid JSON"


def test_parquet_rows_are_json(tmp_path: Path) -> None:
    """Every row of a Parquet file is a JSON object; dates are ISO text, bytes hexadecimal, nulls null."""
    table = pa.table(
        {
            "text": ["one", None],
            "day": [dt.date(2024, 2, 29), None],
            "raw": [b"\x00\xff", None],
            "list": [[1.5, 2.0], []],
            "inner": [{"a": 1}, {"a": 2}],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1)
    assert [json.loads(r.text) for r in parquet_records(tmp_path / "a.parquet")] == [
        {"text": "one", "day": "2024-02-29", "raw": "00ff", "list": [1.5, 2.0], "inner": {"a": 1}},
        {"text": None, "day": None, "raw": None, "list": [], "inner": {"a": 2}},
    ]


def test_a_damaged_parquet_file_raises(tmp_path: Path) -> None:
    """A truncated Parquet file is an error of Arrow's, which the caller turns into a reason."""
    pq.write_table(pa.table({"text": ["x" * 1000]}), tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(data[: len(data) // 2])
    with pytest.raises((pa.ArrowException, OSError)):
        list(parquet_records(tmp_path / "a.parquet"))
