"""Parts of a budget: they add up, one price makes them, and shards that are unlike gain nearly what one campaign gains."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.corpus import Allotment, SourceFile
from schemas.table import ContractError
from stages.parse import Parse
from stages.parse.router.allotment import Drawn, Price, apportioned, clearing_price, divide, expected_costs, part
from stages.parse.router.pilot import sample
from stages.parse.router.price import Campaign, Document, Step
from stages.tables import Reader
from tests.stages.parse.conftest import WORDS, scan, source, typeset
from tests.stages.parse.test_price import corpus, spend, worth
from tests.tables import write_table

POOR, FREE = Document((), 5), Price(0, 0)


def buys(*seconds: float, rate: float = 0.2) -> Document:
    """A document with a page for each of the seconds, all at one rate but for a hair."""
    return Document(tuple(Step(rate + n * 1e-6, s, n, 0) for n, s in enumerate(seconds)), len(seconds))


def drawn(documents: list[Document], count: int | None = None) -> Drawn:
    """A shard with these documents, so many of which were looked at."""
    numbers = sample(range(len(documents)), count)
    return Drawn(range(len(documents)), numbers, [documents[n] for n in numbers])


def allot(shards: list[list[Document]], whole: float, count: int | None) -> list[float]:
    """The parts of a budget for shards of synthetic documents."""
    seen = [drawn(s, count) for s in shards]
    return apportioned(whole, expected_costs(seen, clearing_price(seen, whole)))


def gained(shards: list[list[Document]], parts: list[float]) -> tuple[float, float]:
    """Gain and seconds of a campaign a shard."""
    found = [worth(s, spend(s, Campaign(len(s), total=p), ahead=64)) for s, p in zip(shards, parts, strict=True) if s]
    return sum(g for g, _ in found), sum(s for _, s in found)


@settings(max_examples=100)
@given(
    st.floats(0, 1e7),
    st.lists(st.floats(0, 1e6), min_size=1, max_size=64).filter(lambda w: sum(w) > 1e-3),
)
def test_parts_add_up(whole: float, weights: list[float]) -> None:
    """Parts in thousandths add up to the budget in thousandths, whatever the weights, and each is its share of it."""
    parts = apportioned(whole, np.array(weights))
    assert sum(round(p * 1000) for p in parts) == round(whole * 1000)
    assert all(p >= 0 for p in parts)
    for found, weight in zip(parts, weights, strict=True):
        assert found == pytest.approx(whole * weight / math.fsum(weights), rel=1e-6, abs=0.0021)


def test_parts_by_hand() -> None:
    """Of two shards seen whole, the one that has the better rates gets what these cost, and the rest of the budget follows."""
    dear, cheap = [buys(2.0, rate=0.1), buys(2.0, rate=0.1)], [buys(3.0, rate=0.9), POOR]
    seen = [drawn(dear), drawn(cheap)]
    assert clearing_price(seen, 3.0) == pytest.approx((0.1, 0))
    assert clearing_price(seen, 2.4) == pytest.approx((0.9, 0.8))
    assert clearing_price(seen, 100.0) == (0, 0)
    assert allot([dear, cheap], 2.4, None) == [0, 2.4]
    assert allot([dear, cheap], 5.0, None) == [2, 3]
    assert allot([dear, cheap], 3.0, None) == [0, 3]
    assert allot([dear, cheap], 14.0, None) == [8, 6]
    assert allot([[POOR] * 3, [POOR]], 4.0, None) == [3, 1]
    assert allot([[], []], 4.0, None) == [2, 2]
    assert allot([[], [POOR]], 4.0, None) == [0, 4]


def test_the_least_that_a_shard_gets() -> None:
    """Where nothing drawn gains, each document that was not drawn counts as one of all shards, over those drawn and one."""
    shards = [[POOR] * 100, [buys(1.0)] * 100]
    seen = [drawn(s, 9) for s in shards]
    costs = expected_costs(seen, FREE)
    assert costs.tolist() == pytest.approx([91 * 0.5 / 10, 9 + 91 * 9.5 / 10])
    assert expected_costs([drawn(s) for s in shards], FREE).tolist() == [0, 100]


@pytest.mark.parametrize("share", [0.1, 0.4])
@pytest.mark.parametrize("num_shards", [2, 6])
def test_unlike_shards_gain_nearly_what_one_campaign_gains(num_shards: int, share: float) -> None:
    """Every other shard without a page that gains: a sample's parts keep the budget, and gain far more than equal ones do."""
    shards = [corpus(300, seed=n) if n % 2 else [POOR] * 300 for n in range(num_shards)]
    whole = share * sum(s.seconds for shard in shards for d in shard for s in d.steps)
    together = [d for shard in shards for d in shard]
    best, _ = worth(together, spend(together, Campaign(len(together), total=whole), ahead=64))
    gain, seconds = gained(shards, allot(shards, whole, 128))
    equal, _ = gained(shards, [whole / num_shards] * num_shards)
    assert 0.98 * whole <= seconds <= whole * (1 + 1e-9)
    assert gain > 0.97 * best
    assert gain > 1.1 * equal


def test_shards_that_are_alike_lose_little() -> None:
    """Shards with the same kind of documents gain by a sample's parts nearly what they gain by equal ones."""
    shards = [corpus(300, seed=n) for n in range(4)]
    whole = 0.2 * sum(s.seconds for shard in shards for d in shard for s in d.steps)
    gain, seconds = gained(shards, allot(shards, whole, 128))
    assert seconds >= 0.98 * whole
    assert gain > 0.97 * gained(shards, [whole / 4] * 4)[0]


@pytest.fixture(autouse=True)
def _one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little is read here: a second process would only have to start."""
    monkeypatch.setenv("BOREALIS_WORKERS", "1")


@pytest.fixture(scope="module")
def unlike(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """Four good papers, then a text, then three scans: of two shards, the first has no page that gains."""
    folder = tmp_path_factory.mktemp("unlike")
    rows = []
    for number in range(7):
        data = typeset(f"Paper {number}. {WORDS}" + "#pagebreak() Its last page." * (number == 0))
        (folder / f"{number}.pdf").write_bytes(scan(data) if number > 3 else data)
        rows.append(source(folder / f"{number}.pdf"))
    (folder / "a.txt").write_text(WORDS)
    rows.insert(4, source(folder / "a.txt", "text/plain"))
    return Reader(write_table(folder / "in", SourceFile, rows, name="sources"), SourceFile)


@pytest.mark.parametrize(("budget", "whole"), [("0.5 s", 4.0), ("0.002 h", 7.2), ("25 %", 2.0)])
def test_a_budget_of_every_kind_is_divided(unlike: Reader, budget: str, whole: float) -> None:
    """Seconds count all sources, hours stand for themselves, a share is of all pages; the shard without gain gets little."""
    rows = divide(Parse(budget=budget, parsers=("rapidocr",)), unlike, 2, 2)
    assert sum(r.part for r in rows) == pytest.approx(whole, abs=1e-9)
    assert [(r.num_documents, r.num_drawn) for r in rows] == [(4, 2), (3, 2)]
    assert rows[0].cost == 0 < rows[1].cost
    assert 0 < rows[0].part < 0.2 * rows[1].part


def test_workers_change_nothing(unlike: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker and two give the same parts; where all were drawn, a shard without gain has none of the pages."""
    stage = Parse(budget="25 %", parsers=("rapidocr",))
    one = divide(stage, unlike, 2)
    monkeypatch.setenv("BOREALIS_WORKERS", "2")
    assert divide(stage, unlike, 2) == one
    assert [(r.part, r.num_drawn, r.num_pages) for r in one] == [(0, 4, 5), (2, 3, 3)]


def test_another_division_is_refused(tmp_path: Path, unlike: Reader) -> None:
    """An allotment for other shards, or of another budget, is refused with both and the cure; without need, none is read."""
    stage = Parse(budget="0.5 s")
    rows = [
        Allotment(
            shard=n, num_shards=2, budget="1 h", num_documents=1, num_drawn=1, num_pages=1, cost=0, price=0, part=1.5
        )
        for n in range(2)
    ]
    table = Reader(write_table(tmp_path / "allot", Allotment, rows, name="allotment"), Allotment)
    with pytest.raises(ContractError) as error:
        part(stage, unlike, (0, 3), table)
    words = str(error.value)
    assert "shards: expected 3, found 2" in words
    assert "parse.budget: expected 0.5 s, found 1 h" in words
    assert "num_shards 3" in words
    assert part(Parse(budget="1 h"), unlike, (1, 2), table) == 1.5
    assert part(Parse(price=0.1), unlike, (0, 3), table) is None
    assert part(stage, unlike, (0, 1), None) is None
