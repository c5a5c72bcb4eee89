"""How fast more nodes parse: the published points, the limits of the model, and what a parse has measured."""

import argparse
from pathlib import Path

import pytest
from rich.console import Console

from schemas.manifest import Cost, Manifest, Shard
from schemas.table import ContractError
from stages.base import SettingsError
from stages.parse import Parse
from workflows.__main__ import parser
from workflows.plan.parsing import FILESYSTEM_RATE, PAPER, Costs, costs_of, node_rates, parsing, rate

# Ten PDFs of four pages, 5 ms a page; two pages of them read again.
LAYERS = {"pypdfium2": Cost(count=40, seconds=0.2)}
MEASURED = LAYERS | {"rapidocr": Cost(count=2, seconds=12.0), "jats": Cost(count=7, seconds=1.0)}


def output(folder: Path, costs: dict[str, Cost], stage: str = "parse") -> Path:
    """A finished parse of ten PDFs in two shards, that took these costs twice."""
    (folder / "seconds").mkdir(parents=True)
    for index in range(2):
        rows = [f"source{index}{i},{page},pypdfium2,0.005" for i in range(5) for page in range(1, 5)]
        rows += [f"article{index},1,jats,0.1"]
        file = folder / "seconds" / f"{index:05d}-of-00002.csv"
        file.write_text("\n".join(["source_id,page,parser,seconds", *rows]) + "\n")
    shards = tuple(
        Shard(index=i, count=2, outputs={}, dropped={}, started="", seconds=1, peak_memory_bytes=0, host="", costs=c)
        for i, c in enumerate((costs, {}))
    )
    settings = Parse().model_dump(mode="json")
    rest = {"external": "", "inputs": {}, "outputs": {}, "dropped": {}, "code_sha256": "", "git_commit": ""}
    made = Manifest(stage=stage, version=1, fingerprint="0" * 16, settings=settings, shards=shards, packages={}, **rest)
    made.write(folder)
    return folder


@pytest.mark.parametrize(("paper", "error"), list(zip(PAPER, (0.02, 0.35, 0.02), strict=True)))
def test_the_published_points(paper: tuple[str, float, float], error: float) -> None:
    """From one node to 128: the plateau that the constant was taken from, and Nougat within 2 %, AdaParse within a third."""
    _, one_node, nodes_128 = paper
    assert rate(128, one_node, FILESYSTEM_RATE) == pytest.approx(nodes_128, rel=error)


def test_a_rate_has_both_limits() -> None:
    """Few slow nodes scale in a line; many fast ones come to what the file system gives, and never past it."""
    assert rate(4, 0.01, 1000) == pytest.approx(0.04, rel=1e-3)
    rates = [rate(nodes, 50, 300) for nodes in (1, 10, 100, 1000, 100_000)]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(300, rel=1e-3)
    assert all(r < 300 for r in rates)


def test_costs_are_those_of_the_manifest(tmp_path: Path) -> None:
    """Seconds by document of PDFs; native readers' are not among them; every page by RapidOCR is four of its readings."""
    found = costs_of(output(tmp_path / "out", MEASURED))
    assert found == Costs(10, 40, pytest.approx(0.02), pytest.approx(1.2), 0.0, "rapidocr", pytest.approx(24.0))
    rates = node_rates(found, cores=32, devices=4)
    assert rates == {
        "text layers only": pytest.approx(32 / 0.02),
        "as this run": pytest.approx(32 / 1.22),
        "every page by rapidocr": pytest.approx(32 / 24),
    }


def test_services_have_devices_of_their_own(tmp_path: Path) -> None:
    """Where a served model takes longer than the processors, its devices decide; without devices there is one server."""
    found = costs_of(output(tmp_path / "out", LAYERS | {"served:m": Cost(count=4, seconds=20.0)}))
    assert found.services == pytest.approx(2.0)
    assert node_rates(found, 32, 4)["as this run"] == pytest.approx(4 / 2.0)
    assert node_rates(found, 32, 0)["as this run"] == pytest.approx(1 / 2.0)
    assert node_rates(found, 32, 4)["every page by served:m"] == pytest.approx(4 / 20.0)


def ask(*words: str) -> tuple[argparse.Namespace, Console]:
    """The command line, and a console that keeps what it prints."""
    return parser().parse_args(["plan", "--parsing", *words]), Console(record=True, width=200)


def test_the_command(tmp_path: Path) -> None:
    """A line for each power of two up to the nodes asked for, the published points, and a picture."""
    picture = tmp_path / "scaling.png"
    choices, console = ask(
        str(output(tmp_path / "out", MEASURED)), "--site", "polaris", "--nodes", "100", "--plot", str(picture)
    )
    assert parsing(choices, console) == 0
    words = console.export_text()
    numbers = [line.split()[0] for line in words.splitlines() if line.strip()[:1].isdigit() and "PDFs" not in line]
    assert numbers == ["1", "2", "4", "8", "16", "32", "64", "100"]
    assert "10 PDFs of 4.0 pages" in words
    assert "PyMuPDF 315 (311), AdaParse 78 (104), Nougat 8 (7.86)" in words
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    """An output of another stage, one that has timed no PDF, a file system that gives nothing."""
    with pytest.raises(ContractError, match="an output of filter, expected one of parse"):
        costs_of(output(tmp_path / "filter", MEASURED, "filter"))
    with pytest.raises(SettingsError, match="no page of a PDF was timed"):
        costs_of(output(tmp_path / "native", {"jats": Cost(count=1, seconds=1.0)}))
    choices, console = ask(str(output(tmp_path / "out", MEASURED)), "--filesystem-rate", "0")
    with pytest.raises(SettingsError, match="--filesystem-rate 0: must be above 0"):
        parsing(choices, console)
