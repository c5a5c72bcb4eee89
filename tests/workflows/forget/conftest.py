"""A small corpus with copies of all kinds, from files to an order of tokens, made once by the real stages."""

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.command import main
from workflows.__main__ import main as parsl
from workflows.base import Node, load_recipe

RECIPE = """
from stages.dedup import Dedup
from stages.index import Index
from stages.ingest import Ingest
from stages.parse import Parse
from stages.sketch import Sketch
from stages.tokenize import Tokenize
from stages.train_tokenizer import TrainTokenizer


def workflow(run):
    found = run(Ingest(paths=("PAPERS",)))
    parsed = run(Parse(), sources=found["sources"])
    sketched = run(Sketch(), documents=parsed["documents"])
    unique = run(Dedup(num_decoys=10), documents=parsed["documents"], sketches=sketched["sketches"])
    made = run(TrainTokenizer(vocab_size=300), documents=unique["documents"])
    given = {"tokenizer": made["tokenizer"], "split": made["split"]}
    tokens = run(Tokenize(), documents=unique["documents"], **given)
    steps = {"num_steps": 3, "batch_sequences": 2, "sequence_tokens": 16}
    run(Index(**steps), tokens=tokens["shards"], tokenizer=made["tokenizer"])
"""
VOCABULARY = [f"w{number:x}" for number in range(3000)]


def text(seed: int) -> str:
    """A text of random words."""
    return " ".join(random.Random(seed).choices(VOCABULARY, k=300))


def papers() -> dict[str, tuple[str, dict[str, str]]]:
    """Files by name: text and sidecar.

    `asked` stays for its copies: `twin` (the same DOI, another text), `noname` (a near copy without a DOI), and `edition`
    and `reprint`, near copies that are one other work, and `sequel`, near to it by half, of a third.
    """
    asked = text(100)
    words = asked.split()
    files: dict[str, tuple[str, dict[str, str]]] = {f"other-{i}": (text(i), {}) for i in range(8)}
    files["asked"] = (asked + " and some words that make it the longest of all its copies", {"doi": "10.1000/a"})
    files["twin"] = (text(101), {"doi": "10.1000/a"})
    files["noname"] = (asked, {})
    files["edition"] = (" ".join([*words[:280], *text(102).split()[:10]]), {"doi": "10.1000/b"})
    files["reprint"] = (" ".join([*words[:280], *text(103).split()[:10]]), {"doi": "10.1000/b"})
    sequels = (" ".join([*words[90:], *text(104 + i).split()[:20]]) for i in range(100))
    least = min(sequels, key=lambda t: hashlib.sha256(t.encode()).hexdigest())  # so that the cluster is named for it
    files["sequel"] = (least, {"doi": "10.1000/c"})
    return files


def finish(nodes: list[Node]) -> None:
    """Run nodes in this process, as their command lines would."""
    for node in nodes:
        if not node.done:
            node.path.mkdir(parents=True, exist_ok=True)
            (node.path / "settings.json").write_text(node.stage.model_dump_json())
            flags = ["--out", str(node.path), "--config", str(node.path / "settings.json")]
            flags += [word for name, port in node.inputs.items() for word in (f"--{name}", str(port.path))]
            with pytest.raises(SystemExit) as ended:
                main(type(node.stage), flags)
            assert ended.value.code == 0, node.name


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `papers`, `recipe.py` and the finished `runs`."""
    folder = tmp_path_factory.mktemp("life")
    (folder / "papers").mkdir()
    for name, (words, facts) in papers().items():
        (folder / "papers" / f"{name}.txt").write_text(words)
        if facts:
            (folder / "papers" / f"{name}.meta.json").write_text(json.dumps(facts))
    (folder / "recipe.py").write_text(RECIPE.replace("PAPERS", str(folder / "papers")))
    finish(load_recipe(folder / "recipe.py", folder / "runs", {}).nodes)
    return folder


@pytest.fixture
def life(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which a test may change; the site's root is its `runs`."""
    shutil.copytree(made / "runs", tmp_path / "runs")
    shutil.copy(made / "recipe.py", tmp_path / "recipe.py")
    monkeypatch.setenv("BOREALIS_ROOT", str(tmp_path / "runs"))
    return tmp_path


def nodes(life: Path) -> dict[str, Node]:
    """The recipe's nodes by name."""
    return {n.name: n for n in load_recipe(life / "recipe.py", life / "runs", {}).nodes}


@pytest.fixture
def ask(life: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run `parsl` on the recipe; JSON answers are read."""

    def call(verb: str, document: str, *flags: str, code: int = 0) -> Any:
        with pytest.raises(SystemExit) as ended:
            parsl([verb, document, str(life / "recipe.py"), *flags])
        out = capsys.readouterr()
        assert ended.value.code == code, out.err
        if "--json" in flags:
            return json.loads(out.out)
        return out.out if code == 0 else out.err

    return call
