import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stages.pretrain.health.heartbeat import BUDGET_SECONDS, EXIT_HANG, WORK, Clock, Watchdog

BETWEEN = """
import time
from stages.pretrain.health.heartbeat import Clock, Watchdog

def a_disk_that_does_not_answer():
    time.sleep(1e9)

clock = Clock()
clock.step = 7
with Watchdog(clock, 2, {None: 0.3}):
    with clock.phase("optimizer"):
        pass
    a_disk_that_does_not_answer()
"""
HANG = """
import threading
from stages.pretrain.health.heartbeat import Clock, Watchdog

def waits_for_a_rank_that_never_comes():
    threading.Event().wait()

clock = Clock()
clock.step = 41
with Watchdog(clock, 3, {"exchange": 0.3}):
    with clock.phase("forward_backward"), clock.phase("exchange"):
        waits_for_a_rank_that_never_comes()
"""


@pytest.mark.parametrize(
    ("program", "words", "place"),
    [
        (HANG, "rank 3 has been in exchange of step 41", "waits_for_a_rank_that_never_comes"),
        (BETWEEN, "rank 2 has been between the phases of step 7", "a_disk_that_does_not_answer"),
    ],
    ids=["in a phase", "between phases"],
)
def test_a_hang_ends_with_stacks_and_a_status(program: str, words: str, place: str) -> None:
    """A phase over its budget, or none, names rank, phase and step, shows where every thread stands, and ends the process."""
    root = Path(__file__).parents[4]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == EXIT_HANG
    assert words in done.stderr
    assert place in done.stderr


def test_inner_phases_are_not_counted_twice() -> None:
    """The time of an exchange inside a forward pass is the exchange's alone, and all together is the wall's."""
    clock = Clock()
    started = time.monotonic()
    with clock.phase("forward_backward"), clock.phase("exchange"):
        time.sleep(0.05)
    whole = time.monotonic() - started
    spent = clock.take()
    assert spent["exchange"].seconds >= 0.05
    assert spent["forward_backward"].seconds + spent["exchange"].seconds <= whole
    assert spent["forward_backward"].seconds < spent["exchange"].seconds
    assert all(s.seconds == 0 for s in clock.take().values())


def test_the_longest_piece_is_kept() -> None:
    """Of several pieces of one work the sum and the longest are known."""
    clock = Clock()
    for seconds in (0.0, 0.02):
        with clock.phase("data"):
            time.sleep(seconds)
    spent = clock.take()["data"]
    assert 0.02 <= spent.longest <= spent.seconds


def test_work_that_goes_on_is_let_be() -> None:
    """Inside its budget nothing is late, in a phase or between them."""
    clock = Clock()
    with Watchdog(clock, 0, factor=1.0) as watchdog:
        assert watchdog.late() is None
        with clock.phase("data"):
            assert watchdog.late() is None
    clock._open.append(("data", time.monotonic() - BUDGET_SECONDS["data"] - 1))
    assert "rank 0 has been in data" in (watchdog.late() or "")


def test_a_phase_may_close_while_it_is_looked_at() -> None:
    """A thread that asks without pause, while phases open and close, always gets an answer."""
    clock, stop = Clock(), threading.Event()
    failed: list[Exception] = []

    def ask() -> None:
        while not stop.is_set():
            try:
                assert clock.now[1] <= time.monotonic()
            except Exception as error:  # noqa: BLE001 - a thread's error is nobody's otherwise
                failed.append(error)
                return

    thread = threading.Thread(target=ask)
    thread.start()
    for _ in range(2000):
        with clock.phase("data"), clock.phase("exchange"):
            pass
    stop.set()
    thread.join()
    assert not failed


def test_every_work_has_a_budget() -> None:
    """No phase may last for ever."""
    assert set(BUDGET_SECONDS) == set(WORK)
