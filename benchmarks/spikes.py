"""Planted loss spikes: found, explained and gone back from, against the rules of OLMo-core, ZClip and llm-foundry.

25 tiny runs of 400 steps, clean, are where false alarms are counted; from each, 8 more branch off at random steps, with one
fault of each class planted twice. Every rule sees the same losses and norms. A fault is found if a rule alarms within 12 steps of
it. Ours goes on: the class that it names must be that of the fault, and the checkpoint that it restarts from the newest one of before the
fault (one every 10 steps). `--only real`: the same rules over held-out curves of real training (`benchmarks.spike_real`), where they are recorded.
"""

import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.spike_curves import RECORDED, recorded
from benchmarks.spike_real import PEERS, judged
from benchmarks.spike_runs import Fault, TinyRun, faults
from benchmarks.table import Comparison, Options, main
from stages.pretrain.health.detect import Detector, Reading, Verdict
from stages.pretrain.health.diagnose import Diagnosis, diagnose
from stages.pretrain.health.restart import restart

NUM_STEPS, FIRST_PLANT, WITHIN = 400, 130, 12  # llm-foundry's rule needs 100 steps before it says anything
CHECKPOINT_EVERY, KEPT = 10, 4
PARTS = ("planted", "real")


@dataclass
class Tally:
    """What was found."""

    clean_steps: int = 0
    planted: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    false_alarms: Counter[str] = field(default_factory=Counter)
    cause_right: int = 0
    restart_right: int = 0
    wrong: list[str] = field(default_factory=list)


class Watch:
    """All rules over one run, each told every step."""

    def __init__(self) -> None:
        self.ours, self.peers = Detector(), {name: rule() for name, rule in PEERS.items()}

    def see(self, reading: Reading) -> tuple[Verdict, set[str]]:
        """Our verdict, and the peers that alarm."""
        verdict = self.ours.judge(reading)
        return verdict, {n for n, r in self.peers.items() if r.alarms(reading.loss, reading.gradient_norm)}


def run(options: Options) -> Iterator[Comparison]:
    """Both parts."""
    if "real" in (options.only or PARTS):
        yield from _real()
    if "planted" in (options.only or PARTS):
        yield from _with_faults(options)


def _real() -> Iterator[Comparison]:
    """False alarms of all rules over the recorded curves, and bad batches found."""
    if not RECORDED.exists():
        words = f"there are no held-out curves: python -m benchmarks.spike_curves held-out --out {RECORDED}"
        print(f"{words} --demo RUNS, with the runs of `make demo`")
        return
    real = judged(recorded(RECORDED))
    print(f"{real.asked_again} of {real.steps:,} real steps would be measured again")
    for line in real.alarms:
        print(line)
    yield from _false_alarms(real.false_alarms, real.steps, "real")
    total = sum(real.bad.values())
    for peer in PEERS:
        ours, theirs = real.found["ours"] / total, real.found[peer] / total
        yield Comparison(
            f"recall, {total} bad batches on real curves", peer, ours, theirs, "share", _ratio(ours, theirs), None
        )


def _false_alarms(counts: Counter[str], steps: int, kind: str) -> Iterator[Comparison]:
    for peer in PEERS:
        ours, theirs = (counts[name] * 10_000 / steps for name in ("ours", peer))
        what = f"false alarms in 10,000 steps ({steps:,} {kind})"
        yield Comparison(what, peer, ours, theirs, "alarms", _ratio(theirs, ours), None)


def _with_faults(options: Options) -> Iterator[Comparison]:
    """Tally, then compare."""
    torch.set_num_threads(1)
    tally = Tally()
    for seed in range(4 if options.quick else 25):
        _one(seed, tally)
    for line in tally.wrong:
        print(line)
    yield from _compared(tally)


def _one(seed: int, tally: Tally) -> None:
    """A clean run, and the runs that branch off."""
    chance = random.Random(seed)
    at = sorted(chance.sample(range(FIRST_PLANT, NUM_STEPS - WITHIN), 8))
    tiny, watch = TinyRun(seed, NUM_STEPS), Watch()
    seen: list[Reading] = []
    checkpoints: dict[int, Any] = {}
    for step in range(1, NUM_STEPS + 1):
        if step in at:
            fault = list(faults(chance, step).values())[at.index(step) % 4]
            _planted(tiny.branch(tiny.state(), step, fault), seen, checkpoints, tally)
        reading = tiny.read(step)
        verdict, peers = watch.see(reading)
        seen.append(reading)
        tally.clean_steps += 1
        alarm = verdict.signal is not None and diagnose(tiny, reading, verdict, watch.ours) is not None
        tally.false_alarms.update(peers | ({"ours"} if alarm else set()))
        watch.ours.accept(reading, verdict)
        tiny.update(reading)
        _keep(checkpoints, tiny, step)


def _keep(checkpoints: dict[int, Any], tiny: TinyRun, step: int) -> None:
    if step % CHECKPOINT_EVERY == 0:
        checkpoints[step] = tiny.state()
        for old in sorted(checkpoints)[:-KEPT]:
            del checkpoints[old]


def _planted(tiny: TinyRun, seen: list[Reading], kept: dict[int, Any], tally: Tally) -> None:
    """Go on from the fault; all rules are told of the steps until it is found or too late."""
    fault, watch, checkpoints = tiny.fault, Watch(), dict(kept)
    assert fault is not None, "a branch has a fault"
    for reading in seen:
        verdict, _ = watch.see(reading)
        watch.ours.accept(reading, verdict)
    tally.planted[fault.cause] += 1
    found: set[str] = set()
    for step in range(tiny.planted, tiny.planted + WITHIN):
        reading = tiny.read(step)
        verdict, peers = watch.see(reading)
        found |= peers
        if (
            verdict.signal
            and "ours" not in found
            and _explained(tiny, reading, verdict, (watch.ours, checkpoints, tally))
        ):
            found.add("ours")
        if "ours" not in found:
            watch.ours.accept(reading, verdict)
        tiny.update(reading)
        _keep(checkpoints, tiny, step)
    tally.found.update(found | ({f"ours, {fault.cause}"} if "ours" in found else set()))
    if "ours" not in found:
        tally.wrong.append(f"not found: {fault.name} at step {tiny.planted} of run {tiny.seed}")


def _explained(tiny: TinyRun, reading: Reading, verdict: Verdict, rest: tuple[Detector, dict[int, Any], Tally]) -> bool:
    """Name the cause, and go back; the branch then goes on from where it was. False: it is held for no spike."""
    detector, checkpoints, tally = rest
    fault, before = tiny.fault, tiny.state()
    assert fault is not None, "a branch has a fault"
    found = diagnose(tiny, reading, verdict, detector)
    if found is None:
        return False
    tally.cause_right += found.cause == fault.cause
    step = restart(tiny, checkpoints, found.onset, (detector, verdict), lambda s: tiny.load(checkpoints[s]))
    tiny.load(before)
    newest = max(s for s in checkpoints if s < tiny.planted)
    tally.restart_right += step == newest
    if found.cause != fault.cause or step != newest:
        tally.wrong.append(_words(tiny, fault, found, step))
    return True


def _words(tiny: TinyRun, fault: Fault, found: Diagnosis, step: int | None) -> str:
    where = f"{fault.name} ({fault.cause}) at step {tiny.planted} of run {tiny.seed}"
    return f"{where}: {found.cause} since {found.onset}, restart {step}; {found.evidence}"


def _compared(tally: Tally) -> Iterator[Comparison]:
    total = sum(tally.planted.values())
    for peer in PEERS:
        ours, theirs = tally.found["ours"] / total, tally.found[peer] / total
        yield Comparison(f"recall, {total} planted spikes", peer, ours, theirs, "share", _ratio(ours, theirs), None)
    yield from _false_alarms(tally.false_alarms, tally.clean_steps, "of tiny runs")
    for cause, count in sorted(tally.planted.items()):
        share = tally.found[f"ours, {cause}"] / count
        yield Comparison(f"recall, {count} of class {cause}", "goal", share, 0.98, "share", share / 0.98, None)
    found = tally.found["ours"]
    for what, right, goal in (("cause", tally.cause_right, 0.9), ("restart step", tally.restart_right, 1.0)):
        share = right / max(found, 1)
        yield Comparison(f"{what} right, of {found} found", "goal", share, goal, "share", share / goal, None)


def _ratio(better: float, worse: float) -> float:
    return better / worse if worse else (math.inf if better else 1.0)


if __name__ == "__main__":
    main("spikes", run, PARTS)
