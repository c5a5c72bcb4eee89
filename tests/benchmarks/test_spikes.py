"""The spike benchmark: faults that are what they say, rules of others as published, curves and tallies."""

import csv
import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import spike_corpora, spikes
from benchmarks.spike_corpora import Corpus
from benchmarks.spike_curves import DESIGN, HELD_OUT, KINDS, RECORDED, Curve, Point, _kind, recorded, spoiled
from benchmarks.spike_real import PEERS, judged
from benchmarks.spike_rules import KillLossSpike, SixSigma, ZClip
from benchmarks.spike_runs import RANKS, SEQUENCES, VOCAB, Fault, TinyRun, _data, _hardware, _numeric, _schedule
from stages.pretrain.health.detect import Reading


def gone_on(run: TinyRun, first: int, last: int) -> None:
    """Take the steps of a run."""
    for step in range(first, last + 1):
        run.update(run.read(step))


@pytest.fixture(scope="module")
def tiny() -> TinyRun:
    """A run that is two steps old."""
    torch.set_num_threads(1)
    run = TinyRun(seed=1, num_steps=20)
    gone_on(run, 1, 2)
    return run


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """An fp32 tensor's bits."""
    return tensor.detach().clone().contiguous().view(torch.int32)


@pytest.mark.parametrize("seed", range(12))
def test_numeric_faults_change_one_number_by_one_bit(tiny: TinyRun, seed: int) -> None:
    """A flipped bit is the one that is named, of one number of one matrix; an infinity is one number."""
    fault = _numeric(random.Random(seed))
    branch = tiny.branch(tiny.state(), 3, fault)
    before = [tuple(map(bits, (t.weight, t.first, t.second))) for t in branch.tensors()]  # type: ignore[arg-type]
    assert fault.spoil is not None
    fault.spoil(branch, 3)
    after = [tuple(map(bits, (t.weight, t.first, t.second))) for t in branch.tensors()]  # type: ignore[arg-type]
    places = [(i, k) for i, old in enumerate(before) for k in range(3) if not torch.equal(old[k], after[i][k])]
    ((i, k),) = places
    changed = (before[i][k] ^ after[i][k]).flatten()
    (flipped,) = changed[changed != 0].tolist()
    column, mask = {
        "bit of a weight": (0, 1 << 30),
        "bit of a moment": (1, 1 << 30),
        "sign of a variance": (2, -1 << 31),
        "infinity": (0, flipped),
    }[fault.name]
    assert (k, flipped) == (column, mask)
    if fault.name == "infinity":
        assert int(torch.isinf(branch.tensors()[i].weight).sum()) == 1


@pytest.mark.parametrize("seed", range(9))
def test_bad_data_is_in_one_step_only(tiny: TinyRun, seed: int) -> None:
    """Only the planted step's batch is other than it was, in as many rows as drawn; ids stay in the vocabulary."""
    fault = _data(random.Random(seed))
    branch = tiny.branch(tiny.state(), 7, fault)
    branch.read(6)
    assert torch.equal(branch.data, tiny.data)
    branch.read(7)
    differ = (branch.data != tiny.data).any(dim=2)
    assert differ.any(dim=1).nonzero().flatten().tolist() == [6]
    assert int(differ.sum()) >= (SEQUENCES if fault.name == "n-gram" else 4)
    bad = branch.data[6]
    assert int(bad.min()) >= 0
    assert int(bad.max()) < VOCAB
    if fault.name == "other ids":
        pairs = set(zip(tiny.data[6][differ[6]].flatten().tolist(), bad[differ[6]].flatten().tolist(), strict=True))
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    if fault.name == "n-gram":
        assert any(torch.equal(bad[:, n:], bad[:, :-n]) for n in range(1, 5))


def test_a_branch_leaves_the_run_that_it_came_from(tiny: TinyRun) -> None:
    """A fault in a branch changes neither weights, moments nor data of the clean run, which false alarms are counted on."""
    data = tiny.data.clone()
    before = [(bits(t.weight), bits(t.first)) for t in tiny.tensors()]  # type: ignore[arg-type]
    branch = tiny.branch(tiny.state(), 3, _data(random.Random(0)))
    gone_on(branch, 3, 5)
    assert torch.equal(tiny.data, data)
    after = [(bits(t.weight), bits(t.first)) for t in tiny.tensors()]  # type: ignore[arg-type]
    assert all(torch.equal(a, b) for old, new in zip(before, after, strict=True) for a, b in zip(old, new, strict=True))


def test_a_branch_without_a_fault_is_the_run(tiny: TinyRun) -> None:
    """What a branch reads is what the run would: the same loss and norm, bit for bit, after going back to a state too."""
    state, nothing = tiny.state(), Fault("nothing", "data")
    one, two = tiny.branch(state, 3, nothing), tiny.branch(state, 3, nothing)
    first = [one.read(3)]
    one.update(first[0])
    first.append(one.read(4))
    assert [two.read(3)] == first[:1]
    two.update(first[0])
    assert two.read(4) == first[1]
    one.load(state)
    assert one.read(3) == first[0]


def test_a_rank_scales_its_own_part(tiny: TinyRun) -> None:
    """A rank's factor multiplies the gradient of its sequences only, once or from then on, and never before its step."""
    for seed in range(40):
        chance = random.Random(seed)
        fault = _hardware(chance, 5)
        assert fault.gradient is not None
        assert all(fault.gradient(4, rank) == 1 for rank in range(RANKS))
        at_once = [fault.gradient(5, rank) for rank in range(RANKS)]
        assert sorted(at_once)[:-1] == [1.0] * (RANKS - 1)
        later = [fault.gradient(6, rank) for rank in range(RANKS)]
        assert later == (at_once if fault.name == "lasting factor" else [1.0] * RANKS)
    bad = Fault("factor", "hardware", gradient=lambda _, rank: 9.0 if rank == 2 else 1.0)
    branch = tiny.branch(tiny.state(), 3, bad)
    part = SEQUENCES // RANKS
    mine, others = list(range(2 * part, 3 * part)), [n for n in range(SEQUENCES) if n // part != 2]
    gradients = {}
    for name, without in (("all", []), ("others", mine), ("mine", others)):
        branch.measured(3, without=without)
        gradients[name] = [p.grad.clone() for p in branch.network.parameters() if p.grad is not None]
    shares = {"others": len(others) / SEQUENCES, "mine": len(mine) / SEQUENCES}  # of the tokens
    for whole, left, right in zip(gradients["all"], gradients["others"], gradients["mine"], strict=True):
        torch.testing.assert_close(whole, left * shares["others"] + right * shares["mine"], rtol=1e-4, atol=1e-6)


def test_a_wrong_rate_is_used_for_as_long_as_it_says(tiny: TinyRun) -> None:
    """From the planted step on the rate is so many peaks, for one step, three or all; before and after it is the schedule's."""
    for seed in range(20):
        fault = _schedule(random.Random(seed), 5)
        branch = tiny.branch(tiny.state(), 5, fault)
        factor, count = float(fault.name.split()[0]), int(fault.name.split()[-2])
        wrong = [step for step in range(1, 21) if branch.rate(step) != tiny.rate(step)]
        assert wrong == [step for step in range(1, 21) if 5 <= step < 5 + count]
        assert branch.rate(5) == pytest.approx(factor * 1e-2)


# ---- rules of others


@given(st.lists(st.floats(0, 10), min_size=60, max_size=150), st.integers(0, 5))
@settings(deadline=None, max_examples=10)
def test_six_sigma_is_the_formula(norms: list[float], seed: int) -> None:
    """An alarm is a value more than six sample deviations over the mean of the up to 128 before it, from the 64th step on."""
    rule, losses = SixSigma(), np.random.default_rng(seed).normal(3, 0.1, len(norms))
    losses[70:] *= 1.0 + 0.2 * (np.arange(len(losses[70:])) % 7 == 3)
    for i, (loss, norm) in enumerate(zip(losses.tolist(), norms, strict=True)):
        expected = False
        if i >= 63:
            for values, value in ((losses, loss), (np.array(norms), norm)):
                before = values[max(0, i - 128) : i]
                expected |= bool(value - before.mean() > 6 * before.std(ddof=1) + 1e-12)
        assert rule.alarms(loss, norm) == expected


def test_z_scores_move_with_clipped_norms() -> None:
    """A norm that is an outlier enters mean and variance as it was clipped: to the threshold's value, scaled down."""
    warm = [1.0, 3.0] * 13
    rule = ZClip()
    assert not any(rule.alarms(0.0, n) for n in warm[:25])
    mean, deviation = np.mean(warm[:25]), np.std(warm[:25])
    assert rule.alarms(0.0, 20.0)
    z = (20 - mean) / (deviation + 1e-6)
    clipped = mean + 2.5 * deviation / (z / 2.5)
    new_mean = 0.97 * mean + 0.03 * clipped
    assert rule._mean == pytest.approx(new_mean)
    assert rule._variance == pytest.approx(0.97 * deviation**2 + 0.03 * (clipped - new_mean) ** 2)
    edge = rule._mean + 2.5 * (math.sqrt(rule._variance) + 1e-6)
    assert not ZClip.alarms(rule, 0.0, edge - 1e-9)
    assert rule.alarms(0.0, math.inf)
    assert rule.alarms(0.0, math.nan)
    assert math.isfinite(rule._mean)


def test_five_losses_in_a_row_are_a_spike() -> None:
    """Four losses of twice the mean are no alarm, the fifth is; one healthy step begins anew."""
    rule = KillLossSpike()
    assert not any(rule.alarms(1.0, 0.0) for _ in range(100))
    assert [rule.alarms(2.5, 0.0) for _ in range(5)] == [False] * 4 + [True]
    again = KillLossSpike()
    assert not any(again.alarms(v, 0.0) for v in [1.0] * 100 + [2.5] * 4 + [1.0] + [2.5] * 4)


def test_losses_that_stay_high_are_a_spike() -> None:
    """Half of the last hundred over the largest of the first hundred is an alarm, though each is less than twice the mean."""
    rule = KillLossSpike()
    found = [rule.alarms(v, 0.0) for v in [2.0] * 200 + [2.1] * 60]
    assert found.index(True) == 200 + 50
    assert all(found[250:])


# ---- real curves


def test_the_recorded_curves_are_those_that_are_declared() -> None:
    """The file has a curve for each held-out setting and no other, of all steps once and in order, with finite losses."""
    curves = recorded(RECORDED)
    wanted = {c.name: c for c in HELD_OUT}
    assert set(curves) == set(wanted)
    for name, points in curves.items():
        steps = [p.step for p in points if p.kind in ("", "part")]
        assert steps == list(range(1, wanted[name].steps + 1))
        assert all(math.isfinite(p.loss) and math.isfinite(p.gradient_norm) for p in points if p.kind in ("", "part"))
        assert [(p.step, p.kind) for p in points if p.kind in KINDS] == [
            (s, _kind(s)) for s in steps if _kind(s) and all(p.kind != "part" for p in points if p.step == s)
        ]


def test_design_and_held_out_differ() -> None:
    """No held-out curve has the corpus, the seed and rate of one that settings were chosen by, and no name is there twice."""
    assert len({c.name for c in (*DESIGN, *HELD_OUT)}) == len(DESIGN) + len(HELD_OUT)
    assert not {(c.corpus, c.seed) for c in DESIGN} & {(c.corpus, c.seed) for c in HELD_OUT}


def test_what_is_recorded_comes_back(tmp_path: Path) -> None:
    """Lines of a curve are its points; a name says all that is not by default."""
    curve = Curve("papers", 3, rate=2e-2)
    (tmp_path / "a.csv").write_text(f"# {curve.name}\n1,,2.5,inf\n2,n-gram,9,0.5\n# papers\n1,part,1,1\n")
    assert recorded(tmp_path / "a.csv") == {
        "papers seed=3 rate=0.02": [Point(1, "", 2.5, math.inf), Point(2, "n-gram", 9, 0.5)],
        "papers": [Point(1, "part", 1, 1)],
    }


@pytest.mark.parametrize("kind", KINDS)
def test_spoiled_batches(kind: str) -> None:
    """A bad batch is a copy; half of one leaves the other half; other ids are a permutation; an n-gram repeats itself."""
    windows = torch.arange(8 * 9).reshape(8, 9) % 50
    bad = spoiled(windows, kind, 50, seed=6)
    assert bad.shape == windows.shape
    assert int(bad.max()) < 50
    assert torch.equal(windows, torch.arange(8 * 9).reshape(8, 9) % 50)
    assert torch.equal(bad[4:], windows[4:]) == (kind == "half garbage")
    assert not torch.equal(bad[:4], windows[:4])
    if kind == "other ids":
        pairs = set(zip(windows.flatten().tolist(), bad.flatten().tolist(), strict=True))
        assert len(pairs) == len({b for _, b in pairs}) == 50
    if kind == "n-gram":
        assert torch.equal(bad[:, 3:], bad[:, :-3])


def healthy(count: int, first: int = 1) -> list[Point]:
    """Steps of a curve that falls slowly."""
    draw = np.random.default_rng(first)
    return [Point(first + i, "", 5 - 0.001 * i + 0.01 * draw.normal(), 1 + 0.05 * draw.normal()) for i in range(count)]


def test_alarms_are_counted_where_they_are() -> None:
    """On a quiet curve a jump at a healthy step is one false alarm of ours; a bad batch beside the curve is one found."""
    quiet = healthy(200)
    jump = [*quiet[:150], quiet[150]._replace(loss=50.0, gradient_norm=900.0), *quiet[151:]]
    asked = [*quiet[:150], Point(151, "garbage", 50.0, 900.0), *quiet[150:]]
    calm, wrong, right = (judged({"c": points}) for points in (quiet, jump, asked))
    assert (calm.steps, calm.false_alarms["ours"], calm.alarms) == (200, 0, [])
    assert wrong.false_alarms["ours"] == len(wrong.alarms) == 1
    assert "step 151, loss 50.0" in wrong.alarms[0]
    assert right.bad == {"garbage": 1}
    assert right.found["ours"] == right.found["ours, garbage"] == right.found["OLMo-core 6 sigma"] == 1
    assert right.false_alarms == calm.false_alarms
    assert right.steps == 200


def test_what_would_be_measured_again_is_counted_before_a_batch_grows() -> None:
    """Rules begin anew where a batch becomes whole; the steps that ours would have asked again until then still count."""
    curves = recorded(RECORDED)
    name, points = next((n, p) for n, p in curves.items() if judged({n: p}).asked_again)
    alone = judged({name: points}).asked_again
    grown = [*points, *(Point(10_000 + i, "part", 2.0, 1.0) for i in range(2)), *healthy(5, 20_000)]
    assert judged({name: grown}).asked_again == alone


# ---- corpora and tallies


def test_windows_of_a_corpus() -> None:
    """Batches are windows of the ids, side by side, each once before any comes again, the last one too."""
    corpus = Corpus(torch.arange(41), 41)
    batches = corpus.batches(2, 8, seed=0)
    found = torch.cat([next(batches) for _ in range(5)])
    assert found.shape == (10, 9)
    assert torch.equal(found, found[:, :1] + torch.arange(9))
    assert set(found[:5, 0].tolist()) == set(found[5:, 0].tolist()) == {0, 8, 16, 24, 32}
    assert not torch.equal(found[:5], found[5:])
    with pytest.raises(ValueError, match="8 ids: a window has 9"):
        next(Corpus(torch.arange(8), 8).batches(2, 8, seed=0))


def test_learned_ids_are_the_text() -> None:
    """Each document ends with the end token, no id is beyond the vocabulary, and there are as many ends as documents."""
    texts = ["the heat of copper, the heat of zinc", "β decays", "the heat"]
    corpus = spike_corpora._learned(texts, 300)
    (end,) = {int(corpus.ids[-1])}
    assert int((corpus.ids == end).sum()) == 3
    assert int(corpus.ids.max()) < corpus.vocab_size <= 300


def test_texts_are_cut_before_they_are_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole texts are taken until the next one would be too many characters."""
    monkeypatch.setattr(spike_corpora, "MAX_CHARACTERS", 10)
    assert list(spike_corpora._cut(iter(["abcd", "efgh", "ijk", "l"]))) == ["abcd", "efgh"]


def test_shares_are_of_what_was_planted() -> None:
    """Recall is found over planted, by class and in all; false alarms are in ten thousand steps, and none is better than some."""
    tally = spikes.Tally(clean_steps=2000, cause_right=3, restart_right=4)
    tally.planted = Counter(data=3, numeric=2)
    tally.found = Counter({"ours": 4, "ours, data": 3, "ours, numeric": 1, "ZClip z-score": 5})
    tally.false_alarms = Counter({"ZClip z-score": 7})
    rows = {(r.what, r.peer): (r.ours, r.theirs, r.ratio) for r in spikes._compared(tally)}
    assert rows["recall, 5 planted spikes", "ZClip z-score"] == (0.8, 1.0, 0.8)
    assert rows["recall, 5 planted spikes", "OLMo-core 6 sigma"] == (0.8, 0.0, math.inf)
    assert rows["false alarms in 10,000 steps (2,000 of tiny runs)", "ZClip z-score"] == (0, 35, math.inf)
    assert rows["false alarms in 10,000 steps (2,000 of tiny runs)", "llm-foundry 2x mean"] == (0, 0, 1)
    assert rows["recall, 3 of class data", "goal"][0] == 1
    assert rows["recall, 2 of class numeric", "goal"][0] == 0.5
    assert rows["cause right, of 4 found", "goal"][0] == 0.75
    assert rows["restart step right, of 4 found", "goal"][0] == 1


def test_nothing_found_is_said_and_not_divided_by() -> None:
    """Where no fault is found there is still a row for each figure."""
    tally = spikes.Tally(clean_steps=10)
    tally.planted = Counter(data=2)
    rows = list(spikes._compared(tally))
    assert {r.ours for r in rows if r.unit == "share"} == {0.0}


def test_a_quick_look_at_the_real_curves(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each peer has a row of false alarms and one of recall; without the recorded curves the words say how to make them."""
    curves = dict(list(recorded(RECORDED).items())[:2])
    monkeypatch.setattr(spikes, "recorded", lambda _: curves)
    rows = list(spikes._real())
    assert [r.peer for r in rows] == [*PEERS, *PEERS]
    assert all(0 <= value <= 1 for r in rows[3:] for value in (r.ours, r.theirs))
    monkeypatch.setattr(spikes, "RECORDED", Path("nowhere.csv"))
    assert list(spikes._real()) == []
    assert "python -m benchmarks.spike_curves held-out --out nowhere.csv" in capsys.readouterr().out


def test_a_rule_is_told_every_step() -> None:
    """A watch asks ours and each peer of the same reading."""
    watch = spikes.Watch()
    for step in range(1, 130):
        verdict, peers = watch.see(Reading(step, 2.0 + 0.01 * (step % 3), 1.0 + 0.01 * (step % 5), 1e-3))
        assert verdict.signal is None
        assert peers == set()
        watch.ours.accept(Reading(step, 2.0, 1.0, 1e-3), verdict)
    _, peers = watch.see(Reading(130, math.nan, math.inf, 1e-3))
    assert {"OLMo-core 6 sigma", "ZClip z-score"} <= peers


def test_the_file_of_curves_has_four_columns() -> None:
    """Every line is a name or four fields, so that other programs read it as well."""
    lines = [line for line in RECORDED.read_text().splitlines() if not line.startswith("# ")]
    assert {len(row) for row in csv.reader(lines)} == {4}
