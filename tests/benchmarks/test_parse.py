"""The benchmark of routing and parsing: policies, shares and scores by hand, hostile files that are what they are called."""

import io
import itertools
import math
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pikepdf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import parse, parse_hostile, parse_runs, parse_tables, parse_text
from benchmarks.parse_policies import Field, adaparse, by_rate, chance, flagged, mean, rules_only
from benchmarks.table import Options
from schemas.corpus import Document
from stages.parse.features import Features
from stages.parse.lines import Page
from stages.parse.router.model import load
from stages.parse.train import typeset
from stages.parse.train.fit import Labelled
from stages.parse.train.pages import Known
from tests.tables import write_table


def row(layer: float, verdict: str = "good", kind: str = "born-digital", **read: tuple[float, float]) -> Labelled:
    """A page by its layer's quality, and each parser's quality and seconds."""
    page = Page(1, 400, 600, verdict=verdict, features=tuple(Features(num_chars=500, bits=2.5, area=0.5)))  # type: ignore[arg-type]
    return Labelled(Known(Path("a.pdf"), 0, "", "g", kind), page, layer, read)


def field(layer: list[float], quality: list[list[float]], seconds: list[list[float]]) -> Field:
    """Pages and parsers by their numbers."""
    names = tuple(f"p{i}" for i in range(len(quality[0])))
    rows = [
        row(v, **dict(zip(names, zip(q, s, strict=True), strict=True)))
        for v, q, s in zip(layer, quality, seconds, strict=True)
    ]
    return Field.of(rows, names)


HAND = field([0.5, 0.9, 0.0], [[0.6, 0.9], [0.8, 0.9], [0.4, 0.8]], [[1, 4], [1, 4], [1, 2]])


# ---- policies


def test_a_field_is_of_pages_that_all_have_read() -> None:
    """Pages that a parser did not read are left out; gains are over the layer; the best parser is so on average."""
    found = Field.of([*HAND.rows, row(0.1, p0=(1.0, 1.0))], ("p0", "p1"))
    assert len(found.rows) == 3
    np.testing.assert_allclose(found.gains, [[0.1, 0.4], [-0.1, 0.0], [0.4, 0.8]])
    assert found.best_parser == 1
    assert found.seconds.tolist() == [[1, 4], [1, 4], [1, 2]]


def test_moves_are_made_as_long_as_seconds_last() -> None:
    """A move that does not fit is passed over for the next; a page's second parser costs what it takes more; pages are limited."""
    moves = [(2, 0), (0, 1), (2, 1), (0, 0)]
    before = (0.5 + 0.9 + 0.0) / 3
    assert HAND.followed([], 100) == pytest.approx(before)
    assert HAND.followed(moves, 0.5) == pytest.approx(before)
    assert HAND.followed(moves, 1) == pytest.approx(before + 0.4 / 3)
    assert HAND.followed(moves, 2) == pytest.approx(before + 0.8 / 3)  # (0, 1) is too dear, (2, 1) takes a second more
    assert HAND.followed(moves, 100, max_pages=1) == pytest.approx(before + 0.8 / 3)
    assert HAND.followed(moves[:3], 6) == pytest.approx(before + (0.4 + 0.8) / 3)


numbers = st.integers(0, 20).map(lambda n: n / 20)
pages = st.lists(st.tuples(numbers, numbers, numbers, st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5)


@given(pages, st.integers(0, 40))
@settings(deadline=None)
def test_no_policy_beats_all_choices(found: list[tuple[float, float, float, int, int]], budget: int) -> None:
    """The oracle's order is within one page of the best of all ways to spend the seconds, and none is above that."""
    one = field([f[0] for f in found], [[f[1], f[2]] for f in found], [[f[3], f[4]] for f in found])
    best = 0.0
    for choice in itertools.product((None, 0, 1), repeat=len(found)):
        spent = sum(one.seconds[i, p] for i, p in enumerate(choice) if p is not None)
        if spent <= budget:
            best = max(
                best, float(np.mean([one.layer[i] if p is None else one.quality[i, p] for i, p in enumerate(choice)]))
            )
    reached = one.followed(by_rate(one.gains, one.seconds), budget)
    assert best - 1 / len(found) - 1e-9 <= reached <= best + 1e-9
    assert reached >= one.layer.mean() - 1e-9
    for orders in (chance(one, 0, 3), chance(one, 1, 4)):
        assert one.followed(orders, budget) <= best + 1e-9


def test_rates_fall_and_a_page_goes_up() -> None:
    """Moves are in the order of gain a second; a page's better parser comes after its cheaper one; what gains nothing is no move."""
    gains = np.array([[0.4, 0.9], [0.0, -0.2], [0.9, 0.3]])
    seconds = np.array([[1.0, 4.0], [1.0, 1.0], [1.0, 0.5]])
    assert by_rate(gains, seconds) == [(2, 0), (0, 0), (0, 1)]


def test_chance_takes_every_page_once() -> None:
    """All pages by one parser, another order by another seed; a rule keeps the order of those that it flags."""
    moves = chance(HAND, 1, seed=1)
    assert sorted(moves) == [(0, 1), (1, 1), (2, 1)]
    assert len({tuple(chance(HAND, 1, seed)) for seed in range(20)}) > 3
    assert flagged(HAND, [True, False, True], 1, 1) == [m for m in moves if m[0] != 1]
    assert rules_only(Field.of([row(0, "no text"), row(1), row(0, "garbled")], ())) == [True, False, True]
    assert mean(3, float) == 1


def test_the_share_rule_takes_the_same_share_of_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches take turns, the best page of each first; pages that are expected to lose are no candidates."""
    gains = np.array([0.1, 0.5, -0.2, 0.3, 0.2, 0.9])
    monkeypatch.setattr("benchmarks.parse_policies.expected_gain", lambda *_: gains)
    six = Field.of([row(0.5, rapidocr=(0.6, 1.0)) for _ in range(6)], ("rapidocr",))
    found = adaparse(six, load(), 0, by_gain=True, batch=3)
    assert found == [(1, 0), (5, 0), (0, 0), (3, 0), (4, 0)]
    assert adaparse(six, load(), 0, by_gain=True, batch=6) == [(i, 0) for i in (5, 1, 3, 4, 0)]


# ---- figures


def expecting(gains: Any, strange: Any = None) -> Any:
    """A model that expects this of pages."""
    gains = np.asarray(gains, float)
    odd = np.zeros(len(gains), bool) if strange is None else np.asarray(strange)
    return SimpleNamespace(expect=lambda *_: SimpleNamespace(gains=gains, seconds=np.ones_like(gains), strange=odd))


def test_the_share_of_the_oracle() -> None:
    """With a tenth of the pages the oracle takes the largest gain; a router that takes another has its part of it."""
    many = field([0.5] * 10, [[0.5 + 0.04 * i] for i in range(10)], [[1]] * 10)
    right, wrong = ([[float(i == k)] for i in range(10)] for k in (9, 3))
    assert parse.share("w", many, expecting(right)).ratio == pytest.approx(1)
    found = parse.share("w", many, expecting(wrong))
    assert (found.ours, found.theirs, found.ratio) == pytest.approx((0.012, 0.036, 1 / 3))
    assert parse.share("w", many, expecting([[-1.0]] * 10)).ratio == 0


def test_seconds_until_a_quality() -> None:
    """The first moves that reach the goal, each page at the cost of the parser that it has last; never is infinite."""
    moves = [(2, 0), (2, 1), (0, 1)]
    assert parse._fewest(HAND, moves, 0.0) == 0
    assert parse._fewest(HAND, moves, 2.2 / 3 - 1e-9) == 2
    assert parse._fewest(HAND, moves, 2.6 / 3 - 1e-9) == 6
    assert parse._fewest(HAND, moves, 0.99) == math.inf


def test_throughput_at_the_quality_of_the_best_parser() -> None:
    """All pages by the best parser against the router's and the oracle's seconds for that; who never reaches it reads all."""
    goal, total = float(HAND.quality[:, 1].mean()), 10.0
    ours, bound = parse._throughput("w", HAND, by_rate(HAND.gains, HAND.seconds), 1)
    free = 3 * parse.FREE_SECONDS
    assert (ours.ours, ours.theirs) == pytest.approx((free + 6, total))
    assert bound.ratio == pytest.approx(1)
    assert bound.peer == "the oracle (67% of the pages gain by OCR)"
    never, part = parse._throughput("w", HAND, [(1, 0)], 1)
    assert never.ours == pytest.approx(free + total)
    assert part.ratio == pytest.approx((free + 6) / (free + total))
    assert HAND.followed(by_rate(HAND.gains, HAND.seconds), 6) >= goal - 1e-12


def test_pages_that_are_read_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scans that are sent, and good pages whose layer no parser is better than, as shares of such pages."""
    rows = [
        row(0.0, kind="scan-clean", p=(0.9, 1.0)), row(0.0, kind="scan-noisy", p=(0.9, 1.0)),
        row(0.9, p=(0.8, 1.0)), row(0.9, p=(0.9, 1.0)), row(0.9, p=(0.95, 1.0)), row(0.2, p=(0.1, 1.0)),
    ]  # fmt: skip
    sent = [1, -1, 1, -1, 1, 1]
    monkeypatch.setattr(parse, "parsers", lambda: ("p",))
    monkeypatch.setattr(parse, "load", lambda: expecting([[v] for v in sent], [True] + [False] * 5))
    scans, needless, strange = parse.routed(rows)
    assert (scans.ours, needless.ours, strange.ours) == pytest.approx((0.5, 0.5, 1 / 6))
    assert all(math.isfinite(r.ratio) for r in (scans, needless, strange))


def test_a_budget_is_spent_whatever_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearly all of a budget is spent and never more, however few documents come at a time; the rule's share is by hand."""
    rows = [row(0.5, p=(0.6, 1.0))] * 40
    draw = np.random.default_rng(0)
    gains, seconds = draw.uniform(-0.2, 0.8, (40, 1)), draw.uniform(0.5, 2, (40, 1))
    monkeypatch.setattr(parse, "parsers", lambda: ("p",))
    model = SimpleNamespace(expect=lambda *_: SimpleNamespace(gains=gains, seconds=seconds))
    monkeypatch.setattr(parse, "load", lambda: model)
    found = list(parse.kept(rows))
    assert all(0.9 < r.ours <= 1 + 1e-9 for r in found)
    assert [r.theirs for r in found] == pytest.approx([0, 1 / 1.6, 6 / 6.4, 25 / 25.6, 102 / 102.4])
    assert all(math.isfinite(r.ratio) for r in found)


def test_every_policy_is_compared_at_every_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row for each budget and rival, with finite numbers; an oracle is not beaten."""
    draw = np.random.default_rng(1)
    names = ("rapidocr", "layout")
    rows = [
        row(float(draw.random()), **{n: (float(draw.random()), float(draw.uniform(0.5, 2))) for n in names})
        for _ in range(30)
    ]
    monkeypatch.setattr(parse, "liteparse_flags", lambda _: None)
    one = Field.of(rows, names)
    found = list(parse.compare("w", one, load()))
    assert Counter(r.unit for r in found) == {"quality": len(parse.BUDGETS) * 7 + 1, "s": 1, "x": 1}
    assert all(math.isfinite(v) for r in found for v in (r.ours, r.theirs, r.ratio))
    for budget in parse.BUDGETS:
        top = one.followed(by_rate(one.gains, one.seconds), budget * float(one.seconds[:, one.best_parser].sum()))
        mine = [r.ours for r in found if r.what == f"w: quality at {budget:.0%} of the seconds"]
        assert max(mine) <= top + 1 / len(rows)


def test_a_peer_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each says what to install; the tables' benchmark then shows ours beside nothing."""
    monkeypatch.setitem(__import__("sys").modules, "liteparse", None)
    assert parse.liteparse_flags(HAND) is None
    assert parse_tables.liteparse() is None
    monkeypatch.setattr(parse_text.importlib.util, "find_spec", lambda _: None)
    assert list(parse_text.peers()) == ["bare pypdfium2"]
    assert capsys.readouterr().err.count("is not compared: pip install --no-deps") == 4


# ---- tables and headings

TRUTH = "# On Heat\n\n## 2 Methods\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"


def test_headings_found_and_right() -> None:
    """Recall is of the truth's headings, precision of those found, by their letters; nothing found is no heading right."""
    text = "## On **Heat**\n\nMethods\n\n# Results\n"
    assert parse_tables.headings(text) == ["onheat", "results"]
    assert parse_tables.heading_recall(TRUTH, text) == [1, 0]
    assert parse_tables.heading_precision(TRUTH, text) == [1, 0]
    assert parse_tables.heading_precision(TRUTH, "no heading") == []
    assert parse_tables.mean(parse_tables.heading_recall, [TRUTH, TRUTH], [text, TRUTH]) == 0.75
    assert parse_tables.mean(parse_tables.heading_precision, [TRUTH], [""]) == 0


def test_tables_have_the_score_of_the_most_alike() -> None:
    """Each table of the truth by itself; one that nobody found has 0; more than so many cells are left out on both sides."""
    other = "| x | y | z |\n|---|---|---|\n| 7 | 8 | 9 |\n"
    assert parse_tables.table_scores(TRUTH, other + "\n\n" + TRUTH) == [1]
    assert parse_tables.table_scores(TRUTH + "\n\n" + other, TRUTH)[0] == 1
    assert parse_tables.table_scores(TRUTH, "no table") == [0]
    huge = "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 300
    assert parse_tables.table_scores(huge, huge) == []
    assert parse_tables.num_cells([["a", "b"], ["c"]]) == 3


def test_without_papers_the_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No row, and words that say where nothing was found."""
    (tmp_path / "manifest.csv").write_text("file,gold,kind\na.pdf,a.gold.txt,born-digital\n")
    assert list(parse_tables.run(Options(True, tmp_path))) == []
    assert str(tmp_path) in capsys.readouterr().err


# ---- hostile files


@pytest.fixture(scope="module")
def hostile() -> dict[str, bytes]:
    """All of them."""
    return dict(parse_hostile.files())


def test_a_hundred_files_are_the_same_each_time(hostile: dict[str, bytes]) -> None:
    """A hundred names, each with bytes of its own; made again only those of locked ones differ, which have new keys."""
    again = list(parse_hostile.files())
    assert [name for name, _ in again] == list(hostile)
    assert len(hostile) == 100
    assert len(set(hostile.values())) == 100
    assert {name.rsplit("-", 1)[0] for name, data in again if data != hostile[name]} <= {"locked-4", "locked-6"}


def opened(data: bytes, **options: Any) -> pikepdf.Pdf:
    """A file by qpdf."""
    return pikepdf.open(io.BytesIO(data), **options)


def test_hostile_files_are_what_they_are_called(hostile: dict[str, bytes]) -> None:
    """Cut files are beginnings, locked ones ask for a password where they say so, loops lead to themselves."""
    whole = typeset.page(parse_hostile.FAMILIES[0], "hostile")[0]
    assert all(whole.startswith(hostile[f"cut-{n:02d}"]) for n in range(0, 20, 3))
    assert len({len(hostile[f"cut-{n:02d}"]) for n in range(0, 20, 3)}) == 7
    for revision in (3, 4, 6):
        with pytest.raises(pikepdf.PasswordError):
            opened(hostile[f"locked-{revision}-open"])
        assert len(opened(hostile[f"locked-{revision}-change"]).pages) == 1
        assert opened(hostile[f"locked-{revision}-open"], password="secret").is_encrypted
    assert hostile["empty"] == b""
    assert len(opened(hostile["no-pages"]).pages) == 0
    assert len(opened(hostile["500-pages"]).pages) == 500
    flips = [sum(a != b for a, b in zip(hostile[f"flipped-{n:02d}"], whole, strict=True)) for n in range(0, 21, 3)]
    assert all(0 < n <= parse_hostile.WRONG_BYTES * len(whole) + 1 for n in flips)


def test_loops_lead_to_themselves(hostile: dict[str, bytes]) -> None:
    """Each loop's object is its own descendant."""
    with pytest.raises(pikepdf.PdfError, match="Loop detected in /Pages"):
        opened(hostile["loop-kids"])
    found = {name: opened(hostile[f"loop-{name}"]) for name in parse_hostile.LOOPS if name != "kids"}
    assert found["parent"].Root.Pages.Parent.objgen == found["parent"].Root.Pages.objgen
    form = found["form"].Root.Pages.Kids[0].Resources.XObject.Me
    assert form.Resources.XObject.Me.objgen == form.objgen
    contents = found["contents"].Root.Pages.Kids[0].Contents
    assert contents.objgen in [part.objgen for part in contents]
    fonts = found["font"].Root.Pages.Kids[0].Resources.Font.values()
    assert any(f.DescendantFonts[0].objgen == f.objgen for f in fonts if "/DescendantFonts" in f)
    data = hostile["loop-xref"]
    at = int(data.rsplit(b"startxref\n", 1)[1].split()[0])
    assert data[at : at + 4] == b"xref"
    assert b"/Prev %d>>" % at in data[at:]


def test_huge_files_are_small(hostile: dict[str, bytes]) -> None:
    """A picture of billions of pixels, a page of a billion points, and 200,000 states are in files that are small."""
    assert all(len(hostile[f"huge-{name}"]) < 2_000_000 for name in parse_hostile.HUGE_ONES)
    found = {name: opened(hostile[f"huge-{name}"]) for name in parse_hostile.HUGE_ONES}
    first = {name: pdf.Root.Pages.Kids[0] for name, pdf in found.items()}
    picture = first["picture"].Resources.XObject.Big
    assert int(picture.Width) * int(picture.Height) > 3e9
    assert float(first["page"].MediaBox[2]) == 1e9
    assert float(first["thin"].MediaBox[2]) < 1e-6
    assert first["deep"].Contents[0].read_bytes().count(b"q ") == 200_000


def test_fuzzed_files_differ_in_an_object(hostile: dict[str, bytes]) -> None:
    """No fuzzed file is one that was not, and most still open."""
    plain = [parse_hostile._changed(typeset.page(f, "hostile")[0], lambda _: None) for f in parse_hostile.FAMILIES]
    fuzzed = [data for name, data in hostile.items() if name.startswith("fuzzed")]
    assert all(data not in plain for data in fuzzed)
    count = 0
    for data in fuzzed:
        try:
            opened(data).close()
        except pikepdf.PdfError:
            count += 1
    assert count < len(fuzzed) // 2


# ---- whole runs


def test_sources_are_files_by_their_digest(tmp_path: Path) -> None:
    """One row a file with other bytes; the names of the rows are the digests."""
    table = parse_runs._sources(tmp_path, [("a", b"1"), ("b", b"2"), ("c", b"1")])
    assert len(set(parse_runs._ids(table))) == len(parse_runs._ids(table)) == 2
    assert (tmp_path / "b.pdf").read_bytes() == b"2"


def test_a_run_that_differs_in_a_byte_is_told(tmp_path: Path) -> None:
    """Digests are of every table's files; a row that is kept and dropped too is no count."""
    ids = [d.doc_id for d in Document.sample(2)]
    for name in ("one", "two"):
        write_table(tmp_path / name, Document, Document.sample(2), "documents")
    assert parse_runs._bytes(tmp_path / "one") == parse_runs._bytes(tmp_path / "two") != []
    (file,) = (tmp_path / "two" / "documents").glob("*.parquet")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert parse_runs._bytes(tmp_path / "one") != parse_runs._bytes(tmp_path / "two")
    row = parse_runs._same("w", "p", 99, 100)
    assert (row.equal, row.ratio) == (False, 0.99)
    assert len(set(ids)) == 2
