"""The layouts in which benchmarks are published, told apart by their fields, to one kind of row.

- ARC: `{"id", "question": {"stem", "choices": [{"text", "label"}]}, "answerKey"}`, a line each
- MMLU: CSV without a header: question, four choices, letter of the answer; `<subject>_<split>.csv`; or with the header
  `question,choice0,...,answer`, where the answer is the number of a choice
- GSM8K: `{"question", "answer"}` where the number stands after `####`
- PubMedQA: one object of `{"<pmid>": {"QUESTION", "CONTEXTS", "LONG_ANSWER", "final_decision"}}`
- HumanEval: `{"task_id", "prompt", "canonical_solution", "test", "entry_point"}`, a line each
- plain rows: `{"question", "answer", "choices"?, "context"?, "id"?}`

An item is known by its benchmark and its id; where the file gives no id, by its place in the file.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from schemas.evaluation import BenchmarkItem
from stages.base import SettingsError
from stages.tables import Outputs

SPLITS = ("dev", "test", "train", "val", "validation")
LETTERS = "ABCDEFGHIJ"
MMLU_COLUMNS = 6  # question, four choices, letter
Fields = dict[str, Any]


class UnknownLayoutError(Exception):
    """A record is in none of the layouts above."""


class Refused(NamedTuple):
    """A record that is no item, and why."""

    where: str
    reason: str
    detail: str
    path: str


def register(files: list[Path], outputs: Outputs) -> None:
    """Write the items of all files; what is no item is dropped with a reason."""
    for found in read(files):
        if isinstance(found, Refused):
            outputs.drop(found.where, found.reason, found.detail, found.path)
        else:
            outputs["items"].write(found)


def read(files: Iterable[Path]) -> Iterator[BenchmarkItem | Refused]:
    """Every record of the files, as an item or with what is wrong with it; `SettingsError` for a file that is broken."""
    seen: set[tuple[str, str]] = set()
    for file in files:
        for number, record in enumerate(_records(file)):
            found = _read(file, number, record)
            if isinstance(found, BenchmarkItem):
                key = (found.benchmark, found.item_id)
                if key in seen:
                    found = Refused(f"{file.name}:{number + 1}", "same id", " ".join(key), str(file))
                seen.add(key)
            yield found


def _read(file: Path, number: int, record: Any) -> BenchmarkItem | Refused:
    where = f"{file.name}:{number + 1}"
    try:
        fields = {"benchmark": _name(file), "item_id": f"{_stem(file)}:{number + 1}", **_item(record)}
        return _answerable(BenchmarkItem.model_validate(fields))
    except UnknownLayoutError as error:
        return Refused(where, "unknown layout", str(error), str(file))
    except (ValidationError, LookupError, TypeError, ValueError) as error:
        return Refused(where, "incomplete item", f"{type(error).__name__}: {error}", str(file))


def _answerable(item: BenchmarkItem) -> BenchmarkItem:
    if item.choices and item.answer not in item.choices:
        raise LookupError(f"the answer {item.answer!r} is none of the choices")
    return item


def _records(file: Path) -> Iterator[Any]:
    try:
        data = file.read_bytes()
        text = (gzip.decompress(data) if file.suffix == ".gz" else data).decode("utf-8-sig")
        yield from _parsed(file, text)
    except (json.JSONDecodeError, UnicodeDecodeError, EOFError, zlib.error, gzip.BadGzipFile, csv.Error) as error:
        raise SettingsError(f"register.paths: {file} cannot be read: {error}") from None


def _parsed(file: Path, text: str) -> Iterator[Any]:
    if ".csv" in file.suffixes:
        rows = csv.reader(io.StringIO(text), strict=True)
        first = next(rows, [])
        headed = {"question", "answer"} <= set(first)
        yield from (_headed(first, row) for row in rows) if headed else ([first, *rows] if first else [])
    elif ".jsonl" in file.suffixes:
        for line in text.split("\n"):  # JSON may hold the other characters that Python ends a line at, as U+2028
            if line.strip():
                yield json.loads(line)
    else:
        data = json.loads(text)
        keyed = (
            ({"id": k, **v} if isinstance(v, dict) else v for k, v in data.items()) if isinstance(data, dict) else ()
        )
        yield from data if isinstance(data, list) else keyed if isinstance(data, dict) else [data]


def _item(record: Any) -> Fields:
    """One record as the fields of a `BenchmarkItem`."""
    if isinstance(record, list):
        return _mmlu(record)
    if not isinstance(record, Mapping):
        raise UnknownLayoutError(f"expected an object, found {type(record).__name__}")
    for marks, reader in LAYOUTS:
        if marks <= set(record):
            return reader(record)
    raise UnknownLayoutError(f"expected fields question and answer, found {', '.join(map(str, record))[:200]}")


def _headed(names: list[str], row: list[str]) -> Fields:
    """A row of a CSV file with a header, as a plain row."""
    fields: Fields = dict(zip(names, row, strict=False))
    choices = [fields.pop(name) for name in names if name.startswith("choice") and name in fields]
    if choices and str(fields.get("answer", "")).isdecimal():
        fields["answer"] = int(fields["answer"])
    return {**fields, "choices": choices}


def _mmlu(record: list[str]) -> Fields:
    if len(record) != MMLU_COLUMNS:
        raise UnknownLayoutError(
            f"expected {MMLU_COLUMNS} columns (question, four choices, letter), found {len(record)}"
        )
    question, *choices, letter = record
    return {
        "question": question,
        "choices": choices,
        "answer": choices[list(LETTERS).index(letter.strip())],
        "context": "",
    }


def _humaneval(record: Mapping[str, Any]) -> Fields:
    solution = record["canonical_solution"]
    return {
        "item_id": record["task_id"],
        "question": record["prompt"],
        "choices": [],
        "answer": solution,
        "context": "",
    }


def _pubmedqa(record: Mapping[str, Any]) -> Fields:
    return {
        "item_id": record["id"],
        "question": record["QUESTION"],
        "choices": ["yes", "no", "maybe"],
        "answer": record["final_decision"],
        "context": "\n".join(record["CONTEXTS"]),
    }


def _plain(record: Mapping[str, Any]) -> Fields:
    question = record["question"]
    nested = isinstance(question, Mapping)  # ARC puts the choices inside the question
    found = question.get("choices", []) if nested else record.get("choices", [])
    labels = [c["label"] for c in found if isinstance(c, Mapping)]
    choices = [c["text"] if isinstance(c, Mapping) else str(c) for c in found]
    fields = {
        "question": question["stem"] if nested else question,
        "choices": choices,
        "answer": _answer(record.get("answerKey", record.get("answer")), choices, labels),
        "context": record.get("context", ""),
    }
    return {"item_id": str(record["id"]), **fields} if "id" in record else fields


def _answer(given: Any, choices: list[str], labels: list[str]) -> str:
    """The text of the answer, given as a text, an index, a label or a letter; "" where it is kept secret."""
    if isinstance(given, int) and not isinstance(given, bool) and choices:
        if given < 0:  # how test sets are published whose answers nobody shall know
            raise LookupError(f"the answer {given} is none of the choices")
        return choices[given]
    text = "" if given is None else str(given)
    if not choices or text in choices:
        return text
    return choices[(labels or list(LETTERS)).index(text)]


def _stem(file: Path) -> str:
    return file.name.split(".")[0]


def _name(file: Path) -> str:
    """`mmlu/anatomy` for `mmlu/test/anatomy_test.csv`, `gsm8k` for `gsm8k/test.jsonl`: names less words for splits."""
    stem = _stem(file)
    words = [w for w in stem.split("_") if w.lower() not in SPLITS]
    parents = [p for p in (file.parent.parent.name, file.parent.name) if p.lower() not in SPLITS and p]
    if not words:
        return parents[-1] if parents else stem
    name = "_".join(words)
    return f"{parents[-1]}/{name}" if file.parent.name.lower() in SPLITS and parents else name


LAYOUTS = (
    ({"task_id", "prompt", "canonical_solution"}, _humaneval),
    ({"QUESTION", "CONTEXTS", "final_decision"}, _pubmedqa),
    ({"question", "answerKey"}, _plain),
    ({"question", "answer"}, _plain),
)
