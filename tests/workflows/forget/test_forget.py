"""`parsl forget`: the document and its copies are gone from every file, other works come back, all the rest is as it was."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
import pytest

from schemas.corpus import DedupFile
from schemas.manifest import Manifest
from schemas.tokens import TokenizedDocument, TokenShard
from stages.dedup.keys import open_keys
from stages.stream.corpus import open_corpus
from stages.tables import Reader
from tests.workflows.forget.conftest import finish, nodes, papers
from tests.workflows.trace import life as trace
from workflows.base import Node
from workflows.forget import _seen, _seen_words, tables
from workflows.forget import apply as applying
from workflows.trace import answers
from workflows.trace.training import Training

Ask = Callable[..., Any]
GOES = ("asked", "twin", "noname")


def digest(name: str) -> str:
    """The id of a document: its file's SHA-256."""
    return hashlib.sha256(papers()[name][0].encode()).hexdigest()


def content(folder: Path) -> dict[str, bytes]:
    """Every file but logs, locks and settings."""
    skip = {"log", "locks", "progress"}
    files = [f for f in folder.rglob("*") if f.is_file() and not skip & set(f.relative_to(folder).parts)]
    return {str(f.relative_to(folder)): f.read_bytes() for f in files}


def ids(node: Node, table: str) -> list[str]:
    """Documents of a table."""
    return list(pq.read_table(node.path / table)["doc_id"].to_pylist())


def tokens_of(node: Node) -> dict[str, bytes]:
    """Each document's tokens, read from the files; the files are checked on the way."""
    shards = Reader(node.path / "shards", TokenShard)
    files = {
        f.shard.bin.path: f for split in ("train", "validation") for d in open_corpus(shards, split) for f in d.files
    }
    found = {}
    for row in Reader(node.path / "documents", TokenizedDocument).rows():
        ids_ = np.fromfile(node.path / row.bin, files[row.bin].shard.dtype)
        found[row.doc_id] = ids_[row.start : row.start + row.num_tokens].tobytes()
    return found


# ---- the plan


def test_a_plan_changes_nothing(ask: Ask, life: Path) -> None:
    """Without --yes the plan is shown, and not a byte is another."""
    before = content(life / "runs")
    words = ask("forget", "asked.txt")
    assert "nothing was changed: --yes does it" in words
    assert content(life / "runs") == before


def test_who_goes_and_who_comes_back(ask: Ask) -> None:
    """The same work and unnamed copies go; other works that it had shadowed come back, one copy of each."""
    answer = ask("forget", "asked.txt", "--json")
    assert answer["goes"] == {
        digest("asked"): "asked for",
        digest("twin"): "the same work",
        digest("noname"): "a copy without a name of its own",
    }
    (back,) = answer["back"]
    assert back in {digest("edition"), digest("reprint"), digest("sequel")}
    assert {(t["node"], t["table"]) for t in answer["tables"]} >= {
        ("ingest", "sources"),
        ("parse", "documents"),
        ("sketch", "sketches"),
        ("dedup", "documents"),
        ("dedup", "duplicates"),
        ("dedup", "dropped"),
        ("tokenize", "documents"),
    }
    assert answer["void"] == ["index"]
    assert sorted(Path(f).name for f in answer["files"]) == ["asked.txt", "noname.txt", "twin.txt"]


def test_a_copy_that_was_left_out_goes_with_its_work(ask: Ask) -> None:
    """Who asks for a left-out copy of a work takes the one that stayed for it along."""
    assert set(ask("forget", "twin.txt", "--json")["goes"]) == {digest(n) for n in GOES}


def test_another_work_goes_alone(ask: Ask) -> None:
    """Who asks for a near copy that is another work takes its own copies along, and not the one that stayed."""
    answer = ask("forget", "edition.txt", "--json")
    assert set(answer["goes"]) == {digest("edition"), digest("reprint")}
    assert answer["back"] == []


# ---- the deed


def test_nothing_of_it_is_left(ask: Ask, life: Path) -> None:
    """No file under the root has the document's id, its copies' ids, or its words; but the record has the digests."""
    ask("forget", "asked.txt", "--yes", "--reason", "withdrawn")
    left = {n: c for n, c in content(life / "runs").items() if n != "forgotten.jsonl"}
    for node in nodes(life).values():
        for file in node.path.rglob("*.parquet"):
            table = str(pq.read_table(file, partitioning=None).to_pylist())
            for name in GOES:
                assert digest(name) not in table
                assert papers()[name][0] not in table
            assert "that make it the longest of all" not in table
    manifests = {n for n in left if n.endswith("manifest.json")}
    assert all(digest("asked") not in c.decode(errors="replace") for n, c in left.items() if n not in manifests)
    record = [json.loads(line) for line in (life / "runs" / "forgotten.jsonl").read_text().splitlines()]
    assert {(r["sha256"], r["reason"]) for r in record} == {(digest(n), "withdrawn") for n in GOES}


def test_the_rest_is_as_it_was(ask: Ask, life: Path) -> None:
    """Tokens of other documents are the same at their new places, files agree with rows, and manifests with files."""
    before = tokens_of(nodes(life)["tokenize"])
    ask("forget", "asked.txt", "--yes")
    after = tokens_of(nodes(life)["tokenize"])
    assert after == {k: v for k, v in before.items() if k != digest("asked")}
    for node in nodes(life).values():
        if node.name == "index":
            assert not node.done
            continue
        manifest = node.manifest()
        assert manifest.fingerprint == node.fingerprint
        for output in manifest.outputs.values():
            for part in output.parts:
                assert pq.read_metadata(node.path / part.path).num_rows == part.num_rows
                assert (node.path / part.path).stat().st_size == part.size_bytes
        for name, given in manifest.inputs.items():
            port = node.inputs[name]
            assert given.num_rows == port.node.manifest().outputs[port.output].num_rows
    dedup = nodes(life)["dedup"].manifest()
    kept, dropped = dedup.outputs["documents"].num_rows, sum(dedup.dropped.values())
    assert kept + dropped == dedup.inputs["documents"].num_rows
    assert set(dedup.forgotten) == {digest(n) for n in GOES}


def test_what_comes_back_is_a_document_again(ask: Ask, life: Path) -> None:
    """It is in dedup's documents and no duplicate any more; those that are like it are left out for it."""
    (back,) = ask("forget", "asked.txt", "--yes", "--json")["back"]
    dedup = nodes(life)["dedup"]
    assert ids(dedup, "documents")[-1] == back
    rows = {r["doc_id"]: r for r in pq.read_table(dedup.path / "duplicates").to_pylist()}
    assert set(rows) == {digest(n) for n in ("edition", "reprint", "sequel")} - {back}
    assert {r["of"] for r in rows.values()} == {back}
    assert all("taken down" in r["note"] for r in rows.values())


def test_the_index_is_that_of_the_rest(ask: Ask, life: Path, tmp_path: Path) -> None:
    """Key files are those of a run on the rest, and new documents can be decided against the output."""
    ask("forget", "asked.txt", "--yes")
    dedup = nodes(life)["dedup"]
    folder = tmp_path / "again"
    shutil.copytree(life / "runs", folder)
    (folder / "dedup" / dedup.fingerprint / "manifest.json").unlink()
    again = {n.name: n for n in nodes_at(life, folder)}["dedup"]
    finish([again])
    for kind in ("documents", "contents", "works", "bands"):
        ours, theirs = (open_keys(n.path / "keys" / f"{kind}.npy") for n in (dedup, again))
        assert np.array_equal(ours, theirs)
    for row in Reader(dedup.path / "index", DedupFile).rows():
        row.blob.open_path(dedup.path)


def nodes_at(life: Path, root: Path) -> list[Node]:
    """The recipe's nodes under another root."""
    from workflows.base import load_recipe

    return load_recipe(life / "recipe.py", root, {}).nodes


def test_ingest_refuses_it(ask: Ask, life: Path) -> None:
    """The same bytes are not taken in again, and the row says why."""
    ask("forget", "asked.txt", "--yes", "--reason", "withdrawn")
    ingest = nodes(life)["ingest"]
    (ingest.path / "manifest.json").unlink()
    finish([ingest])
    rows = {r["row_id"]: r for r in pq.read_table(ingest.path / "dropped").to_pylist()}
    assert {rows[digest(n)]["reason"] for n in GOES} == {"forgotten"}
    assert rows[digest("asked")]["detail"] == "withdrawn"
    assert ask("why", digest("asked")[:12]).splitlines()[-1].split() == ["so", "dropped", "by", "ingest:", "forgotten"]


def test_the_same_command_again(ask: Ask, life: Path) -> None:
    """A second time there is nothing left to do, and nothing changes."""
    ask("forget", "asked.txt", "--yes")
    before = content(life / "runs")
    assert "taken down: taken down" in ask("why", digest("asked")[:12], code=2)
    answer = ask("forget", digest("asked"), "--yes", "--json")
    assert answer["tables"] == []
    assert content(life / "runs") == before


@pytest.mark.parametrize("step", range(0, 14, 2))
def test_a_takedown_that_was_cut_short_goes_on(
    ask: Ask, life: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Broken off before any of its writes, the next takedown ends it, and the files are those of an unbroken one."""
    shutil.copytree(life / "runs", life / "whole")
    monkeypatch.setenv("BOREALIS_ROOT", str(life / "whole"))
    ask("forget", "asked.txt", "--yes", "--reason", "withdrawn")
    monkeypatch.setenv("BOREALIS_ROOT", str(life / "runs"))
    left = [step]
    real, recount = tables.rewrite, tables.recount

    def breaking(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return function(*arguments)

        return call

    monkeypatch.setattr(applying.tables, "rewrite", breaking(real))
    monkeypatch.setattr(applying.tables, "recount", breaking(recount))
    ask("forget", "asked.txt", "--yes", "--reason", "withdrawn", code=130)
    assert (life / "runs" / "forgetting.json").exists()
    monkeypatch.setattr(applying.tables, "rewrite", real)
    monkeypatch.setattr(applying.tables, "recount", recount)
    ask("forget", digest("asked"), "--yes")
    assert not (life / "runs" / "forgetting.json").exists()
    ours, theirs = content(life / "runs"), content(life / "whole")
    assert {n for n in ours if n.endswith(".tmp")} == set()
    assert {n: c for n, c in ours.items() if n != "forgotten.jsonl"} == {
        n: c for n, c in theirs.items() if n != "forgotten.jsonl"
    }
    assert Manifest.read(nodes(life)["dedup"].path).forgotten


def test_a_cluster_loses_the_name_of_what_goes(ask: Ask, life: Path) -> None:
    """Where a left-out copy goes that its cluster was named for, the rest of the cluster gets another name."""
    rows = pq.read_table(nodes(life)["dedup"].path / "duplicates").to_pylist()
    assert {r["cluster"] for r in rows} == {digest("sequel")}
    assert set(ask("forget", "sequel.txt", "--yes", "--json")["goes"]) == {digest("sequel")}
    rows = pq.read_table(nodes(life)["dedup"].path / "duplicates").to_pylist()
    left = ("asked", "twin", "noname", "edition", "reprint")
    assert {r["doc_id"] for r in rows} == {digest(n) for n in left[1:]}
    assert {r["cluster"] for r in rows} == {min(digest(n) for n in left)}


def test_who_has_seen_it_is_listed(tmp_path: Path) -> None:
    """Of a training that took the document, the first step is named that saw it, from the ledger."""
    tables = trace.tokenized(tmp_path)
    out = trace.trained(tables, tmp_path / "pretrain")
    node = SimpleNamespace(name="pretrain", path=out, manifest=lambda: Manifest.read(out))
    wanted = [trace.document(i).doc_id for i in range(12)]
    seen = list(_seen(cast("Node", node), wanted))
    training = Training.open(out)
    expected = {d: answers.document(training, d)["steps"] for d in wanted}
    assert {s["doc_id"]: (s["first_step"], s["num_steps"]) for s in seen} == {
        d: (steps[0]["step"], len(steps)) for d, steps in expected.items() if steps
    }
    assert seen
    assert "from step" in _seen_words(seen[0])
