"""The benchmarks of training, checkpoints, kills and plans: their checks tell a difference, their figures are by hand."""

import math
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
import torch

from benchmarks import checkpoint, monitors, order, planner, startup, train_speed, twenty_minutes
from benchmarks.startup import Count
from benchmarks.table import Comparison, Options
from benchmarks.twenty_minutes import Learner, Point
from stages.base import SettingsError
from stages.model.distributed import joined
from stages.model.network import IGNORED
from stages.model.parallelize import Layout, Parallelism
from tests.workflows.plan.published import published

QUICK = Options(True, None)


# ---- kills


class Fake:
    """A run that is killed so often and then done, and ends with what it is told."""

    ends: Iterator[Any]
    lives: Iterator[int]

    def __init__(self, _: list[str], out: Path, __: int) -> None:
        self.out, self.killed, self.left = out, Counter[str](), 10**9 if out.name == "unbroken" else next(self.lives)
        self.ended = 0

    def finish(self) -> tuple[float, float]:
        """To the end."""
        self.ended += 1
        return 1.0, 10.0

    def kill_after(self, delay: float, _: random.Random) -> bool:
        """True while there is something to kill."""
        assert 0.5 <= delay <= 10
        self.left -= 1
        self.killed["a save"] += self.left >= 0
        return self.left >= 0

    def results(self) -> dict[str, Any]:
        """As told."""
        return {"ledger": "rows", "weights": "w"} if self.out.name == "unbroken" else next(self.ends)


def killed(monkeypatch: pytest.MonkeyPatch, folder: Path, lives: list[int], ends: list[dict[str, str]]) -> Comparison:
    """Six kills of runs that live so long and end so."""
    monkeypatch.setattr(Fake, "lives", iter(lives), raising=False)
    monkeypatch.setattr(Fake, "ends", iter(ends), raising=False)
    monkeypatch.setattr(order, "Run", Fake)
    return order.killed([], folder, 2, 6)


def test_a_run_that_ends_otherwise_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kills are counted over as many runs as they take; those of a run whose weights differ did not survive."""
    same, other = {"ledger": "rows", "weights": "w"}, {"ledger": "rows", "weights": "v"}
    found = killed(monkeypatch, tmp_path, [4, 9], [same, same])
    assert (found.ours, found.theirs, found.equal) == (6, 6, True)
    assert found.what == "2 rank(s): ledger, losses, weights, over 2 run(s)"
    found = killed(monkeypatch, tmp_path, [4, 9], [other, same])
    assert (found.ours, found.ratio, found.equal) == (2, 2 / 6, False)
    assert "run 1: killed at a save (4); differs: ['weights']" in capsys.readouterr().out


def test_what_a_row_costs() -> None:
    """A row of the ledger for a thousand samples is made and timed, against its bound."""
    row = order.cost(["a", "b", "c"])
    assert 0 < row.ours < 1e5
    assert row.ratio == pytest.approx(row.theirs / row.ours)


def test_documents_are_of_three_sources(tmp_path: Path) -> None:
    """Ninety documents, thirty a source, each with a name of its own, the same each time."""
    from schemas.corpus import Document
    from stages.tables import Reader

    one, two = (list(Reader(order.documents(tmp_path / n), Document).rows()) for n in ("one", "two"))
    assert Counter(d.source for d in one) == {"notes": 30, "papers": 30, "theses": 30}
    assert len({d.doc_id for d in one}) == 90
    assert one == two


# ---- checkpoints


@pytest.mark.filterwarnings("ignore")  # of torch's own
def test_checkpoints_that_differ_are_told(tmp_path: Path) -> None:
    """All three ways bring every tensor back to the bit; a bit that is other in what was written is seen."""
    tensors = {"weights/a": torch.randn(3, 256), "m/a": torch.randn(2, 256)}
    with joined() as world:
        layout = Layout(world, world, Parallelism())
        ours = checkpoint.Checkpoints(tmp_path / "ours", {}, checkpoint.Keep(1), layout)
        ours.begin()
        times = checkpoint.save_ours(ours, tensors, 1)
        assert 0 <= times.stall <= times.durable
        checkpoint.save_dcp(tmp_path / "sync-1", tensors)
        assert checkpoint.same(tmp_path, tensors, 1, "sync")
        other = {n: t.clone() for n, t in tensors.items()}
        other["m/a"].view(torch.int32)[1, 3] ^= 1
        assert not checkpoint.same(tmp_path, other, 1, "sync")
        checkpoint.save_dcp(tmp_path / "late-1", other)
        assert not checkpoint.same(tmp_path, tensors, 1, "late")
        ours.close()


def test_states_are_as_large_as_asked_for() -> None:
    """Weights and two moments of all layers, together so many megabytes or a little less."""
    found = checkpoint.state(32)
    assert len(found) == 3 * checkpoint.NUM_LAYERS * checkpoint.MATRICES
    assert sum(t.numel() * 4 for t in found.values()) == pytest.approx(32e6, rel=0.01)
    assert checkpoint.median([checkpoint.Times(9, 9), checkpoint.Times(1, 4), checkpoint.Times(3, 2)], "stall") == 2


# ---- starts


def test_more_files_or_collectives_are_not_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows compare the most ranks with two, the most of any rank; CPU time alone does not make them unequal."""
    assert startup.constant(Count(5, 3, 1.0), Count(5, 2, 9.0))
    assert not startup.constant(Count(5, 3, 1.0), Count(6, 3, 1.0))
    assert not startup.constant(Count(5, 3, 1.0), Count(5, 4, 1.0))
    counts = {1: (3, 0, 0.1), 2: (4, 2, 0.2), 4: (4, 3, 0.4)}
    monkeypatch.setattr(startup.ranks, "run_apart", lambda size, *_: [{"join": Count(*counts[size])}] * size)
    rows = list(startup.run(QUICK))
    assert [(r.unit, r.ours, r.theirs, r.equal) for r in rows] == [
        ("files", 4, 4, False), ("collectives", 3, 2, False), ("CPU s", 0.4, 0.2, False),
    ]  # fmt: skip


def test_collectives_and_files_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is opened counts one, and so does a collective; what is not asked inside a phase does not."""
    hooks: list[Any] = []
    monkeypatch.setattr("sys.addaudithook", hooks.append)  # a real one would stay
    with joined() as world:
        counter = startup.Counter()
        with counter.phase("one"):
            hooks[0]("open", ("a", "r", 0))
            hooks[0]("import", ("a",))
            torch.distributed.all_reduce(torch.ones(1))
        hooks[0]("open", ("b", "r", 0))
        with counter.phase("two"):
            pass
    assert counter.found["one"][:2] == (1, 1)
    assert counter.found["two"][:2] == (0, 0)
    assert world.size == 1


# ---- speed and quality of training


def test_first_steps_that_differ_are_told() -> None:
    """Loss and gradient norm agree within the precision's rounding, relative to the peer's; nan agrees with nothing."""
    assert train_speed.agree((8.0, 1.0), (8.0 * (1 + 9e-6), 1.0), "fp32")
    assert not train_speed.agree((8.0, 1.0), (8.0, 1.0 + 2e-5), "fp32")
    assert train_speed.agree((8.0, 1.0), (8.0, 1.015), "bf16")
    assert not train_speed.agree((8.0, 1.0), (math.nan, 1.0), "bf16")


def test_all_train_on_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain loop over our own network takes our engine's first step; one with other weights does not agree."""
    monkeypatch.setattr(
        train_speed,
        "SHAPE",
        train_speed.SHAPE | {"num_layers": 1, "width": 32, "hidden_width": 48, "num_heads": 2, "num_kv_heads": 2},
    )
    for name, value in (("VOCABULARY", 64), ("CONTEXT", 16), ("BATCH", 2)):
        monkeypatch.setattr(train_speed, name, value)
    with joined() as world:
        first = train_speed.ours("fp32", world).step()
        batch, model = train_speed.tokens(), train_speed.network()
        peer = train_speed.plain("p", model, lambda: model(batch.inputs_BT, batch.targets_BT), same=True)
        assert train_speed.agree(first, peer.step(), "fp32")
        assert not train_speed.agree(first, peer.step(), "fp32")  # it has learned
        assert peer.num_parameters == train_speed.ours("fp32", world).num_parameters


def test_peers_of_training_that_are_missing_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who is not installed is said; the others are given."""
    monkeypatch.setattr(train_speed, "trainer", lambda *_: "trainer")
    monkeypatch.setattr(train_speed, "zero_1", lambda *_: "zero")
    monkeypatch.setattr(train_speed.importlib.util, "find_spec", lambda _: None)
    assert list(train_speed.peers("fp32", "")) == ["trainer", "zero"]
    shown = capsys.readouterr().out
    assert "litgpt is missing" in shown
    assert "nanochat is missing" in shown


def test_held_out_bits_are_by_bytes() -> None:
    """The summed loss over all held-out batches, in bits, over the bytes of the documents."""
    batches = [(0, torch.zeros(2, 3), torch.ones(2, 3), 0), (1, torch.zeros(1, 3), torch.ones(1, 3), 0)]
    held_out = SimpleNamespace(batches=lambda _: batches, num_bytes_S=torch.tensor([3, 6]))
    learner = Learner(lambda *_: None, lambda _, targets: targets.sum(), 0)
    data: Any = SimpleNamespace(held_out=held_out)
    assert twenty_minutes.held_out(learner, data) == pytest.approx(9 / math.log(2) / 9)


def test_texts_are_between_the_ends_of_documents() -> None:
    """A token file's documents are decoded one by one, without their end tokens."""
    tokens = torch.tensor([5, 6, 0, 7, 0]).numpy()
    tokenizer: Any = SimpleNamespace(decode=lambda ids, **_: "".join(map(chr, [i + 92 for i in ids])))
    data: Any = SimpleNamespace(tokenizer=SimpleNamespace(eod_id=0))
    assert list(twenty_minutes.texts(tokens, data, tokenizer)) == [b"ab", b"c"]


def test_less_bits_are_better(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows compare the last points; without nanochat that is said and n-grams are left; without data it says what is missing."""
    with pytest.raises(SettingsError, match="--data is missing"):
        list(twenty_minutes.run(QUICK))

    class Pool:
        """Work is done at once."""

        def __init__(self, *_: object) -> None: ...
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None: ...
        def submit(self, work: Any, *arguments: Any) -> Any:
            found = work(*arguments)
            return SimpleNamespace(result=lambda: found)

    curves = {"ours": (10, [Point(1, 5, 4.0), Point(2, 9, 2.0)]), "nanochat": (11, [Point(2, 8, 3.0)])}
    monkeypatch.setattr(twenty_minutes, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(twenty_minutes, "learn", lambda name, *_: curves[name])
    monkeypatch.setattr(twenty_minutes, "ngram", lambda *_: (5, 2.5))
    for installed, expected in ((True, [1.5, 1.25]), (False, [1.25])):
        monkeypatch.setattr(twenty_minutes.importlib.util, "find_spec", lambda _, found=installed: found or None)
        rows = list(twenty_minutes.run(Options(True, Path("x"))))
        assert [r.ratio for r in rows] == expected
        assert {r.ours for r in rows} == {2.0}
    assert "nanochat is missing" in capsys.readouterr().out


def test_ignored_targets_are_those_of_nanochat() -> None:
    """What ours leaves out of the loss, nanochat leaves out as -1; all other targets stay."""
    assert twenty_minutes._as_nanochat(torch.tensor([[3, IGNORED, 0]])).tolist() == [[3, -1, 0]]


def test_watching_changes_no_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Watched and plain steps end with the same weights; a watched one that learns otherwise is told."""
    monkeypatch.setattr(monitors, "BLOCK_STEPS", 2)
    monkeypatch.setattr(
        monitors.Sizes, "of_depth", lambda *_, whole=monitors.Sizes.of_depth: whole(1, monitors.VOCAB, 128, width=32)
    )
    steps, cost = monitors.run(QUICK)
    assert steps.equal
    assert steps.ours > 0
    assert cost.unit == "% of a step"
    step = monitors.Watched.step
    monkeypatch.setattr(
        monitors.Watched, "step", lambda self, number, batch: step(self, number, batch) if number % 4 else None
    )
    assert next(iter(monitors.run(QUICK))).equal is False


# ---- plans


def test_the_peers_constant_is_a_median() -> None:
    """The peer predicts by the median utilization of the others on that device; one that ran at it has no error."""
    rows = [r for r in published() if r.ran and r.source == "Korthikanti 2022"][:3]
    used = [planner.utilization(r) for r in rows]
    assert planner.constant(rows[:1], rows[:1]) == [0]
    assert planner.constant(rows[:1], rows[1:]) == pytest.approx([(used[1] + used[2]) / 2 / used[0] - 1])
    row, shape = rows[0], rows[0].run.shape
    operations = 6 * shape.num_weights + 12 * shape.num_layers * row.run.sequence_tokens * shape.width
    assert used[0] == pytest.approx((row.tokens_per_second or 0) * operations / 312e12)
    assert 0.2 < used[0] < 0.7


def test_what_ran_out_of_memory_must_not_be_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source is safe if each of its runs that ran out is judged so; one that is let through is told, of its source only."""
    rows = [r for r in published() if not r.ran][:6] + [r for r in published() if r.ran][:2]
    source = rows[0].source
    assert planner._safe(rows, source)
    judge = planner.judge
    monkeypatch.setattr(
        planner,
        "judge",
        lambda run, layout, machine: (
            SimpleNamespace(problems=[]) if run is rows[0].run else judge(run, layout, machine)
        ),
    )
    assert not planner._safe(rows, source)
    assert planner._safe(rows, "another source")
    assert planner._row("w", [0.1, 0.2, 0.4], [0.4], safe=False) == Comparison(
        "w", "constant utilization", 0.2, 0.4, "median error", 2, False
    )
