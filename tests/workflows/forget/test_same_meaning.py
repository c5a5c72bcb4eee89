"""`parsl why` and `parsl forget` about documents that were left out for meaning what another one says."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.stages.embed.models import WORDS, tiny
from tests.workflows.forget.conftest import finish, text
from workflows.__main__ import main as parsl
from workflows.base import load_recipe

RECIPE = """
from stages.dedup import Dedup
from stages.embed import Embed
from stages.ingest import Ingest
from stages.parse import Parse
from stages.semantic import Semantic
from stages.sketch import Sketch


def workflow(run):
    found = run(Ingest(paths=("FOLDER/papers",)))
    parsed = run(Parse(), sources=found["sources"])["documents"]
    sketches = run(Sketch(), documents=parsed)["sketches"]
    unique = run(Dedup(num_decoys=10), documents=parsed, sketches=sketches)["documents"]
    meant = run(Embed(model="FOLDER/model"), documents=unique)["embeddings"]
    run(Semantic(threshold=0.99), documents=unique, sketches=sketches, embeddings=meant)
"""


def call(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run `parsl`; what it prints."""
    with pytest.raises(SystemExit) as ended:
        parsl(list(words))
    out = capsys.readouterr()
    assert ended.value.code == 0, out.err
    return out.out


@pytest.fixture
def life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three papers: two of words that the model does not know, so all the same to it, and one of words that it knows."""
    (tmp_path / "papers").mkdir()
    (tmp_path / "model").mkdir()
    tiny(tmp_path / "model")
    known = " ".join(random.Random(0).choices(WORDS[6:11], k=300))
    for name, words in (("longer", f"{text(1)} {text(2)}"), ("shorter", text(3)), ("other", known)):
        (tmp_path / "papers" / f"{name}.txt").write_text(words)
    (tmp_path / "recipe.py").write_text(RECIPE.replace("FOLDER", str(tmp_path)))
    monkeypatch.setenv("BOREALIS_ROOT", str(tmp_path / "runs"))
    finish(load_recipe(tmp_path / "recipe.py", tmp_path / "runs", {}).nodes)
    return tmp_path


def test_why_and_forget(life: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The one that went says for whom and how near; if that one is taken down, the plan says who is left out for it."""
    recipe = str(life / "recipe.py")
    answer: dict[str, Any] = json.loads(call(capsys, "why", "shorter.txt", recipe, "--json"))
    stays = json.loads(call(capsys, "why", "longer.txt", recipe, "--json"))
    assert answer["fate"] == "dropped by semantic: same meaning"
    assert [row["doc_id"] for row in stays["copies"]] == [answer["doc_id"]]
    assert not any("vector" in event["row"] for event in answer["life"])
    words = call(capsys, "why", "shorter.txt", recipe)
    assert f"copy of {stays['doc_id']}: same meaning, cosine " in words
    assert "embedded from 2 chunks" in words
    assert "came as far as semantic" in call(capsys, "why", "other.txt", recipe)
    plan = json.loads(call(capsys, "forget", "longer.txt", recipe, "--reason", "asked", "--json"))
    assert any("1 documents that semantic left out" in note and "--from embed" in note for note in plan["notes"])
    assert {(row["node"], row["table"]) for row in plan["tables"]} >= {
        ("embed", "embeddings"),
        ("semantic", "documents"),
        ("semantic", "examples"),
    }
