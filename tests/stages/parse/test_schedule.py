"""What the schedule does when pages and documents are lost, and how chosen pages become a text."""

from pathlib import Path
from typing import Any
from weakref import ref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stages.tables
from schemas.corpus import Document, Dropped, SourceFile
from stages.parse import Parse
from stages.parse.kernel import UNSEEN, _characters
from stages.parse.lines import Line, Page, lost
from stages.parse.pool import Lost
from stages.parse.schedule import MAX_LOST_PAGES, Schedule
from stages.parse.store import Store
from stages.parse.worker import PageTask, ReadTask, Refused, Text, Unfinished, finish
from stages.tables import Outputs, Reader
from tests.stages.parse.conftest import WORDS, record, source, typeset
from tests.stages.parse.test_letters import shift
from tests.tables import write_table


class Script:
    """In place of a pool: answers every task as a test says, and remembers the tasks."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.tasks, self.waiting = answer, [], []  # type: ignore[var-annotated]

    @property
    def num_tasks(self) -> int:
        """Tasks that wait."""
        return len(self.waiting)

    def submit(self, task: Any, *, first: bool = False, waits: bool = False) -> None:  # noqa: ARG002 - as a pool's
        """Remember a task."""
        self.tasks.append(task)
        self.waiting.insert(0 if first else len(self.waiting), task)

    def answers(self) -> list[tuple[Any, Any]]:
        """The answer to the next task."""
        task = self.waiting.pop(0)
        return [(task, self.answer(task))]


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """Three sources."""
    rows = []
    for number in range(3):
        (tmp_path / f"{number}.pdf").write_bytes(typeset(f"Number {number}."))
        rows.append(source(tmp_path / f"{number}.pdf"))
    return Reader(write_table(tmp_path / "in", SourceFile, rows, name="sources"), SourceFile)


def run(reader: Reader, tmp_path: Path, script: Script, **settings: Any) -> Outputs:
    """Run the schedule against a script."""
    outputs = Outputs(tmp_path / "out", {"documents": Document, "dropped": Dropped}, (0, 1))
    store = Store(tmp_path / "out", (0, 1), "key")
    Schedule(Parse(ocr="rapidocr", **settings), reader, script, store).run(outputs)  # type: ignore[arg-type]
    outputs.abort()
    return outputs


def page(number: int, text: str, **fields: Any) -> Page:
    """A page with one line."""
    return Page(number, 400, 600, (Line(text, 50, 300, 350, 310, 10),), **fields)


def text(value: str) -> Text:
    """A document without pages."""
    return Text(value, (), None)


def test_a_lost_page_is_skipped_the_next_time(reader: Reader, tmp_path: Path) -> None:
    """A document whose worker was lost at a page is read again without that page, before others."""

    def answer(task: ReadTask) -> object:
        if task.index == 1 and len(task.skip) < 2:
            return Lost("crashed", "by SIGSEGV", len(task.skip) + 5)
        return text(f"words of document {task.index}")

    script = Script(answer)
    outputs = run(reader, tmp_path, script)
    assert outputs["documents"].num_rows == 3
    assert [dict(t.skip) for t in script.tasks if t.index == 1] == [{}, {5: "crashed"}, {5: "crashed", 6: "crashed"}]


@pytest.mark.parametrize(
    ("page_number", "tries"),
    [(0, 1), (1, MAX_LOST_PAGES + 1)],
    ids=["before any page", "page after page"],
)
def test_a_document_that_is_lost_is_dropped(reader: Reader, tmp_path: Path, page_number: int, tries: int) -> None:
    """A document lost before its first page is dropped at once; one lost at page after page, after a few."""

    def answer(task: ReadTask) -> object:
        return Lost("time limit", "more than 1 second", page_number and page_number + len(task.skip))

    script = Script(answer)
    outputs = run(reader, tmp_path, script)
    assert outputs.dropped == {"time limit": 3}
    assert len(script.tasks) == 3 * tries


def test_pages_for_ocr_go_first_and_in_order(reader: Reader, tmp_path: Path) -> None:
    """Pages that need OCR are read before the next documents, at the engine's resolution unless another is set."""
    pages = (page(1, WORDS), Page(2, verdict="no text"), Page(3, verdict="no text"))

    def answer(task: ReadTask | PageTask) -> object:
        if isinstance(task, PageTask):
            return page(task.number, f"Read from the picture {task.number}.", parser="rapidocr", origin="ocr")
        return Unfinished(pages, None) if task.index == 0 else text("the words of another document")

    script = Script(answer)
    assert run(reader, tmp_path, script)["documents"].num_rows == 3
    ocr = [t for t in script.tasks if isinstance(t, PageTask)]
    assert sorted(t.number for t in ocr) == [2, 3]
    assert {(t.parser, t.options.dpi) for t in ocr} == {("rapidocr", None)}
    again = Script(answer)
    run(reader, tmp_path, again, ocr_dpi=77)
    assert not [t for t in again.tasks if isinstance(t, PageTask)]  # the store has them


def test_what_is_written_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 200 long documents with their pages, no more are in memory at any time than are open and wait for a batch."""
    monkeypatch.setattr(stages.tables, "BATCH_BYTES", 10 * 5_000)
    sources = Reader(
        write_table(tmp_path / "in", SourceFile, [record(str(n)) for n in range(200)], "sources"), SourceFile
    )
    made: list[ref[object]] = []
    most = {"entries": 0, "answers": 0, "rows": 0}

    def answer(task: ReadTask) -> object:
        entries = schedule._entries.values()
        most["entries"] = max(most["entries"], len(entries))
        most["answers"] = max(most["answers"], sum(r() is not None for r in made))
        most["rows"] = max(most["rows"], len(outputs["documents"]._rows))
        found = Unfinished((page(1, "x" * 5_000),), f"{task.index}")
        made.append(ref(found))
        return found

    outputs = Outputs(tmp_path / "out", {"documents": Document, "dropped": Dropped}, (0, 1))
    store = Store(tmp_path / "out", (0, 1), "key")
    schedule = Schedule(Parse(ocr="none"), sources, Script(answer), store)  # type: ignore[arg-type]
    schedule.run(outputs)
    assert outputs["documents"].num_rows == 200
    outputs.abort()
    assert max(most["entries"], most["answers"]) <= schedule.window
    assert 5 <= most["rows"] <= 10


def test_lost_ocr_keeps_what_there_is() -> None:
    """A page that OCR lost keeps a bad layer that is readable, loses one that is nonsense, and says why."""
    suspect, garbled = page(1, WORDS, verdict="suspect"), page(2, shift(WORDS, 3), verdict="garbled")
    gone = {n: lost(n, "rapidocr: time limit") for n in (1, 2, 3)}
    found = finish([suspect, garbled, Page(3, verdict="no text")], "T", 20, gone)
    assert isinstance(found, Text)
    assert found.text == WORDS.strip()
    failed = "rapidocr: time limit"
    assert [s.parser for s in found.pages] == [f"pypdfium2 ({failed})", f"none: {failed}", f"none: {failed}"]


def test_nonsense_is_not_passed_on_without_ocr() -> None:
    """A garbled page is empty where there is no OCR, and a document of such pages has no text."""
    garbled = page(1, shift(WORDS, 3), verdict="garbled")
    found = finish([garbled, page(2, WORDS)], None, 20)
    assert isinstance(found, Text)
    assert (found.text, found.pages[0].parser) == (WORDS.strip(), "none: garbled")
    refused = finish([garbled], None, 20)
    assert isinstance(refused, Refused)
    assert (refused.reason, "none: garbled" in refused.detail) == ("no text", True)


def test_enough_letters() -> None:
    """The minimum counts letters and digits, not dots."""
    for text_of_page, enough in (("." * 500, False), ("a" * 19, False), ("a" * 20, True), ("1 " * 20, True)):
        assert isinstance(finish([page(1, text_of_page)], None, 20), Text) == enough


def characters(codes: list[int]) -> str:
    """What a page's codes become."""
    read: bytes = _characters(np.array(codes, np.uint32)).tobytes()
    return read.decode("utf-32-le")


@settings(deadline=None)  # the first call compiles
@given(st.text(st.characters(exclude_characters="\x00\x02\r\x0b\u2028\u200b\ufffd", exclude_categories=["Cs"])))
def test_code_units_become_characters(value: str) -> None:
    """UTF-16 code units, one an index, become the characters they stand for, with a filler after each pair."""
    units = value.encode("utf-16-le")
    codes = [int.from_bytes(units[i : i + 2], "little") for i in range(0, len(units), 2)]
    found = characters(codes)
    assert len(found) == len(codes)
    assert "".join(found).replace(chr(UNSEEN), "") == value


@settings(deadline=None)
@given(st.lists(st.integers(0, 0x110000)))
def test_any_codes_become_characters(codes: list[int]) -> None:
    """Whatever PDFium says, there is one character for each code, and UTF-8 can hold them all."""
    found = characters(codes)
    assert len(found) == len(codes)
    "".join(found).encode()
