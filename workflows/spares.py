"""Runs a many-node command on some of a job's nodes and keeps the others as spares; a node that fails is replaced.

    python -m workflows.spares --nodes 512 --devices 12 -- mpiexec -n 6144 -ppn 12 ... python -m stages.pretrain ...

Argonne's logs show why this must look before it swaps: of 132 blind swaps 123 helped nothing, and 47 runs spent all spares on faults that
no node had (saforem2/torchtitan, docs/, 2026). So after a failure each node is asked to do something by itself: write, read, multiply
on each of its devices (`workflows.probe`). Nodes that cannot are replaced and the command runs again, from its last checkpoint;
if all can, the fault is systemic, and the command's exit code goes to whoever called. Two attempts without a step are the end,
whoever is to blame. Each decision is a line of `log/spares.jsonl` in the stage's folder. What it gives up: a node that answers
and is merely slow.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import FrameType
from typing import Literal, NamedTuple

from stages.base import SettingsError

Verdict = Literal["done", "node", "systemic", "no spare", "no progress", "ended"]
MAX_IDLE = 2  # attempts in a row without a step
AT_ONCE = 64  # nodes that are asked at a time
PROBE_SECONDS = 120.0  # for a node's answer
NO_FAULT_OF_A_NODE = frozenset({2, 3, 126, 127})  # settings, contract, a command that is not there
NO_SPARE = "no spare node is left"  # a sign of the class node-lost, see workflows.failures.classify


class Attempt(NamedTuple):
    """One run of the command, and what was concluded from it."""

    number: int
    code: int
    reached: int
    verdict: Verdict
    lost: tuple[str, ...]
    replaced_by: tuple[str, ...]


class Spares:
    """The nodes of a job: those that work and those that wait."""

    def __init__(
        self, hosts: Sequence[str], nodes: int, devices: int = 0, probe_seconds: float = PROBE_SECONDS
    ) -> None:
        if not 1 <= nodes <= len(hosts):
            raise SettingsError(f"--nodes {nodes}: the job has {len(hosts)} node(s): {', '.join(hosts[:8])}")
        self.active, self.waiting = list(hosts[:nodes]), list(hosts[nodes:])
        self.attempts: list[Attempt] = []
        self._devices, self._seconds = devices, probe_seconds
        self._running: subprocess.Popen[bytes] | None = None
        self._ended = False

    def run(self, command: Sequence[str]) -> int:
        """Run until the command ends well or nothing more can be done; its exit code."""
        best, idle = reached(command), 0
        while True:
            code, now = self._attempt(command), reached(command)
            idle, best = (0, now) if now > best else (idle + 1, best)
            verdict, lost = self._judge(command[0], code, idle)
            instead = [self.waiting.pop(0) for _ in lost] if verdict == "node" else []
            attempt = Attempt(len(self.attempts) + 1, code, now, verdict, tuple(lost), tuple(instead))
            self.attempts.append(attempt)
            record(command, attempt)
            if verdict != "done":
                print(f"spares: {describe(attempt)}", file=sys.stderr, flush=True)
            if verdict != "node":
                return 1 if verdict == "no spare" else code
            self.active = [host for host in self.active if host not in lost] + instead

    def end(self, *_: int | FrameType | None) -> None:
        """Pass on that the job is over."""
        self._ended = True
        if self._running is not None:
            self._running.terminate()

    def _attempt(self, command: Sequence[str]) -> int:
        with NamedTemporaryFile("w", prefix="hosts-") as file:
            file.write("\n".join(self.active) + "\n")
            file.flush()
            self._running = subprocess.Popen([command[0], "--hostfile", file.name, *command[1:]])
            code = self._running.wait()
        return code if code >= 0 else 128 - code

    def _judge(self, launcher: str, code: int, idle: int) -> tuple[Verdict, list[str]]:
        """Whose fault a failure is, and the nodes that have it."""
        if code == 0:
            return "done", []
        if self._ended:
            return "ended", []
        if code in NO_FAULT_OF_A_NODE:
            return "systemic", []
        lost = self._silent(launcher)
        if not lost:
            return "systemic", []
        if idle >= MAX_IDLE:
            return "no progress", lost
        return ("node" if len(lost) <= len(self.waiting) else "no spare"), lost

    def _silent(self, launcher: str) -> list[str]:
        """Nodes at work that cannot do something by themselves. Spares that cannot are not counted on any more."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = dict(
                zip(
                    hosts := [*self.active, *self.waiting],
                    pool.map(partial(self._answers, launcher), hosts),
                    strict=True,
                )
            )
        self.waiting = [host for host in self.waiting if answers[host]]
        return [host for host in self.active if not answers[host]]

    def _answers(self, launcher: str, host: str) -> bool:
        probe = [sys.executable, "-m", "workflows.probe", str(self._devices)]
        command = [launcher, "-n", "1", "--ppn", "1", "--hosts", host, *probe]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                return process.wait(self._seconds) == 0
            except subprocess.TimeoutExpired:
                process.kill()
                return False


def describe(attempt: Attempt) -> str:
    """What happened and what is done about it, in words."""
    head = f"attempt {attempt.number} ended with exit {attempt.code} at step {attempt.reached}"
    lost = f"{', '.join(attempt.lost)} cannot work alone"
    match attempt.verdict:
        case "node":
            return f"{head}; {lost}; going on with {', '.join(attempt.replaced_by)}"
        case "no spare":
            return f"{head}; {lost}; {NO_SPARE}"
        case "no progress":
            return f"{head}; {lost}, and {MAX_IDLE} attempts in a row have taken no step: stopped"
        case "ended":
            return f"{head}: the job is over"
    return f"{head}; every node works alone: no spare is spent on it"


def reached(command: Sequence[str]) -> int:
    """How far the stage of a command is, by its own progress; 0 if it says nothing."""
    files = sorted((out / "progress").glob("*.json")) if (out := output(command)) else []
    with suppress(FileNotFoundError, json.JSONDecodeError, KeyError):
        return int(json.loads(files[0].read_text())["done"]) if files else 0
    return 0


def output(command: Sequence[str]) -> Path | None:
    """The output folder of the stage that a command runs, if it is one."""
    return Path(command[command.index("--out") + 1]) if "--out" in command else None


def record(command: Sequence[str], attempt: Attempt) -> None:
    """Keep what was decided, beside the stage's log."""
    if out := output(command):
        file = out / "log" / "spares.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as lines:
            lines.write(
                json.dumps({"time": datetime.now(UTC).isoformat(timespec="seconds"), **attempt._asdict()}) + "\n"
            )


def nodes_of_job() -> list[str]:
    """The hosts of the job that we are in, each once."""
    file = os.environ.get("PBS_NODEFILE")
    if file is None:
        raise SettingsError("spares need a PBS job: PBS_NODEFILE is not set")
    return list(dict.fromkeys(Path(file).read_text().split()))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m workflows.spares", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--nodes", type=int, required=True, metavar="N", help="nodes to work on; the job's others are spares"
    )
    parser.add_argument("--devices", type=int, default=0, metavar="N", help="accelerators that each node must have")
    words = f"for a node's answer (default: {PROBE_SECONDS:g})"
    parser.add_argument("--probe-seconds", type=float, default=PROBE_SECONDS, metavar="S", help=words)
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- mpiexec ... (`--hostfile` is put in)")
    options = parser.parse_args(arguments)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        parser.error("no command: ... -- mpiexec -n N ...")
    try:
        spares = Spares(nodes_of_job(), options.nodes, options.devices, options.probe_seconds)
    except SettingsError as error:
        print(f"spares: {error}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, spares.end)
    return spares.run(command)


if __name__ == "__main__":
    sys.exit(main())
