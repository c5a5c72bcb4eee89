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
from stages.parse.train.readings import Readings
from tests.loopback import Reply, servers
from tests.stages.parse.conftest import WORDS, run_parse, scan, source, typeset
from workflows.train_router import train_router


def options(folder: Path, **fields: Any) -> Namespace:
    """The command's flags, for a few pages."""
    given = {"pages": 5, "data": None, "parsers": None, "served_url": "", "served_model": "", "folder": folder}
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


def test_what_cannot_be_learned(tmp_path: Path) -> None:
    """A server without a model's name, and a parser that there is not, are errors before anything is read."""
    for wrong, words in ({"served_url": "http://h"}, "served_model"), ({"parsers": ["nougat"]}, "no such parser"):
        with pytest.raises(SettingsError, match=words):
            train_router(options(tmp_path, **wrong), Console(quiet=True))
