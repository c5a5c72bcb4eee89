"""Records: JSON Lines, JSON files and Parquet, one JSON text each, with the place it came from.

A JSON line stays byte for byte what it was (spaces around it aside), so that its digest is that of the line.
A Parquet row becomes JSON with the columns in their order; dates become ISO text, bytes hexadecimal.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import IO, Any

PARQUET_BATCH_ROWS = 512


@dataclass(frozen=True)
class Found:
    """A record, or, where `reason` says something, a line that is none. `number` counts lines or rows from 1."""

    number: int
    text: str = ""
    fields: dict[str, Any] | None = None
    reason: str = ""
    detail: str = ""


def json_records(stream: IO[bytes], max_record_bytes: int) -> Iterator[Found]:
    """Records of a JSON Lines stream, or of one JSON text: an object, or an array of objects."""
    first = _skip_blank(stream, max_record_bytes)
    if _is_line(first):
        yield from _lines(first, stream, max_record_bytes)
        return
    rest = stream.read(max_record_bytes + 1)
    try:
        whole = json.loads(first + rest)
    except (ValueError, RecursionError):
        yield from _lines(first, _Rest(rest, stream), max_record_bytes)
        return
    items = whole if isinstance(whole, list) else [whole]
    for number, item in enumerate(items, 1):
        yield _checked(number, json.dumps(item, ensure_ascii=False), item)


def parquet_records(file: Path) -> Iterator[Found]:
    """A record for every row of a Parquet file; `pyarrow.ArrowException` or `OSError` if it is damaged."""
    import pyarrow.parquet as pq

    number = 0
    with pq.ParquetFile(file) as parquet:
        for batch in parquet.iter_batches(batch_size=PARQUET_BATCH_ROWS):
            for row in batch.to_pylist():
                number += 1
                yield _checked(number, json.dumps(row, ensure_ascii=False, default=_plain), row)


class _Rest:
    """A stream of which a part has been read already."""

    def __init__(self, head: bytes, stream: IO[bytes]) -> None:
        self._lines, self._stream = head.splitlines(keepends=True), stream
        self._lines.reverse()

    def readline(self, limit: int) -> bytes:
        if not self._lines:
            return self._stream.readline(limit)
        line = self._lines.pop()
        if self._lines or line.endswith(b"\n"):
            return line
        return line + self._stream.readline(max(limit - len(line), 0))


def _skip_blank(stream: IO[bytes], limit: int) -> bytes:
    while line := stream.readline(limit + 1):
        if line.strip():
            return line.removeprefix(b"\xef\xbb\xbf")
    return b""


def _is_line(first: bytes) -> bool:
    """Whether a first line is a JSON object by itself; else the file may be one JSON text over many lines."""
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _lines(first: bytes, stream: Any, limit: int) -> Iterator[Found]:
    number, line = 1, first
    while line:
        if len(line) > limit:
            yield Found(number, reason="too large", detail=f"more than {limit} bytes")
            while line and not line.endswith(b"\n"):
                line = stream.readline(limit + 1)
        elif line.strip():
            yield _parsed(number, line)
        number, line = number + 1, stream.readline(limit + 1)


def _parsed(number: int, line: bytes) -> Found:
    try:
        text = line.decode().strip()
        return _checked(number, text, json.loads(text))
    except (ValueError, RecursionError) as error:
        return Found(number, reason="invalid JSON", detail=str(error))


def _checked(number: int, text: str, item: Any) -> Found:
    if not isinstance(item, dict):
        return Found(number, reason="not a JSON object", detail=type(item).__name__)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which UTF-8 cannot hold
        return Found(number, reason="invalid JSON", detail="half of a surrogate pair")
    return Found(number, text, item)


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if isinstance(value, date | datetime | time) else str(value)
