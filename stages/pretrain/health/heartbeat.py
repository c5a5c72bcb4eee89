"""What a rank is doing, for how long already, and an end with a reason when that is too long.

Work is in phases (data, forward and backward, exchange, ...), each with a budget. A thread looks at the phase that is open:
past its budget the stacks of all threads go to standard error and the process ends with exit status 70, so that a hang is
seen, has a place in the code, and gives the nodes back. What is between phases (rows, curves, progress on a slow disk) has a budget too. Waiting for other ranks is a phase of its own: the rank that is late
shows as the one that waits least. What it gives up: waiting inside a backward pass that exchanges gradients as it goes
counts as that pass.
"""

import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self, get_args

from schemas.health import Work

EXIT_HANG = 70  # EX_SOFTWARE of sysexits.h: no launcher uses it for a kill
WORK: tuple[Work, ...] = get_args(Work)
BUDGET_SECONDS: dict[Work | None, float] = {
    "data": 900.0,  # a cold file system
    "forward_backward": 1800.0,  # the first one compiles
    "exchange": 1800.0,
    "optimizer": 900.0,
    "checkpoint": 3600.0,
    "validation": 7200.0,
    "watching": 1800.0,
}
BETWEEN_SECONDS = 900.0  # of what is no phase: a few rows are written and shown


@dataclass
class Spent:
    """Seconds of one kind of work: in all, and of the longest piece."""

    seconds: float = 0.0
    longest: float = 0.0

    def add(self, seconds: float) -> None:
        """One more piece."""
        self.seconds += seconds
        self.longest = max(self.longest, seconds)


class Clock:
    """The phases of one rank. Inner phases take their time away from the ones that they are in."""

    def __init__(self) -> None:
        self.spent = {work: Spent() for work in WORK}
        self.step = 0
        self._open: list[tuple[Work, float]] = []  # since when, and what inner phases took
        self._inner: list[float] = []
        self._closed = time.monotonic()

    @contextlib.contextmanager
    def phase(self, work: Work) -> Iterator[None]:
        """The time of the block is this work's."""
        self._open.append((work, time.monotonic()))
        self._inner.append(0.0)
        try:
            yield
        finally:
            self._closed = time.monotonic()  # before it is taken off: the watchdog may look in between
            _, started = self._open.pop()
            whole = self._closed - started
            self.spent[work].add(whole - self._inner.pop())
            if self._inner:
                self._inner[-1] += whole

    @property
    def now(self) -> tuple[Work | None, float]:
        """The innermost open phase, or none between phases, and since when; any thread may ask."""
        innermost = self._open[-1:]  # in one operation: it may close meanwhile
        return innermost[0] if innermost else (None, self._closed)

    def touch(self) -> None:
        """What comes now is between phases, and has just begun."""
        self._closed = time.monotonic()

    def take(self) -> dict[Work, Spent]:
        """What was spent since the last call."""
        spent, self.spent = self.spent, {work: Spent() for work in WORK}
        return spent


class Watchdog:
    """Ends the process when a phase of the clock is open for longer than its budget. A context manager."""

    def __init__(
        self, clock: Clock, rank: int, budgets: Mapping[Work | None, float] | None = None, factor: float = 1.0
    ) -> None:
        self.clock, self.rank = clock, rank
        seconds: dict[Work | None, float] = {None: BETWEEN_SECONDS, **BUDGET_SECONDS, **(budgets or {})}
        self.budgets = {work: factor * budget for work, budget in seconds.items()}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self.clock.touch()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def late(self) -> str | None:
        """The phase that is over its budget, in words."""
        work, since = self.clock.now
        seconds, budget = time.monotonic() - since, self.budgets[work]
        if seconds <= budget:
            return None
        where = f"in {work} of" if work else "between the phases of"
        return f"rank {self.rank} has been {where} step {self.clock.step} for {seconds:.0f} s, allowed are {budget:g}"

    def _watch(self) -> None:
        while not self._stop.wait(min(5.0, min(self.budgets.values()) / 4)):
            if words := self.late():
                print(f"hang: {words}; stacks of all threads:", file=sys.stderr, flush=True)
                faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
                os._exit(EXIT_HANG)
