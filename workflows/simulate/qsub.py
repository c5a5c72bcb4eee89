"""`qsub` as ALCF sets it up: directives of the script, mandatory resources, limits of queues, routing. Refusals exit with 1."""

import argparse
import getpass
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from workflows.facility import Queue, destination, seconds
from workflows.simulate.jobs import Job, Machine, Store


class Refused(Exception):  # noqa: N818 - what PBS does
    """The server does not take the job; the message is what qsub prints."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Submit a script; prints the job's identifier."""
    script = Path((arguments or sys.argv[1:])[-1])
    options = _options([*directives(script.read_text()), *(arguments or sys.argv[1:])])
    store = Store.from_environment()
    try:
        with store.locked():
            job = admit(options, store.machine(), store.jobs(), store.next_id())
            shutil.copy(script, store.script(job))
            store.save(job)
    except Refused as error:
        print(f"qsub: {error}", file=sys.stderr)
        return 1
    print(job.id)
    return 0


def directives(script: str) -> list[str]:
    """The words of the `#PBS` lines, up to the first command."""
    words: list[str] = []
    for line in map(str.strip, script.splitlines()):
        if line.startswith("#PBS "):
            words += line.removeprefix("#PBS ").split(maxsplit=1)
        elif line and not line.startswith("#"):
            break
    return words


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="qsub")
    for flag in ("-A", "-q", "-N", "-o", "-e", "-S", "-m", "-k", "-r"):
        parser.add_argument(flag, default="")
    parser.add_argument("-l", action="append", default=[])
    parser.add_argument("script")
    return parser.parse_args(words)


def admit(options: argparse.Namespace, machine: Machine, jobs: Sequence[Job], identifier: str) -> Job:
    """The queued job that the options describe; `Refused` with PBS's words."""
    asked = dict(part.partition("=")[::2] for text in options.l for part in text.split(","))
    if not options.A:
        raise Refused("Account_Name is required to be set.")
    for name in ("walltime", "filesystems"):
        if not asked.get(name):
            raise Refused(f"Resource: {name} is required to be set.")
    if unknown := set(asked["filesystems"].split(":")) - set(machine.filesystems):
        raise Refused(f"Resource: filesystems has no {', '.join(sorted(unknown))}")
    if options.k not in ("", "doe"):
        raise Refused("only -k doe is allowed")
    nodes = _nodes(asked.get("select", "1"), machine)
    queue = _queue(options.q, nodes, asked["walltime"], machine)
    _counts(queue, jobs, options.A)
    return Job(
        id=identifier,
        name=options.N or "STDIN",
        queue=queue.name,
        account=options.A,
        user=getpass.getuser(),
        nodes=nodes,
        walltime_seconds=seconds(asked["walltime"]),
        output=options.o or f"{identifier}.OU",
        error=options.e or f"{identifier}.ER",
        workdir=str(Path.cwd()),
    )


def _nodes(select: str, machine: Machine) -> int:
    """The count of `N:ncpus=C:ngpus=G`, whose resources one node must have."""
    count, *resources = select.split(":")
    have = {"ncpus": machine.node.threads, "ngpus": machine.node.devices, "mem": None, "system": None}
    for name, value in (r.partition("=")[::2] for r in resources):
        if name not in have:
            raise Refused(f"Unknown resource: {name}")
        most = have[name]
        if most is not None and int(value) > most:
            raise Refused(f"Job violates queue and/or server resource limits: {name}={value}, a node has {most}")
    return int(count)


def _queue(name: str, nodes: int, walltime: str, machine: Machine) -> Queue:
    named = next((q for q in machine.queues if q.name == name), None)
    if named is None:
        raise Refused("Unknown queue")
    if not named.direct or named.by_request:
        raise Refused("Unauthorized Request: queue is for routing or by request only")
    if problems := named.misfits(nodes, walltime):
        raise Refused(f"Job violates queue and/or server resource limits: {'; '.join(problems)}")
    runs_in = destination(machine.queues, name, nodes, walltime)
    if runs_in is None:
        raise Refused("Job rejected by all possible destinations")
    return runs_in


def _counts(queue: Queue, jobs: Sequence[Job], account: str) -> None:
    """The limits on jobs that are in a queue, running or not."""
    there = [j for j in jobs if j.queue == queue.name and j.state != "F"]
    ours = [j for j in there if j.user == getpass.getuser()]
    if queue.per_user is not None and len(ours) >= queue.per_user:
        raise Refused(f"would exceed queue {queue.name}'s per-user limit of {queue.per_user} job(s)")
    waiting = [j for j in there if j.account == account and j.state == "Q"]
    if queue.per_project is not None and len(waiting) >= queue.per_project:
        raise Refused(f"would exceed queue {queue.name}'s per-project limit of {queue.per_project} job(s)")
