"""The allot stage by its command line, parse with and without its table, and the graph that has it where it is needed."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from schemas.corpus import Allotment, SourceFile
from stages.allot import Allot
from stages.base import SettingsError, Stage
from stages.command import main
from stages.ingest import Ingest
from stages.parse import Parse
from tests.stages.parse.conftest import WORDS, scan, source, typeset
from tests.tables import write_table
from tests.workflows.test_commands import parsl
from workflows.allotment import parsed, words
from workflows.base import Run

SPENDING = {"budget": "1.5 s", "parsers": ["rapidocr"], "page_seconds": 1200, "document_seconds": 2400}


def run(stage: type[Stage], out: Path, config: dict[str, Any], *more: str) -> int:
    """A stage by its command line in this process; its exit code."""
    file = out.parent / f"{out.name}.json"
    file.write_text(json.dumps(config))
    with pytest.raises(SystemExit) as end:
        main(stage, ["--config", str(file), "--out", str(out), *more])
    return int(end.value.code or 0)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Two good papers, then two scans."""
    rows = []
    for number in range(4):
        data = typeset(f"Paper {number}. {WORDS[:150]}")
        (tmp_path / f"{number}.pdf").write_bytes(scan(data) if number > 1 else data)
        rows.append(source(tmp_path / f"{number}.pdf"))
    return write_table(tmp_path / "in", SourceFile, rows, name="sources")


def test_two_shards_spend_one_budget(tmp_path: Path, sources: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The shard with scans gets the other's seconds and reads one; by hand without the table it writes the same bytes."""
    given = {"parsing": SPENDING, "num_shards": 2}
    assert run(Allot, tmp_path / "allot", given, "--sources", str(sources)) == 0
    rows = pq.read_table(tmp_path / "allot" / "allotment").to_pylist()
    assert [r["part"] for r in rows] == [0.0, 6.0]
    assert "shard 1: 6.0 of 6.0" in capsys.readouterr().out
    table = ("--allotment", str(tmp_path / "allot" / "allotment"))
    for step in (("--shard", "0/2"), ("--shard", "1/2"), ("--commit", "2")):
        assert run(Parse, tmp_path / "with", SPENDING, "--sources", str(sources), *table, *step) == 0
    assert run(Parse, tmp_path / "without", SPENDING, "--sources", str(sources), "--shard", "1/2") == 0
    assert "no --allotment" in capsys.readouterr().out
    routes = pq.read_table(tmp_path / "with" / "routes").to_pylist()
    assert [r["parser"] for r in routes].count("rapidocr") >= 1
    assert sum(r["seconds"] for r in routes if r["parser"] == "rapidocr") <= 6
    files = sorted(f.relative_to(tmp_path / "with") for f in (tmp_path / "with").glob("*/part-00001-of-00002.parquet"))
    assert len(files) == 3
    for file in files:
        assert (tmp_path / "with" / file).read_bytes() == (tmp_path / "without" / file).read_bytes()
    assert "allotment" in json.loads((tmp_path / "with" / "manifest.json").read_text())["inputs"]


def test_an_allotment_of_other_shards_ends_the_run(
    tmp_path: Path, sources: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shard of three that is given two parts ends with 3, both numbers and the cure."""
    known = {"num_documents": 2, "num_drawn": 2, "num_pages": 2, "cost": 1.0, "price": 0.1, "part": 1.0}
    rows = [Allotment(shard=n, num_shards=2, budget="1.5 s", **known) for n in range(2)]
    table = write_table(tmp_path / "allot", Allotment, rows, name="allotment")
    inputs = ("--sources", str(sources), "--allotment", str(table))
    assert run(Parse, tmp_path / "out", SPENDING, *inputs, "--shard", "0/3") == 3
    assert "shards: expected 3, found 2" in capsys.readouterr().err


def test_a_budget_is_needed(tmp_path: Path, sources: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a parse that has a budget there is nothing to divide, which ends with 2."""
    for given in ({}, {"parsing": {}}):
        assert run(Allot, tmp_path / "allot", given, "--sources", str(sources)) == 2
        assert "allot.parsing: set those of a parse with a budget" in capsys.readouterr().err


def graph(tmp_path: Path, shards: int, **settings: object) -> Run:
    """Ingest and parse in so many shards."""
    (tmp_path / "papers").mkdir(exist_ok=True)
    overrides = {"ingest": {"paths": str(tmp_path / "papers")}, "parse": settings}
    run = Run(tmp_path / "runs", overrides, {"parse": shards})
    parsed(run, run(Ingest())["sources"])
    run.check()
    return run


@pytest.mark.parametrize(
    ("shards", "settings", "divided"),
    [(1, {"budget": "1 s"}, False), (3, {}, False), (3, {"price": 0.1}, False), (3, {"budget": "10 %"}, True)],
)
def test_the_graph_has_it_where_it_is_needed(
    tmp_path: Path, shards: int, settings: dict[str, object], *, divided: bool
) -> None:
    """The budget is divided before parse where it has one and several shards, with parse's settings, and nowhere else."""
    nodes = {n.name: n for n in graph(tmp_path, shards, **settings).nodes}
    assert ("allot" in nodes) == ("allotment" in nodes["parse"].inputs) == divided
    assert nodes["parse"].shards == shards
    if divided:
        stage = nodes["allot"].stage
        assert isinstance(stage, Allot)
        assert (stage.num_shards, stage.parsing) == (3, nodes["parse"].stage)
    assert words(nodes["parse"]) == ""


def test_addresses_follow_the_number_of_shards_only_with_a_budget(tmp_path: Path) -> None:
    """With a budget another number of shards is another output; the same settings have the same address; else all is as before."""

    def address(shards: int, **settings: object) -> str:
        return next(n.fingerprint for n in graph(tmp_path, shards, **settings).nodes if n.name == "parse")

    assert address(2, budget="1 s") == address(2, budget="1 s")
    assert len({address(n, budget="1 s") for n in (1, 2, 3)}) == 3
    assert address(2) == address(3) == address(1)
    assert address(2, price=0.1) == address(3, price=0.1)


def test_where_a_server_is_does_not_matter() -> None:
    """The address of a division has parse's settings without the places of its servers, and the router's weights."""
    served = {"budget": "1 s", "parsers": ("served",), "served_model": "m"}
    two = [Allot(parsing=Parse(**served, served_url=f"http://{host}:1")) for host in "ab"]
    assert two[0].fingerprint({}) == two[1].fingerprint({})
    assert two[0].external() == Parse(budget="1 s").external() != ""
    assert Allot().external() == ""
    with pytest.raises(SettingsError, match=r"allot\.parsing\.budgets"):
        Allot.parse({"parsing": {"budgets": "1 s"}})


def test_a_run_divides_first_and_a_rerun_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`parsl run` with a budget and two shards runs the division by itself, once; the same command again does nothing."""
    monkeypatch.setenv("BOREALIS_ROOT", str(tmp_path / "runs"))
    (tmp_path / "one.txt").write_text(WORDS)
    settings = ("--set", f"ingest.paths={tmp_path / 'one.txt'}", "--set", "parse.budget=1 h", "--shards", "parse=2")
    command = ("workflows/corpus.py", "--stub", "--until", "parse", *settings)
    words = parsl("run", *command)
    assert words.index("allot: done") < words.index("parse 0/2: done")
    assert "nothing to do: all 3 stages are done" in parsl("run", *command)
    assert "--allotment" in parsl("plan", *command)
