"""The quality-cost curve against sums by hand and scipy's bootstrap, and the pilot that draws it."""

import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import bootstrap

from schemas.corpus import SourceFile
from stages.base import SettingsError
from stages.parse import Parse
from stages.parse.router import pilot
from stages.parse.router.curve import Curve
from stages.parse.router.price import Campaign, Document, steps
from stages.tables import Reader
from tests.stages.parse.conftest import WORDS, scan, source, typeset
from tests.stages.parse.test_price import corpus, spend, worth
from tests.tables import write_table


def one(gains: list[float], seconds: list[float]) -> Document:
    """A document with a page for each gain, by one parser."""
    return Document(tuple(steps(np.array([gains]).T, np.array([seconds]).T)), len(gains))


HAND = [one([0.5, 0.1], [1.0, 1.0]), one([0.4, -0.2], [2.0, 1.0]), Document((), 2)]


def test_the_curve_is_what_sums_by_hand_are() -> None:
    """Seconds, pages and quality at a price, and the price of a budget, of three documents that one can add up."""
    curve = Curve(HAND, [1.0, 1.5, 2.0])
    assert curve.seconds(0.15).value == pytest.approx(1.0)  # 1 s and 2 s of three documents
    assert curve.share_of_pages(0.15).value == pytest.approx(2 / 6)
    assert curve.quality(0.15).value == pytest.approx((4.5 + 0.9) / 6)
    assert curve.quality(1.0).value == pytest.approx(4.5 / 6)
    assert curve.gain(0).value == pytest.approx(1.0 / 6)
    assert [curve.price(s) for s in (0.2, 1 / 3, 1.0, 9.0)] == pytest.approx([0.5, 0.2, 0.1, 0])
    assert curve.price_of_pages(1 / 6) == pytest.approx(0.2)
    assert curve.seconds(curve.price(1.0)).value <= 1.0


def test_a_page_that_goes_up_twice_is_one_page() -> None:
    """A page that a dear parser reads after a cheap one costs the difference, and counts once."""
    page = Document(tuple(steps(np.array([[0.3, 0.5]]), np.array([[1.0, 4.0]]))), 1)
    curve = Curve([page, page], [0.0, 0.0])
    assert (curve.seconds(0).value, curve.share_of_pages(0).value, curve.quality(0).value) == pytest.approx((4, 1, 0.5))


def test_intervals_are_those_of_another_bootstrap() -> None:
    """The interval of the seconds a document is that of scipy's percentile bootstrap, but for the luck of the draw."""
    documents = corpus(300)
    curve = Curve(documents, [0.0] * 300)
    price = curve.price(2.0)
    sums = [sum(s.seconds for s in d.steps if s.rate > price) for d in documents]
    theirs = bootstrap((sums,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1))
    ours = curve.seconds(price)
    assert ours.value == pytest.approx(np.mean(sums))
    assert (ours.low, ours.high) == pytest.approx(theirs.confidence_interval, rel=0.08)


def test_shards_spend_the_budget_together() -> None:
    """At a price of all documents, shards that are unlike spend what was set, and gain more than each at its own price."""
    poor, rich = corpus(600, seed=1), [Document((), 5)] * 600
    curve = Curve([*poor, *rich], [0.0] * 1200)
    price = curve.price(1.0)
    alike, apart = 0.0, 0.0
    seconds = 0.0
    for shard in (poor, rich):
        gain, cost = worth(shard, spend(shard, Campaign(len(shard), fixed_price=price), ahead=0))
        alike, seconds = alike + gain, seconds + cost
        apart += worth(shard, spend(shard, Campaign(len(shard), total=1.0 * len(shard))))[0]
    assert seconds == pytest.approx(1200, rel=0.02)
    assert alike > 1.1 * apart


@pytest.fixture
def sources(tmp_path: Path) -> Reader:
    """Six good papers, three scans, a text and a file that is no PDF."""
    rows = []
    for number in range(9):
        data = typeset(f"Paper {number}. {WORDS * 2}")
        (tmp_path / f"{number}.pdf").write_bytes(scan(data) if number % 3 == 0 else data)
        rows.append(source(tmp_path / f"{number}.pdf"))
    (tmp_path / "a.txt").write_text(WORDS)
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.4 no")
    rows += [source(tmp_path / "a.txt", "text/plain"), source(tmp_path / "bad.pdf")]
    return Reader(write_table(tmp_path / "in", SourceFile, rows, name="sources"), SourceFile)


def test_a_pilot_finds_the_price_of_a_budget(sources: Reader) -> None:
    """All scans are worth reading; a budget for half of them, in seconds or pages, lies between none and all; runs agree."""
    stage = Parse(budget="0.5 s", parsers=("rapidocr",))
    found = pilot.run(stage, sources, None)
    assert (found.curve.num_documents, found.num_documents, found.curve.pages[0]) == (11, 11, 9)
    assert found.curve.share_of_pages(0).value == pytest.approx(3 / 9)
    half = found.curve.seconds(0).value / 2
    price = pilot.price(Parse(budget=f"{half:.3f} s", parsers=("rapidocr",)), found)
    assert price is not None
    assert 0 < found.curve.share_of_pages(price).value < 3 / 9
    assert pilot.price(Parse(budget="12 %", parsers=("rapidocr",)), found) == pytest.approx(price, rel=0.5)
    hours = Parse(budget=f"{half * 11 / 3600:.6f} h", parsers=("rapidocr",))
    assert pilot.price(hours, found) == price
    again = pilot.run(stage, sources, None)
    assert list(pilot.lines(stage, again)) == list(pilot.lines(stage, found))


def test_a_pilot_says_where_the_budget_lies(sources: Reader) -> None:
    """A line for each step of seconds with intervals, the set budget marked, and the price for all shards."""
    stage = Parse(budget="0.5 s", parsers=("rapidocr",))
    said = list(pilot.lines(stage, pilot.run(stage, sources, 8)))
    assert said[0].startswith("8 of 11 documents, ")
    assert sum(line.endswith("<- set") for line in said) == 1
    price = re.search(r"--set parse\.price=([\d.e-]+) in place", "\n".join(said))
    assert price is not None
    assert Parse(price=float(price[1])).is_routed
    qualities = [float(line.split()[-2]) for line in said[2:-1] if line.endswith(")")]
    assert qualities == sorted(qualities)


def test_a_pilot_of_nothing(tmp_path: Path) -> None:
    """Without a PDF among the sources there is nothing to draw, and that is said."""
    (tmp_path / "a.txt").write_text(WORDS)
    rows = [source(tmp_path / "a.txt", "text/plain")]
    reader = Reader(write_table(tmp_path / "in", SourceFile, rows, name="sources"), SourceFile)
    with pytest.raises(SettingsError, match="no page of a PDF"):
        pilot.run(Parse(budget="1 s", parsers=("rapidocr",)), reader, None)


def test_the_command(tmp_path: Path, sources: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """`parsl pilot` needs finished sources, a number of documents, and prints the curve."""
    from argparse import Namespace

    from stages.ingest import Ingest
    from workflows.base import Node, Port
    from workflows.pilot import pilot as command

    ingest = Node("ingest", Ingest(), {}, 1, "f", sources.base)
    node = Node("parse", Parse(parsers=("rapidocr",)), {"sources": Port(ingest, "sources")}, 1, "g", tmp_path / "out")
    console = Console(width=200, record=True, quiet=True)
    monkeypatch.setattr(Node, "done", True)
    assert command(Namespace(documents="all"), [ingest, node], console) == 0
    with pytest.raises(SettingsError, match="--documents: expected a number"):
        command(Namespace(documents="few"), [ingest, node], console)
    with pytest.raises(SettingsError, match="no parse"):
        command(Namespace(documents="all"), [ingest], console)
    monkeypatch.setattr(Node, "done", False)
    with pytest.raises(SettingsError, match="pilot needs ingest, which is not done"):
        command(Namespace(documents="all"), [ingest, node], console)
