"""`parsl train-router` from end to end: generated pages, a served model, weights that a run goes by."""

from argparse import Namespace
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from stages.base import SettingsError
from stages.parse import Parse
from stages.parse.parsers import Options, Server
from stages.parse.router.model import load
from stages.parse.router.route import weights
from stages.parse.train.fit import label
from stages.parse.train.own import pictured
from stages.parse.train.readings import Readings
from tests.loopback import Reply, servers
from tests.stages.parse.conftest import WORDS, run_parse, scan, source, typeset
from workflows.train_router import train_router


def options(folder: Path, **fields: Any) -> Namespace:
    """The command's flags, for a few pages."""
    given = {
        "pages": 5,
        "data": None,
        "parsers": None,
        "served_url": "",
        "served_model": "",
        "folder": folder,
        "papers": None,
        "per_paper": 2,
    }
    return Namespace(**(given | {"out": folder / "weights.json"} | fields))


def test_a_served_model_is_learned_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained on what a served model makes of pages, the router knows it by name, and sends it the pages worth its time."""
    asked: Counter[str] = Counter()

    def answer(body: dict[str, Any]) -> Reply:
        asked[body["model"]] += 1
        return 200, {"choices": [{"message": {"content": WORDS}, "finish_reason": "stop"}]}

    with servers() as start:
        server = {"served_url": f"http://127.0.0.1:{start(answer)}/v1", "served_model": "org/vision"}
        assert train_router(options(tmp_path, parsers=["layout", "served"], **server), Console(quiet=True)) == 0
        model = load(tmp_path / "weights.json")
        assert list(model.parsers) == ["layout", "served:org/vision"]
        assert (tmp_path / "weights.png").is_file()
        assert asked["org/vision"] == 5
        again = {"weights": str(tmp_path / "weights.json"), "parsers": ["layout", "served"], "price": 0.0}
        for name in ("one", "two"):
            (tmp_path / f"{name}.pdf").write_bytes(scan(typeset(f"{name} {WORDS}")))
        (tmp_path / "good.pdf").write_bytes(typeset(WORDS))
        rows = [source(tmp_path / f"{n}.pdf") for n in ("one", "good", "two")]
        monkeypatch.setenv("BOREALIS_WORKERS", "1")
        found = run_parse(tmp_path, rows, **again, **server)
        routes = {r["doc_id"]: r["parser"] for r in pq.read_table(found.folder / "routes").to_pylist()}
        assert [routes[r.source_id] for r in rows] == ["served:org/vision", "pypdfium2", "served:org/vision"]
        assert found.by_name["two.pdf"]["text"] == WORDS.strip()
        assert asked["org/vision"] == 7
    other = Parse.parse(again | server | {"served_model": "org/other"})
    with pytest.raises(SettingsError, match="has not learned served:org/other, it knows layout, served:org/vision"):
        weights(other)


def test_readings_are_kept_where_they_are_dear(tmp_path: Path) -> None:
    """A service is asked once for a page and prompt; a reading that failed is an error and is not kept."""
    replies: list[Reply] = [(400, {}), (200, {"choices": [{"message": {"content": "Read."}}]})]
    (tmp_path / "a.pdf").write_bytes(typeset(WORDS))
    with servers() as start:
        server = Server(f"http://127.0.0.1:{start(lambda _: replies.pop(0))}", "m", "p", 20, 100)
        readings = Readings(tmp_path / "kept", Options(server=server))
        with pytest.raises(RuntimeError, match=r"a.pdf, page 1: served:m gives none: HTTP 400"):
            readings.read(tmp_path / "a.pdf", 0, "served:m")
        for _ in range(2):
            assert readings.read(tmp_path / "a.pdf", 0, "served:m").page.text == "Read."
        assert readings.read(tmp_path / "a.pdf", 0, "layout").page.parser == "layout"
    assert len(list((tmp_path / "kept").iterdir())) == 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"served_url": "http://h"}, "served_model"),
        ({"parsers": ["nougat"]}, "no such parser"),
        ({"pages": 0}, "--pages 0: expected 1 or more"),
        ({"per_paper": -1}, "--per-paper -1: expected 1 or more"),
        ({"data": Path("nowhere")}, "--data nowhere: expected a folder with a manifest.csv"),
        ({"papers": Path("nowhere")}, "--papers nowhere: expected a folder of PDFs, found nothing"),
        ({"out": Path("nowhere/weights.json")}, "--out nowhere/weights.json: there is no folder nowhere"),
    ],
)
def test_what_cannot_be_learned(tmp_path: Path, wrong: dict[str, Any], words: str) -> None:
    """What cannot be used is named before anything is read."""
    with pytest.raises(SettingsError, match=words):
        train_router(options(tmp_path, **wrong), Console(quiet=True))
    assert not list(tmp_path.iterdir())


def test_pages_of_papers_are_their_own_truth(tmp_path: Path) -> None:
    """Good pages of PDFs are drawn and pictured, the same ones each time; scans, locked and broken files give none."""
    papers = tmp_path / "papers"
    (papers / "deep").mkdir(parents=True)
    body = " #pagebreak() ".join(f"Number {n}. {WORDS} {WORDS}" for n in range(8))
    (papers / "deep" / "good.pdf").write_bytes(typeset(body))
    (papers / "scan.pdf").write_bytes(scan(typeset(WORDS)))
    (papers / "short.pdf").write_bytes(typeset("A few words."))
    (papers / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    found = list(pictured(papers, tmp_path / "own", 5))
    assert len({known.path for known in found}) == 5
    assert len({known.group for known in found}) == 1
    assert {known.kind for known in found} <= {"clean", "scan", "layered"}
    for known in found:
        assert sum(word in known.truth for word in WORDS.split()) > 60
        layer = label(known, {})
        assert layer.page.features
        assert layer.layer == {"clean": pytest.approx(1, abs=0.02), "scan": 0}.get(known.kind, layer.layer)
    before = {known.path: known.path.read_bytes() for known in found}
    assert list(pictured(papers, tmp_path / "own", 5)) == found
    again = list(pictured(papers, tmp_path / "again", 5))
    assert [known.path.read_bytes() for known in again] == list(before.values())
    assert [known.truth for known in again] == [known.truth for known in found]


def test_papers_without_texts_are_learned_from(tmp_path: Path) -> None:
    """With `--papers` the weights are of the generated pages and of the papers' own, and say how many that were."""
    papers = tmp_path / "papers"
    papers.mkdir()
    (papers / "good.pdf").write_bytes(typeset(f"{WORDS} {WORDS} #pagebreak() {WORDS} {WORDS}"))
    assert train_router(options(tmp_path, parsers=["layout"], papers=papers), Console(quiet=True)) == 0
    assert load(tmp_path / "weights.json").facts["pages"] == 5 + 20 + 2
