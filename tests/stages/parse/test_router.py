"""Routing: rules, expectations, a run with a budget, and training."""

import json
import random
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from schemas.corpus import Route
from stages.parse import Parse, pdf
from stages.parse.features import Features
from stages.parse.lines import Page
from stages.parse.router.model import WEIGHTS, Model, load
from stages.parse.router.price import AHEAD
from stages.parse.router.route import Router, campaign
from stages.parse.train import typeset, wear
from stages.parse.train.fit import Labelled, train
from stages.parse.train.pages import Known, generated
from stages.parse.train.typeset import FAMILIES, held_out
from tests.stages.parse.conftest import WORDS, scan, source
from tests.stages.parse.conftest import typeset as set_page

ENGINES = ("rapidocr", "tesseract")
PATIENT = {"page_seconds": 1200, "document_seconds": 2400}  # a busy machine changes no byte


def routing(budget: str, num_documents: int) -> Router:
    """A router with the weights of the repository."""
    return Router(load(), ENGINES, campaign(budget, None, num_documents))


def first_page(tmp_path: Path, data: bytes) -> Page:
    """The first page as the free pass has it."""
    file = tmp_path / "a.pdf"
    file.write_bytes(data)
    document = pdf.open_pdf(str(file))
    return pdf.read_page(document, 0)


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Page]:
    """A page that is good, one that is a picture, one that is garbled, one that is empty."""
    folder, good = tmp_path_factory.mktemp("kinds"), set_page(WORDS * 3)
    pages = {"good": good, "scan": scan(good), "garbled": wear._with_maps(good, wear._private, only_one=False)}
    return {name: first_page(folder, data) for name, data in pages.items()} | {
        "empty": first_page(folder, set_page("#pagebreak()"))
    }


def test_the_weights_are_small_and_for_these_features() -> None:
    """The weights in the repository are under a megabyte, know all parsers that need no server, and were calibrated."""
    assert WEIGHTS.stat().st_size < 1 << 20
    model = load()
    assert set(model.parsers) == {*ENGINES, "layout"}
    for points in model.facts["calibration"].values():
        error = sum(abs(p - t) * n for p, t, n in points) / sum(n for *_, n in points)
        assert error < 0.15


def test_expectations(kinds: dict[str, Page]) -> None:
    """A scan and a garbled page gain much, a good page nothing, an empty one never; seconds are seconds."""
    expected = load().expect(list(kinds.values()), ENGINES)
    gains = dict(zip(kinds, expected.gains.max(axis=1), strict=True))
    assert gains["scan"] > 0.4
    assert gains["garbled"] > 0.4
    assert gains["good"] <= 0
    assert gains["empty"] == -1
    assert ((expected.seconds > 0.04) & (expected.seconds < 30)).all()


def test_strange_pages(kinds: dict[str, Page]) -> None:
    """A page with a feature far outside of the training is strange, and the run's summary warns of many such."""
    odd = Page(1, 400, 600, kinds["good"].lines, features=tuple(Features(*kinds["good"].features)._replace(bits=30.0)))
    assert load().expect([kinds["good"], odd], ENGINES).strange.tolist() == [False, True]
    router = routing("1 s", 1)
    router.see("a" * 64, [odd, odd])
    router.decide()
    assert "WARNING: 100% of the pages" in router.summary()


def test_reasons(kinds: dict[str, Page]) -> None:
    """Every page has a row that says why; with no seconds, none is read again and the price is to blame."""
    pages = [
        Page(i, p.width, p.height, p.lines, verdict=p.verdict, features=p.features)
        for i, p in enumerate(kinds.values(), 1)
    ]
    rows = {}
    for budget in ("100 s", "0 s"):
        router = routing(budget, 1)
        router.see("a" * 64, pages)
        rows[budget] = [c.route for c in router.decide()]
    assert [r.reason for r in rows["100 s"]] == ["no gain", "no text", "garbled", "empty"]
    assert [r.reason for r in rows["0 s"]] == ["no gain", "no text, price", "garbled, price", "empty"]
    assert {r.parser for r in rows["0 s"]} == {"pypdfium2"}
    assert rows["100 s"][1].parser in ENGINES
    assert Route.table(rows["100 s"]).num_rows == len(kinds)


def test_documents_are_decided_in_order(kinds: dict[str, Page]) -> None:
    """A document waits until enough others were read, or all; documents without pages pass."""
    router = routing("1 s", AHEAD + 2)
    for _ in range(AHEAD):
        router.see("a" * 64, [kinds["scan"]])
    assert not router.can_decide
    router.see("a" * 64, [])
    assert router.can_decide
    assert len(router.decide()) == 1
    assert not router.can_decide
    router.see("a" * 64, [])
    left = 0
    while router.can_decide:
        router.decide()
        left += 1
    assert left == AHEAD + 1


def test_budgets() -> None:
    """Seconds a document, a share of the pages, hours in all, or the part of them that a shard has."""
    assert campaign("0.5 s", None, 10).budget == 5
    assert campaign("2h", None, 10).budget == 7200
    assert campaign("10 %", None, 10).page_share == 0.1
    assert (campaign("2h", None, 10, 1800.5).budget, campaign("10 %", None, 10, 12.0).budget) == (1800.5, 12)
    assert [campaign(b, None, 10, 1.0).by_page for b in ("2h", "10 %", "1 s")] == [False, True, False]
    for wrong in ("10", "5 m", "-1 s", "10 % s"):
        with pytest.raises(ValueError, match="budget"):
            Parse(budget=wrong)


def test_a_run_with_a_budget(tmp_path: Path, parse, monkeypatch: pytest.MonkeyPatch) -> None:
    """With pages for one of two scans, one is read and the other named in `routes`, for one worker or two; with none, neither is."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.pdf").write_bytes(scan(set_page(f"Scan {name}. " + WORDS[:120])))
    (tmp_path / "good.pdf").write_bytes(set_page(WORDS))
    (tmp_path / "note.txt").write_text(WORDS)
    rows = [source(tmp_path / f"{n}.pdf") for n in ("a", "good", "b")] + [source(tmp_path / "note.txt", "text/plain")]
    half = parse(rows, "half", parsers="rapidocr", budget="34 %", **PATIENT)
    routes = pq.read_table(half.folder / "routes").to_pylist()
    assert sorted(r["parser"] for r in routes) == ["pypdfium2", "pypdfium2", "rapidocr"]
    assert sorted(r["reason"] for r in routes) == ["no gain", "no text", "no text, price"]
    assert len(half.documents) == 3
    assert list(half.reasons.values()) == ["no text"]
    monkeypatch.setenv("BOREALIS_WORKERS", "1")
    again = parse(rows, "again", parsers="rapidocr", budget="34 %", **PATIENT)
    for table in ("documents", "dropped", "routes"):
        assert pq.read_table(again.folder / table).equals(pq.read_table(half.folder / table))
    assert len(parse(rows, "none", parsers="rapidocr", budget="0 s", **PATIENT).documents) == 2


# ---- training


def test_generated_pages_are_the_same_each_time(tmp_path: Path) -> None:
    """A page's number is a page, its truth is what a clean one's text layer says, and a longer set begins with a shorter."""
    first, again = list(generated(tmp_path / "a", 6)), list(generated(tmp_path / "b", 8))
    for one, two in zip(first, again, strict=False):
        assert one.path.read_bytes() == two.path.read_bytes()
        assert (one.truth, one.group, one.kind) == (two.truth, two.group, two.kind)
    assert len({k.group for k in again}) == len(FAMILIES)


@pytest.mark.parametrize("kind", list(wear.SHARES))
def test_wear_does_what_it_says(tmp_path: Path, kind: str) -> None:
    """Scans and photos have no text, broken maps are noticed or change letters, layers are hidden behind a picture."""
    data, _ = typeset.page("report", "wear")
    page = first_page(tmp_path, wear.wear(data, kind, random.Random(3)))
    features = Features(*page.features)
    if kind in {"scan", "photo"}:
        assert page.verdict == "no text"
        assert features.image_share > 0.99
    elif kind in {"layered", "jumbled", "glued"}:
        assert features.hidden_share == 1
    else:
        assert features.image_share < 0.9
        assert (page.text == first_page(tmp_path, data).text) == (kind == "clean")


def test_a_router_learns(tmp_path: Path) -> None:
    """Trained on pages whose layers' worth shows in a feature, it sends the bad ones only, and survives its file."""
    rng = random.Random(0)
    rows = []
    for number in range(160):
        bad = rng.random() < 0.25
        features = Features(num_chars=2000, bits=rng.uniform(4, 6) if bad else rng.uniform(2, 3), area=1.0)
        known = Known(tmp_path, 0, "", f"family {number % 8}", "")
        layer = 0.2 if bad else 0.95
        rows.append(
            Labelled(known, Page(1, 600, 800, features=tuple(features)), layer, {"rapidocr": (0.8, 4 + rng.random())})
        )
    train(rows, ["rapidocr"]).save(tmp_path / "weights.json")
    model: Model = load(tmp_path / "weights.json")
    gains = model.expect([r.page for r in rows], ["rapidocr", "unknown"]).gains[:, 0]
    true = np.array([0.8 - r.layer for r in rows])
    assert np.mean(np.abs(gains - true) < 0.1) > 0.97
    seconds = model.expect([r.page for r in rows], ["rapidocr"]).seconds
    assert seconds.mean() == pytest.approx(4.5, abs=0.2)
    broken = json.loads((tmp_path / "weights.json").read_text()) | {"features": ["other"]}
    (tmp_path / "other.json").write_text(json.dumps(broken))
    with pytest.raises(ValueError, match="train-router"):
        load(tmp_path / "other.json")


def test_a_page_without_a_layer_is_taken_to_be_full(tmp_path: Path) -> None:
    """Seconds go with characters; a scan's are those of a full page, however empty the training's scans were."""
    rng, rows = np.random.default_rng(0), []
    for number in range(120):
        chars, scanned = float(rng.uniform(500, 3000)), number % 3 == 0
        features = Features(num_chars=0 if scanned else chars, image_share=float(scanned), area=1.0)
        known = Known(tmp_path, 0, "a " * int(chars), f"family {number % 8}", "")
        page = Page(1, 600, 800, verdict="no text" if scanned else "good", features=tuple(features))
        rows.append(Labelled(known, page, 0.0 if scanned else 0.9, {"tesseract": (0.8, 0.5 + chars / 1000)}))
    pages = [Page(1, features=tuple(Features(num_chars=c, area=a))) for c, a in ((1000, 1.0), (0, 1.0), (0, 0.5))]
    few, full, half = train(rows, ["tesseract"]).expect(pages, ["tesseract"]).seconds[:, 0]
    assert few == pytest.approx(1.5, abs=0.05)
    assert full == pytest.approx(0.5 + 2.75, abs=0.15)
    assert full - half == pytest.approx(2.75 / 2, abs=0.3)


def test_held_out_families_differ_by_seed() -> None:
    """Five seeds leave out two families each, not always the same."""
    splits = {tuple(held_out(list(FAMILIES), seed)) for seed in range(5)}
    assert len(splits) > 2
    assert all(len(s) == 2 for s in splits)
