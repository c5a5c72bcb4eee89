"""Faults injected for real into runs on simulated machines: each ends with the bytes of an unbroken run, or in a clear stop.

Two runs have all the faults, a stage each, so that Parsl's executors start twice and not thirty times.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.long import when_asked
from tests.workflows.simulate.chaos.run import Case, Chaos, table
from workflows.simulate.jobs import FOLDER

pytestmark = [pytest.mark.slow, when_asked("test-chaos")]

STAGE_FAULTS = [
    *(Case("cpu", fault) for fault in ("kill", "memory", "terminate", "lock", "bad block", "refused connection")),
    Case("cpu", "kill at the manifest"),
    Case("cpu", "kill a shard", 3),
    Case("cpu", "kill the commit", 3),
    *(Case("cpu", fault) for fault in ("crash", "bug", "wrong table", "wrong settings", "bad disk", "full device")),
    Case("cpu", "poison"),
    *(Case("cpu", fault) for fault in ("table", "manifest")),  # of these the output is damaged when it is done
    Case("gpus", "smaller queue"),
]
MENDS_ITSELF = {  # fault: classes of its failures, and how often each shard was begun
    "kill": (["out-of-memory"], [2]),
    "memory": (["out-of-memory"], [2]),
    "terminate": (["node-lost"], [2]),
    "bad_block": (["transient-io"], [2]),
    "refused_connection": (["transient-io"], [2]),
    "kill_at_the_manifest": (["out-of-memory"], [2]),
    "kill_a_shard": (["out-of-memory"], [1, 2, 1]),
    "kill_the_commit": (["out-of-memory"], [1, 1, 1]),
}
STOPS = {  # fault: class, what the reason says, and how many attempts it took
    "crash": ("code", "SIGSEGV", 1),
    "bug": ("code", "TypeError", 1),
    "wrong_table": ("contract", "column path: missing", 1),
    "wrong_settings": ("settings", "must be even", 1),
    "bad_disk": ("transient-io", "Input/output error", 4),
    "full_device": ("disk-full", "No space left on device", 1),
    "after_table": ("contract", "bytes, found", 1),
    "after_manifest": ("contract", "manifest.json", 1),
    "smaller_queue": ("settings", "no job: qsub: Job violates queue", 1),
}
MACHINE_FAULTS = [
    Case("cpu", "node lost"),
    Case("cpu", "worker killed"),
    Case("cpu", "qstat fails"),
    Case("gpu", "preempted"),
    Case("gpus", "walltime"),
]
SURVIVED = {
    "node_lost": (["node-lost"], [2]),
    "worker_killed": (["node-lost"], [2]),
    "qstat_fails": ([], [1]),
    "preempted": (["node-lost"], [2]),
    "walltime": (["walltime"], [2]),
}
BLOCKING_SCRIPT = """#!/bin/bash
#PBS -l walltime=01:00:00
#PBS -l select=1
#PBS -l filesystems=home:flare
#PBS -o /dev/null
#PBS -e /dev/null
sleep 3000
"""


class Fragile(Chaos):
    """Three stages read what others made: a table that is cut short, a manifest that is, and what was never made."""

    readers = (("table", "table"), ("manifest", "manifest"), ("bug", ""))


@pytest.fixture(scope="module")
def stages_hurt(tmp_path_factory) -> Iterator[Chaos]:
    """A run on Polaris in which stages, tables and manifests are hurt, and one of whose queues has become smaller."""
    chaos = Fragile(tmp_path_factory.mktemp("polaris"), "polaris", STAGE_FAULTS, heartbeat=600)  # no node is lost here
    try:
        chaos.start()
        shrink_a_queue(chaos)
        chaos.code = chaos.wait()
        yield chaos
    finally:
        chaos.stop()


@pytest.fixture(scope="module")
def mended(stages_hurt: Chaos) -> Chaos:
    """The same run's command again, once every cause is gone, on this machine as it is."""
    stages_hurt.said = stages_hurt.log.read_text()
    stages_hurt.before = {
        name: stages_hurt.outcome(name) for name in (*MENDS_ITSELF, *STOPS, "lock", "poison", "after_bug")
    }
    assert stages_hurt.mend() == 0, stages_hurt.log.read_text()
    return stages_hurt


@pytest.fixture(scope="module")
def machine_hurt(tmp_path_factory) -> Iterator[Chaos]:
    """A run on Aurora whose nodes, workers, jobs and scheduler fail, one after the other."""
    chaos = Chaos(tmp_path_factory.mktemp("aurora"), "aurora", MACHINE_FAULTS, heartbeat=20)
    try:
        chaos.start()
        hurt_the_machine(chaos)
        chaos.code = chaos.wait()
        yield chaos
    finally:
        chaos.stop()


def shrink_a_queue(chaos: Chaos) -> None:
    """From now on a queue takes one node at most, which the site file does not know."""
    folder = chaos.store().folder
    chaos.until((folder / "bin" / "mpiexec").exists)  # written after the machine's description
    words = json.loads((folder / "machine.json").read_text())
    queue = next(q for q in words["queues"] if q["name"] == "debug-scaling")
    queue["max_nodes"] = queue["min_nodes"] = 1
    (folder / "machine.json").write_text(json.dumps(words))


def hurt_the_machine(chaos: Chaos) -> None:
    """All that happens to the machine, each while a stage is in the middle of its work."""
    store = chaos.store()
    script = chaos.folder / "blocking"
    script.write_text(BLOCKING_SCRIPT)
    env = {**chaos.env, FOLDER: str(store.folder)}
    line = [str(store.folder / "bin" / "qsub"), "-q", "debug", "-A", "other", str(script)]
    blocking = subprocess.run(line, env=env, capture_output=True, text=True, check=True).stdout.strip()
    chaos.at("node lost")
    store.ask(chaos.job("capacity").id, "lose")
    chaos.at("walltime")
    store.ask(chaos.job("debug-scaling").id, "expire")
    chaos.at("worker killed")
    stage = int((chaos.marks / f"worker killed-{chaos.numbers['worker_killed']}").read_text())
    status = Path(f"/proc/{stage}/status").read_text()
    os.kill(int(status.split("PPid:")[1].split()[0]), signal.SIGKILL)
    chaos.until(lambda: said(chaos, "would exceed") >= 4)
    store.ask(blocking, "delete")
    chaos.at("preempted")
    store.ask(chaos.job("debug").id, "preempt")
    chaos.at("qstat fails")
    before = said(chaos, "qstat failed")
    store.outage.touch()
    chaos.until(lambda: said(chaos, "qstat failed") >= before + 2)
    store.outage.unlink()
    chaos.release("qstat fails")


def said(chaos: Chaos, words: str) -> int:
    """How often Parsl's log has some words."""
    return sum(f.read_text(errors="replace").count(words) for f in chaos.root.glob("parsl/*/parsl.log"))


@pytest.mark.slow
@pytest.mark.parametrize("fault", list(MENDS_ITSELF))
def test_a_stage_that_fails_once(mended: Chaos, fault: str) -> None:
    """The task that failed, and no other, is done twice, its class is right, and the bytes are those of an unbroken run."""
    kinds, attempts = MENDS_ITSELF[fault]
    outcome = mended.before[fault]
    assert [f.kind for f in outcome.failures] == kinds
    assert outcome.attempts == attempts
    assert outcome.done
    assert outcome.parts == mended.unbroken[fault]
    assert f"{outcome.failures[0].task}: {outcome.failures[0]}" in mended.said


@pytest.mark.slow
def test_a_lock_of_a_dead_worker(mended: Chaos) -> None:
    """While a process that should be dead holds the lock the task waits and is not done twice at a time; then it ends right."""
    outcome = mended.before["lock"]
    kinds = [f.kind for f in outcome.failures]
    assert kinds[0] == "out-of-memory"
    assert set(kinds[1:]) == {"node-lost"}
    assert "another process is at work here" in outcome.failures[1].why
    assert outcome.attempts == [2]
    assert outcome.parts == mended.unbroken["lock"]


@pytest.mark.slow
def test_a_row_that_crashes_the_stage(mended: Chaos) -> None:
    """A row that crashed its stage twice is left out, and all others are as they are without it."""
    outcome = mended.before["poison"]
    assert [(f.kind, f.deed) for f in outcome.failures] == [("bad-row", "resubmitted"), ("bad-row", "quarantined")]
    assert outcome.attempts == [3]
    whole, found = (table(parts[0]).to_pylist() for parts in (mended.unbroken["poison"], outcome.parts))
    assert found == [row for row in whole if row["row_id"] != outcome.failures[0].row]
    assert len(found) == len(whole) - 1


@pytest.mark.slow
@pytest.mark.parametrize("fault", list(STOPS))
def test_a_stage_that_cannot_go_on(mended: Chaos, fault: str) -> None:
    """It stops after as many attempts as its class allows, says class and reason, and goes on to the right end once mended."""
    kind, why, attempts = STOPS[fault]
    outcome = mended.before[fault]
    assert [f.kind for f in outcome.failures] == [kind] * attempts
    assert why in outcome.failures[-1].why
    assert outcome.failures[-1].deed == "stopped"
    assert not outcome.done
    assert f"{fault} failed (exit " in mended.said
    after = mended.outcome(fault)
    assert after.done
    expected = mended.unbroken[fault.removeprefix("after_")]
    assert [table(p) for p in after.parts] == [table(p) for p in expected]


@pytest.mark.slow
def test_what_follows_a_stop_waits(mended: Chaos) -> None:
    """A stage whose input was not made is not begun and has no failure; the run ends with a code that is not 0."""
    assert mended.before["after_bug"].failures == []
    assert not mended.before["after_bug"].done
    assert mended.code in (1, 2, 3)
    assert "after_bug failed" not in mended.said


@pytest.mark.slow
def test_memory_was_halved(mended: Chaos) -> None:
    """The stage that had no room for all workers was given half of them, which is why it went well."""
    assert mended.before["memory"].failures[0].did == "started again with workers / 2"


@pytest.mark.slow
@pytest.mark.parametrize("fault", list(SURVIVED))
def test_a_machine_that_fails(machine_hurt: Chaos, fault: str) -> None:
    """A lost node or worker, a walltime, a preemption and a silent scheduler cost at most one task a worker, done again."""
    kinds, attempts = SURVIVED[fault]
    outcome = machine_hurt.outcome(fault)
    assert [f.kind for f in outcome.failures] == kinds, machine_hurt.log.read_text()
    assert outcome.attempts == attempts
    assert outcome.done
    assert outcome.parts == machine_hurt.unbroken[fault]


@pytest.mark.slow
def test_a_queue_that_is_full(machine_hurt: Chaos) -> None:
    """A job refused four times, as another of the user's is in the queue, is taken when that one ends; the run is well."""
    assert machine_hurt.code == 0, machine_hurt.log.read_text()
    assert said(machine_hurt, "would exceed queue debug's per-user limit") >= 4


@pytest.mark.slow
def test_a_walltime_shows_the_schedulers_line(machine_hurt: Chaos) -> None:
    """The evidence of a walltime is the line that PBS wrote to the job's error file."""
    why = machine_hurt.outcome("walltime").failures[0].why
    assert why.startswith("=>> PBS: job killed: walltime")
