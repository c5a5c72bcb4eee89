"""`parsl forget` about a document whose passages others lost, since they stood first in it."""

import json
from pathlib import Path

import pytest

from schemas.corpus import Document
from stages.tables import Reader
from tests.workflows.forget.conftest import finish, text
from workflows.__main__ import main as parsl
from workflows.base import load_recipe

RECIPE = """
from stages.ingest import Ingest
from stages.parse import Parse
from stages.substring import Substring


def workflow(run):
    found = run(Ingest(paths=("FOLDER/papers",)))
    parsed = run(Parse(), sources=found["sources"])["documents"]
    run(Substring(action="ACTION"), documents=parsed)
"""


@pytest.fixture
def life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """Three papers that end with the same statement, of forty words; the action is the test's parameter."""
    (tmp_path / "papers").mkdir()
    statement = " ".join(text(9).split()[:40])
    for number in range(3):
        (tmp_path / "papers" / f"{number}.txt").write_text(f"{text(number)}\n\n{statement}")
    recipe = RECIPE.replace("FOLDER", str(tmp_path)).replace("ACTION", request.param)
    (tmp_path / "recipe.py").write_text(recipe)
    monkeypatch.setenv("BOREALIS_ROOT", str(tmp_path / "runs"))
    finish(load_recipe(tmp_path / "recipe.py", tmp_path / "runs", {}).nodes)
    return tmp_path


def documents(life: Path) -> dict[str, tuple[str, str]]:
    """Name and text after the last stage, by file."""
    node = load_recipe(life / "recipe.py", life / "runs", {}).nodes[-1]
    rows = list(Reader(node.path / "documents", Document).rows())
    return {Path(row.path).name: (row.doc_id, row.text) for row in rows}


def notes(life: Path, capsys: pytest.CaptureFixture[str], doc_id: str) -> list[str]:
    """What the plan of a takedown says beside its tables."""
    with pytest.raises(SystemExit) as ended:
        parsl(["forget", doc_id, str(life / "recipe.py"), "--reason", "asked", "--json"])
    out = capsys.readouterr()
    assert ended.value.code == 0, out.err
    said: list[str] = json.loads(out.out)["notes"]
    return said


@pytest.mark.parametrize("life", ["cut"], indirect=True)
def test_who_lost_a_passage_is_counted(life: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The paper that kept the statement names the two that lost it, and the command that cuts anew; the others name none."""
    statement = " ".join(text(9).split()[:40])
    kept = [doc_id for doc_id, words in documents(life).values() if statement in " ".join(words.split())]
    assert len(kept) == 1
    expected = "2 documents lost passages in substring that stood first in one that goes; to cut anew: --from substring"
    for doc_id, _ in documents(life).values():
        assert any(expected in note for note in notes(life, capsys, doc_id)) == (doc_id in kept)


@pytest.mark.parametrize("life", ["count"], indirect=True)
def test_nothing_was_lost_where_passages_are_counted(life: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A stage that cuts nothing takes nothing from anyone."""
    for doc_id, _ in documents(life).values():
        assert not any("lost passages" in note for note in notes(life, capsys, doc_id))
