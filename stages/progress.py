"""Progress of a running stage: a small JSON file that the runner and `parsl status` read, and lines on standard error."""

import json
import sys
import time
from pathlib import Path

FILE_SECONDS = 0.5
LINE_SECONDS = 10.0


class Progress:
    """How far a shard is. Calls cost a clock reading; the file is rewritten at most twice a second."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.total: int | None = None
        self.unit = "rows"
        self._started = self._file_at = self._line_at = time.monotonic()
        self._done = 0
        self._before = 0

    def start(self, unit: str, total: int | None = None, done: int = 0) -> None:
        """Begin a piece of work of `total` units, `done` of which an earlier run has done."""
        self.unit, self.total, self._before, self._done = unit, total, done, done
        self._started = time.monotonic()
        self._write(self.state())

    def advance(self, count: int = 1, **values: float) -> None:
        """`count` more units are done; `values` (a loss, say) are shown as they are."""
        self.reach(self._done + count, **values)

    def reach(self, done: int, **values: float) -> None:
        """Now `done` units are done in all."""
        self._done = done
        now = time.monotonic()
        if now - self._file_at >= FILE_SECONDS:
            self._file_at = now
            state = self.state(**values)
            self._write(state)
            if now - self._line_at >= LINE_SECONDS:
                self._line_at = now
                print(describe(state), file=sys.stderr, flush=True)

    def state(self, **values: float) -> dict[str, object]:
        """Units done, of how many, how fast, how long still."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        rate = (self._done - self._before) / seconds
        left = (self.total - self._done) / rate if self.total and rate else None
        numbers = {"done": self._done, "total": self.total, "per_second": round(rate, 3), "seconds_left": left}
        return {"unit": self.unit, **numbers, "values": {k: float(v) for k, v in values.items()}}

    def _write(self, state: dict[str, object]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.file.with_suffix(".tmp")
        temporary.write_text(json.dumps(state))
        temporary.replace(self.file)


def describe(state: dict[str, object]) -> str:
    """One line: `120/400 steps, 3.2/s, 88 s left, loss 3.21`."""
    total = f"/{state['total']}" if state["total"] else ""
    words = [f"{state['done']}{total} {state['unit']}", f"{state['per_second']:.3g}/s"]
    left, values = state["seconds_left"], state["values"]
    if isinstance(left, float):
        words.append(f"{left:.0f} s left")
    if isinstance(values, dict):
        words += [f"{name} {value:.4g}" for name, value in values.items()]
    return ", ".join(words)
