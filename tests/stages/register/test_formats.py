"""Benchmarks as their publishers lay them out, written here in small."""

import gzip
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from schemas.evaluation import BenchmarkItem
from stages.base import PACKAGE_ROOT, SettingsError
from stages.register import Register
from stages.tables import Outputs, Reader
from tests.tables import write_table

SHARED = PACKAGE_ROOT.parent / "shared" / "data" / "benchmarks"


def lines(*records: Mapping[str, Any]) -> str:
    """JSON Lines."""
    return "".join(json.dumps(r) + "\n" for r in records)


def registered(folder: Path, out: Path) -> tuple[list[BenchmarkItem], Counter[str]]:
    """The items of all files in a folder, and what was dropped by reason."""
    stage = Register(paths=(str(folder),))
    outputs = Outputs(out, Register.outputs, (0, 1))
    stage.run({}, outputs)
    writer = outputs["items"]
    outputs.close()
    import pyarrow.parquet as pq

    rows = [BenchmarkItem.model_validate(r) for r in pq.read_table(writer.path).to_pylist()]
    return rows, outputs.dropped


def write(folder: Path, name: str, text: str | bytes) -> Path:
    """A benchmark file."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


ARC = {
    "id": "M_1",
    "question": {
        "stem": "Which is a star?",
        "choices": [{"text": "Mars", "label": "A"}, {"text": "Sun", "label": "B"}],
    },
    "answerKey": "B",
}
CODE = {
    "task_id": "T/0",
    "prompt": "def one():\n",
    "canonical_solution": "    return 1\n",
    "test": "",
    "entry_point": "one",
}
ABSTRACT = {
    "9": {"QUESTION": "Does it?", "CONTEXTS": ["We", "did."], "LONG_ANSWER": "It does.", "final_decision": "yes"}
}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("arc/dev.jsonl", lines(ARC), ("arc", "M_1", "Which is a star?", ["Mars", "Sun"], "Sun", "")),
        (
            "mmlu/test/bio_test.csv",
            "What?,a,b,c,d,C\n",
            ("mmlu/bio", "bio_test:1", "What?", ["a", "b", "c", "d"], "c", ""),
        ),
        (
            "mmlu/dev/bio_dev.csv",
            "question,choice0,choice1,choice2,choice3,answer\nWhat?,7,3,0,9,1\n",
            ("mmlu/bio", "bio_dev:1", "What?", ["7", "3", "0", "9"], "3", ""),
        ),
        (
            "gsm8k/test.jsonl",
            lines({"question": "1+1?", "answer": "#### 2"}),
            ("gsm8k", "test:1", "1+1?", [], "#### 2", ""),
        ),
        ("pubmed.json", json.dumps(ABSTRACT), ("pubmed", "9", "Does it?", ["yes", "no", "maybe"], "yes", "We\ndid.")),
        (
            "code.jsonl.gz",
            gzip.compress(lines(CODE).encode(), mtime=0),
            ("code", "T/0", "def one():\n", [], "    return 1\n", ""),
        ),
        (
            "own.jsonl",
            lines({"id": 3, "question": "Q?", "choices": ["x", "y"], "answer": 0, "context": "c"}),
            ("own", "3", "Q?", ["x", "y"], "x", "c"),
        ),
        (
            "own.jsonl",
            lines({"question": "Q?", "choices": ["x", "y"], "answer": "B"}),
            ("own", "own:1", "Q?", ["x", "y"], "y", ""),
        ),
        ("own.json", json.dumps([{"question": "Q?", "answer": "y"}]), ("own", "own:1", "Q?", [], "y", "")),
        (
            "own.jsonl",
            '{"question": "A\u2028B\u0085C\x7f?", "answer": "y"}\r\n',
            ("own", "own:1", "A\u2028B\u0085C\x7f?", [], "y", ""),
        ),
        (
            "own.jsonl",
            lines({"question": "Kept secret?", "answer": None}),
            ("own", "own:1", "Kept secret?", [], "", ""),
        ),
    ],
)
def test_layouts(tmp_path, name: str, text: str | bytes, expected: tuple[Any, ...]) -> None:
    """Each layout gives the item that a reader of the file would name: its question, choices and right answer."""
    write(tmp_path / "files", name, text)
    items, dropped = registered(tmp_path / "files", tmp_path / "out")
    assert [tuple(i.model_dump().values()) for i in items] == [expected]
    assert not dropped


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.jsonl", lines({"completion": "x"}), "unknown layout"),
        ("a.jsonl", '"only a string"\n', "unknown layout"),
        ("a.csv", "too,few\n", "unknown layout"),
        ("a.jsonl", lines({"question": "", "answer": "x"}), "incomplete item"),
        ("a.jsonl", lines({"question": None, "answer": "x"}), "incomplete item"),
        ("a.jsonl", lines({"question": "Q?", "choices": ["x"], "answer": 4}), "incomplete item"),
        ("a.csv", "Q?,a,b,c,d,Z\n", "incomplete item"),
        ("a.csv", "Q?,a,b,c,d,\n", "incomplete item"),
        ("a.csv", "Q?,a,b,c,d,BC\n", "incomplete item"),
        ("a.jsonl", lines({"question": "Q?", "choices": ["x", "y"], "answer": -1}), "incomplete item"),
        ("a.jsonl", lines({"question": "Q?", "choices": ["x", "y"], "answer": None}), "incomplete item"),
        ("a.json", json.dumps({"9": {**ABSTRACT["9"], "final_decision": "YES"}}), "incomplete item"),
        ("a.json", json.dumps({"version": "1.0"}), "unknown layout"),
        ("a.json", json.dumps("a word"), "unknown layout"),
        ("a.json", "null", "unknown layout"),
        ("a.jsonl", lines(ARC, ARC), "same id"),
    ],
)
def test_what_is_no_item_is_dropped_with_a_reason(tmp_path, name: str, text: str, reason: str) -> None:
    """A record that cannot be read as an item costs itself, and is counted."""
    write(tmp_path / "files", name, text)
    _, dropped = registered(tmp_path / "files", tmp_path / "out")
    assert dropped == {reason: 1}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", b"{\n"),
        ("a.jsonl", b"\xff\xfe{}"),
        ("a.jsonl.gz", gzip.compress(b"{}\n" * 99, mtime=0)[:20]),
        ("a.json.gz", b"no"),
    ],
)
def test_files_that_cannot_be_read_are_refused_by_name(tmp_path, name: str, data: bytes) -> None:
    """A broken file stops the stage and is named: a benchmark that is half there would look clean."""
    write(tmp_path / "files", name, data)
    with pytest.raises(SettingsError, match=name):
        registered(tmp_path / "files", tmp_path / "out")


def test_paths_that_are_not_there_are_all_named() -> None:
    """Every missing path is in one message."""
    with pytest.raises(SettingsError, match=r"(?s)nowhere'.*nothing'"):
        Register(paths=("/nowhere", "/nothing")).external()


def test_the_address_follows_the_bytes_and_not_the_place(tmp_path) -> None:
    """A moved folder has the same digest, a changed question another, no files none."""
    for place in ("a", "b"):
        write(tmp_path / place, "x.jsonl", lines(ARC))
    same = {Register(paths=(str(tmp_path / p),)).external() for p in ("a", "b")}
    assert len(same) == 1
    write(tmp_path / "b", "x.jsonl", lines({**ARC, "id": "M_2"}))
    assert Register(paths=(str(tmp_path / "b"),)).external() not in same
    assert Register().external() == ""


def test_other_files_are_left_alone(tmp_path) -> None:
    """A folder's licences and pages are no benchmarks."""
    write(tmp_path / "files", "LICENSE", "MIT")
    write(tmp_path / "files", "README.md", "# x")
    write(tmp_path / "files", "._arc.jsonl", b"\x00\x05\x16\x07")
    write(tmp_path / "files", ".cache/arc.jsonl", "{")
    write(tmp_path / "files", "arc.jsonl", lines(ARC))
    items, dropped = registered(tmp_path / "files", tmp_path / "out")
    assert ([i.item_id for i in items], dropped) == (["M_1"], Counter())


def test_a_folder_without_a_table_is_refused(tmp_path) -> None:
    """A folder in which there is nothing to read is a mistake, not a benchmark that nothing contaminates."""
    write(tmp_path / "files", "README.md", "# x")
    write(tmp_path / "more", "arc.parquet", "PAR1")
    with pytest.raises(SettingsError) as error:
        Register(paths=(str(tmp_path / "files"), str(tmp_path / "more"), str(tmp_path / "none"))).external()
    assert str(error.value).count("no .jsonl, .json, .csv in the folder") == 2
    assert "no file or folder" in str(error.value)


def test_the_real_benchmarks(tmp_path) -> None:
    """Published benchmarks are read whole; the numbers of items are their publishers'."""
    if not SHARED.is_dir():
        pytest.skip("no shared/data/benchmarks")
    items, dropped = registered(SHARED, tmp_path / "out")
    found = Counter(i.benchmark.split("/")[0] for i in items)
    assert found["gsm8k"] == 1319
    assert found["HumanEval"] == 164
    assert found["pqal_train300"] == 300
    assert found["mmlu"] == 1991 + 13 * 5
    assert set(dropped) <= {"unknown layout"}
    assert all(i.answer in i.choices for i in items if i.choices)


def test_rows_can_be_read_back(tmp_path) -> None:
    """The contract holds for what is written."""
    item = BenchmarkItem(benchmark="b", item_id="1", question="q", choices=[], answer="a", context="")
    folder = write_table(tmp_path, BenchmarkItem, [item], "items")
    assert list(Reader(folder, BenchmarkItem).rows()) == [item]
