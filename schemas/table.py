"""A table is a class: a row's fields are the columns, and the class checks, filters and samples tables.

The contract is an Arrow schema made from a pydantic model, with its name and version in the schema's metadata, so
that it survives a Parquet round trip and two contracts compare without reading data. What it gives up: limits on
fields inside a list are checked when a `Row` is made in Python, not when a whole Arrow table is checked.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, NamedTuple, Self, Union, get_args, get_origin

import annotated_types as at
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

SCALARS: dict[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
}
BLOCK_BYTES = 1 << 20


class ContractError(Exception):
    """Data is not what was declared. The message lists every problem."""

    def __init__(self, what: str, problems: Sequence[str]) -> None:
        super().__init__(what, list(problems))  # both, or it would not survive the way out of a worker process
        self.problems = list(problems)

    def __str__(self) -> str:
        return "\n".join([f"{len(self.problems)} problem(s) with {self.args[0]}", *(f"  {p}" for p in self.problems)])


class Failures(NamedTuple):
    """Rows that broke a rule: the rows, the rule that each broke first, and how many each rule took."""

    table: pa.Table
    reasons: pa.ChunkedArray | pa.Array
    counts: dict[str, int]


class Row(BaseModel):
    """One row of a table. Subclasses declare columns; `contract_version` goes up with every change of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    contract_version: ClassVar[int] = 1

    @classmethod
    def contract(cls) -> str:
        """`Name@version`, as manifests and Parquet metadata carry it."""
        return f"{cls.__name__}@{cls.contract_version}"

    @classmethod
    def arrow_schema(cls) -> pa.Schema:
        """The Arrow schema: columns in field order, nullability, and the contract's name as metadata."""
        return pa.schema(_fields(cls), metadata={"contract": cls.contract()})

    @classmethod
    def check(cls, found: pa.Schema, what: str = "table") -> None:
        """Raise `ContractError` unless `found` is this contract exactly, nullability and version included."""
        expected = cls.arrow_schema()
        problems = _differences(found, expected)
        name = (found.metadata or {}).get(b"contract", b"no contract").decode()
        if name != cls.contract():
            problems.insert(0, f"contract: expected {cls.contract()}, found {name}")
        if problems:
            raise ContractError(what, problems)

    @classmethod
    def filter(cls, table: pa.Table) -> tuple[pa.Table, Failures]:
        """Split a table of this schema into the rows that keep every limit and the rows that do not."""
        reason = pa.nulls(table.num_rows, pa.string())
        for rule in _rules(cls):
            kept = pc.fill_null(rule.kept(_column(table, rule.column), rule.bound), fill_value=True)
            reason = pc.if_else(pc.or_(kept, pc.is_valid(reason)), reason, rule.words)
        bad = pc.is_valid(reason)
        reasons = reason.filter(bad)
        counts = {str(c["values"]): int(c["counts"].as_py()) for c in pc.value_counts(reasons)}
        return table.filter(pc.invert(bad)), Failures(table.filter(bad), reasons, counts)

    @classmethod
    def table(cls, rows: Iterable[Self]) -> pa.Table:
        """An Arrow table of rows made in Python."""
        return pa.Table.from_pylist([r.model_dump() for r in rows], schema=cls.arrow_schema())

    @classmethod
    def sample(cls, num_rows: int = 3) -> list[Self]:
        """Rows that satisfy the contract, the same ones every time; `--stub` runs and tests use them."""
        return [cls.model_validate(_sample_fields(cls, i)) for i in range(num_rows)]


class BlobRef(Row):
    """A file that a row points at. `path` is relative to the folder of the manifest, or absolute for foreign files."""

    path: str
    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, file: Path, base: Path | None = None) -> Self:
        """Point at `file`, relative to `base` (a stage's output folder) if given."""
        path = os.path.relpath(file, base) if base else str(file.resolve())
        return cls(path=path, size_bytes=file.stat().st_size, sha256=sha256_file(file))

    def open_path(self, base: Path) -> Path:
        """The file on disk, after a check that it exists with the recorded size."""
        file = base / self.path
        if not file.is_file():
            raise ContractError(str(file), ["the file that a row points at is missing"])
        if file.stat().st_size != self.size_bytes:
            raise ContractError(str(file), [f"expected {self.size_bytes} bytes, found {file.stat().st_size}"])
        return file


def sha256_file(file: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal, in constant memory."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


# ---- pydantic -> Arrow


def _fields(cls: type[BaseModel]) -> list[pa.Field]:
    return [_field(name, info) for name, info in cls.model_fields.items()]


def _field(name: str, info: FieldInfo) -> pa.Field:
    kind, nullable = _strip_none(info.annotation)
    override = next((m for m in info.metadata if isinstance(m, pa.DataType)), None)
    return pa.field(name, override or _arrow_type(kind, name), nullable=nullable)


def _strip_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) in (Union, UnionType):
        kinds = [a for a in get_args(annotation) if a is not NoneType]
        if len(kinds) == 1:
            return kinds[0], True
    return annotation, False


def _arrow_type(kind: Any, name: str) -> pa.DataType:
    if kind in SCALARS:
        return SCALARS[kind]
    if get_origin(kind) is Literal and all(isinstance(word, str) for word in get_args(kind)):
        return pa.string()
    if get_origin(kind) in (list, tuple):
        item, nullable = _strip_none(get_args(kind)[0])
        return pa.list_(pa.field("item", _arrow_type(item, name), nullable=nullable))
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return pa.struct(_fields(kind))
    raise TypeError(f"column {name!r}: a contract cannot hold {kind!r}")


def _differences(found: pa.Schema, expected: pa.Schema) -> list[str]:
    problems = [f"column {n}: missing" for n in expected.names if n not in found.names]
    problems += [f"column {n}: not in the contract" for n in found.names if n not in expected.names]
    repeated = {n: c for n, c in Counter(found.names).items() if c > 1}
    problems += [f"column {name}: expected once, found {count} times" for name, count in repeated.items()]
    for name in (n for n in expected.names if n in found.names and n not in repeated):
        ours, theirs = expected.field(name), found.field(name)
        if ours.type != theirs.type or ours.nullable != theirs.nullable:
            problems.append(f"column {name}: expected {_describe(ours)}, found {_describe(theirs)}")
    if not problems and found.names != expected.names:
        problems.append(f"columns: expected the order {expected.names}, found {found.names}")
    return problems


def _describe(field: pa.Field) -> str:
    return f"{field.type}{'' if field.nullable else ' not null'}"


# ---- limits of fields, as vectorized rules


class Limit(NamedTuple):
    """A kind of limit: the attribute that holds its bound, its words, and what keeps it."""

    attribute: str
    words: str
    kept: Callable[[Any, Any], Any]


LIMITS: dict[type, Limit] = {
    at.Ge: Limit("ge", ">= {}", pc.greater_equal),
    at.Gt: Limit("gt", "> {}", pc.greater),
    at.Le: Limit("le", "<= {}", pc.less_equal),
    at.Lt: Limit("lt", "< {}", pc.less),
    at.MinLen: Limit("min_length", "length >= {}", lambda c, bound: pc.greater_equal(_length(c), bound)),
    at.MaxLen: Limit("max_length", "length <= {}", lambda c, bound: pc.less_equal(_length(c), bound)),
}


class Rule(NamedTuple):
    """A limit of one column, which may lie inside a struct."""

    words: str
    column: tuple[str, ...]
    kept: Callable[[Any, Any], Any]
    bound: Any


def _rules(cls: type[BaseModel], prefix: tuple[str, ...] = ()) -> list[Rule]:
    rules: list[Rule] = []
    for name, info in cls.model_fields.items():
        column = (*prefix, name)
        kind, _ = _strip_none(info.annotation)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            rules += _rules(kind, column)
        if get_origin(kind) is Literal:
            words = f"{'.'.join(column)}: one of {'|'.join(get_args(kind))}"
            rules.append(Rule(words, column, _one_of, pa.array(get_args(kind))))
        rules += [Rule(f"{'.'.join(column)}: {w}", column, kept, bound) for w, kept, bound in _field_limits(info)]
    return rules


def _field_limits(info: FieldInfo) -> Iterator[tuple[str, Callable[[Any, Any], Any], Any]]:
    for found in info.metadata:
        if limit := LIMITS.get(type(found)):
            bound = getattr(found, limit.attribute)
            yield limit.words.format(bound), limit.kept, bound
        elif pattern := getattr(found, "pattern", None):
            yield f"matches {pattern}", pc.match_substring_regex, pattern


def _one_of(column: Any, choices: pa.Array) -> Any:
    return pc.or_(pc.is_null(column), pc.is_in(column, choices))  # a null is no choice, and none is asked of it


def _length(column: Any) -> Any:
    """Items of lists, characters of strings, bytes of bytes."""
    if pa.types.is_list(column.type):
        return pc.list_value_length(column)
    return pc.utf8_length(column) if pa.types.is_string(column.type) else pc.binary_length(column)


def _column(table: pa.Table, path: tuple[str, ...]) -> Any:
    column = table[path[0]]
    return pc.struct_field(column, list(path[1:])) if path[1:] else column


# ---- sample rows


def _sample_fields(cls: type[BaseModel], i: int) -> dict[str, Any]:
    return {name: _sample(name, info, i) for name, info in cls.model_fields.items()}


def _sample(name: str, info: FieldInfo, i: int) -> Any:
    kind, _ = _strip_none(info.annotation)
    value = _sample_value(kind, name, i)
    for limit in info.metadata:
        value = _inside(value, limit)
    return value


def _sample_value(kind: Any, name: str, i: int) -> Any:
    if kind is str:
        return f"{name}-{i}"
    if get_origin(kind) is Literal:
        return get_args(kind)[i % len(get_args(kind))]
    if get_origin(kind) in (list, tuple):
        return [_sample_value(get_args(kind)[0], name, i)]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _sample_fields(kind, i)
    return {int: i, float: float(i), bool: i % 2 == 0, bytes: b"%d" % i}[kind]


def _inside(value: Any, limit: Any) -> Any:
    """The nearest value that keeps a limit."""
    step = 1 if isinstance(value, int) else 0.5
    kind = type(limit)
    bound: Any = getattr(limit, LIMITS[kind].attribute) if kind in LIMITS else None
    if kind in (at.Ge, at.Gt):
        value = max(value, bound + step * (kind is at.Gt))
    elif kind in (at.Le, at.Lt):
        value = min(value, bound - step * (kind is at.Lt))
    elif kind is at.MinLen:
        value = value * bound
    elif kind is at.MaxLen:
        value = value[:bound]
    if pattern := getattr(limit, "pattern", None):  # the only patterns in use are those of hexadecimal digests
        return hashlib.sha256(value.encode()).hexdigest()[: int(pattern.split("{")[1].rstrip("}$"))]
    return value
