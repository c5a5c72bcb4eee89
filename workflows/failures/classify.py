"""The class of a failure and the line that shows it, from exception, exit code, signal, log tail and the scheduler's words.

What it gives up: a SIGKILL from outside looks like the kernel's when memory runs out, unless the scheduler says otherwise.
"""

import re
import signal
from collections.abc import Iterator
from typing import NamedTuple

from workflows.failures.record import Kind
from workflows.launch import StageFailed
from workflows.spares import NO_SPARE

MAX_WHY_CHARS = 400
SETTINGS, CONTRACT, NOT_EXECUTABLE, NOT_FOUND = 2, 3, 126, 127  # exit codes: the first two are `stages.command`'s
SIGNALLED = 128
CRASHES = {signal.SIGILL, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV}
ENDED = {signal.SIGHUP, signal.SIGTERM}  # what schedulers and dying parents send
VERDICT = re.compile(r"^stages\.\w+: ", re.MULTILINE)  # a stage's last word, see `stages.command`
OCCUPIED = "another process is at work here"
WALLTIME = re.compile(r"job killed: walltime|DUE TO TIME LIMIT")  # of PBS, of Slurm
SCHEDULER = re.compile(rf"{WALLTIME.pattern}|oom.kill|DUE TO (PREEMPTION|NODE FAILURE)", re.IGNORECASE)

SIGNS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("contract", re.compile(r"Parquet magic bytes|deserialize thrift|Parquet file size is|Unexpected end of stream")),
    ("disk-full", re.compile(r"No space left on device|Disk quota exceeded|errno 28\b|errno 122\b", re.IGNORECASE)),
    (
        "out-of-memory",
        re.compile(
            r"\bMemoryError\b|out of memory|OutOfMemory|OUT_OF_(HOST|DEVICE)_MEMORY|Cannot allocate memory"
            r"|can't allocate memory|bad_alloc|malloc of size \d+ failed|oom.kill",
            re.IGNORECASE,
        ),
    ),
    ("node-lost", re.compile(NO_SPARE)),
    (
        "transient-io",
        re.compile(
            r"Input/output error|Stale (NFS )?file handle|Connection (reset|refused|timed out)|Broken pipe"
            r"|Transport endpoint|Resource temporarily unavailable|Network is (unreachable|down)|No route to host"
            r"|Host is down|Remote I/O error|Interrupted system call|timed out",
            re.IGNORECASE,
        ),
    ),
)


class Cause(NamedTuple):
    """A failure's class, and why it is taken for that."""

    kind: Kind
    why: str
    row: str = ""  # of a bad row


def classify(error: BaseException, job: str = "", row: str = "") -> Cause:
    """The cause of `error`. `job` is what the scheduler wrote while the task ran, `row` the row that the stage was at."""
    if isinstance(error, StageFailed):
        cause = _stage(error, job, row)
    elif type(error).__name__ in ("ManagerLost", "WorkerLost"):
        cause = Cause("walltime", job) if WALLTIME.search(job) else Cause("node-lost", job or str(error))
    elif type(error).__name__ in ("BadStateException", "ScalingFailed"):
        cause = _refused(str(error))
    else:
        words = f"{type(error).__name__}: {error}"
        cause = next(_signs(words), Cause("code", words))
    return cause._replace(why=_short(cause.why))


def _stage(error: StageFailed, job: str, row: str) -> Cause:
    number = error.code - SIGNALLED
    if number == signal.SIGKILL or number in ENDED:
        return _killed(error, job)
    verdict = _verdict(error.tail)
    if verdict and error.code in (SETTINGS, CONTRACT):
        kind: Kind = "settings" if error.code == SETTINGS else "contract"
        return Cause("node-lost" if OCCUPIED in verdict else kind, verdict)
    if error.code in (NOT_EXECUTABLE, NOT_FOUND):
        return Cause("settings", _last(error.tail) or f"the command is not there (exit {error.code})")
    if (sign := next(_signs(verdict or error.tail), None)) is not None:
        return sign
    if number in CRASHES:
        words = f"ended by {_name(number)} (exit {error.code})"
        return Cause("bad-row", f"{words} at row {row}", row) if row else Cause("code", words)
    return Cause("code", verdict or _last(error.tail) or f"exit {error.code}, with no output")


def _killed(error: StageFailed, job: str) -> Cause:
    """A signal that no program can answer or that asks it to end: the scheduler says why, else the log does."""
    if job:
        return Cause("walltime", job) if WALLTIME.search(job) else next(_signs(job), Cause("node-lost", job))
    if error.code - SIGNALLED in ENDED:
        return Cause("node-lost", f"ended from outside, by {_name(error.code - SIGNALLED)} (exit {error.code})")
    said = next((c for c in _signs(error.tail) if c.kind == "out-of-memory"), None)
    words = f"killed by SIGKILL (exit {error.code}) while its worker lived: memory ran out, or somebody killed it"
    return said or Cause("out-of-memory", words)


def _refused(words: str) -> Cause:
    """An executor that got no job, three times: what the submit command said last, as Parsl repeats it."""
    said = words.rpartition("stderr=")[2].strip().splitlines()
    return Cause("settings", f"no job: {said[0] if said else 'the scheduler does not say why'}")


def _signs(text: str) -> Iterator[Cause]:
    """Causes that lines of a text are signs of, the last line first."""
    for line in reversed(text.splitlines()):
        for kind, pattern in SIGNS:
            if pattern.search(line):
                yield Cause(kind, line.strip())


def _verdict(tail: str) -> str:
    """The last word of a stage, which may take several lines; "" if it did not get to that."""
    starts = [m.start() for m in VERDICT.finditer(tail)]
    return tail[starts[-1] :].strip() if starts else ""


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""


def _name(number: int) -> str:
    return signal.Signals(number).name


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= MAX_WHY_CHARS else f"{words[: MAX_WHY_CHARS - 3]}..."
