"""`mpiexec` of Cray PALS: checks its options against the job and the node, then starts the ranks on this machine.

`SIMULATED_RANKS_PER_NODE` starts so many ranks a node at most, with a world of that size. All ranks end when one fails. A host
whose name stands in the machine's file `broken` kills what runs on it.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from workflows.facility import processors
from workflows.simulate.jobs import Machine, Store

POLL_SECONDS = 0.05
NODE = "SIMULATED_NODE"


def main(arguments: Sequence[str] | None = None) -> int:
    """Start the ranks and wait for them; the exit code is the first that is not 0."""
    options = _parser().parse_args(arguments)
    hosts = _hosts(options)
    problems = check(options, hosts, Store.from_environment().machine())
    if problems:
        _refuse("; ".join(problems))
    most = int(os.environ.get("SIMULATED_RANKS_PER_NODE", "0")) or options.ppn
    per_node = min(options.ppn, most)
    ranks = min(options.n, per_node * len(hosts))
    if ranks < options.n:
        print(f"mpiexec: simulated, {ranks} of {options.n} ranks start", file=sys.stderr, flush=True)
    extra = dict(pair.partition("=")[::2] for pair in options.env)
    worlds = [{**os.environ, **extra, **world(r, ranks, per_node, hosts)} for r in range(ranks)]
    processes = [subprocess.Popen(options.command, env=env) for env in worlds]
    signal.signal(signal.SIGTERM, lambda *_: _end(processes))
    return _wait(processes, [env[NODE] for env in worlds])


def world(rank: int, size: int, per_node: int, hosts: Sequence[str]) -> dict[str, str]:
    """The variables by which a rank knows its place; nodes are filled one after the other."""
    local, locals_ = str(rank % per_node), str(min(per_node, size))
    place = {"PMI_RANK": str(rank), "PMI_SIZE": str(size), "PMI_LOCAL_RANK": local, "PMI_LOCAL_SIZE": locals_}
    pals = {"PALS_RANKID": str(rank), "PALS_LOCAL_RANKID": local, "PALS_LOCAL_SIZE": locals_}
    return {**place, **pals, NODE: hosts[rank // per_node]}


def check(options: argparse.Namespace, hosts: Sequence[str], machine: Machine) -> list[str]:
    """What the launcher would refuse, or would do badly: hosts, number of ranks, binding."""
    found = []
    given = Path(os.environ["PBS_NODEFILE"]).read_text().split()
    if strangers := set(hosts) - set(given):
        found.append(f"{', '.join(sorted(strangers))} not in this job")
    if options.n > options.ppn * len(hosts):
        found.append(f"{options.n} ranks do not fit {len(hosts)} node(s) of {options.ppn}")
    if options.cpu_bind.startswith("list:"):
        shares = [processors(s) for s in options.cpu_bind.removeprefix("list:").split(":")]
        if len(shares) < min(options.ppn, options.n):
            found.append(f"{len(shares)} entries in --cpu-bind for {options.ppn} ranks a node")
        used = set().union(*shares)
        if used & processors(machine.node.reserved) or max(used) >= machine.node.threads:
            found.append(f"--cpu-bind has processors that are reserved or not there: {options.cpu_bind}")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mpiexec", allow_abbrev=False)
    parser.add_argument("-n", "-np", "--np", dest="n", type=int, required=True)
    parser.add_argument("-ppn", "--ppn", dest="ppn", type=int, default=sys.maxsize)
    parser.add_argument("--hostfile")
    parser.add_argument("-hosts", "--hosts", dest="hosts")
    parser.add_argument("--cpu-bind", default="")
    parser.add_argument("-d", "--depth", dest="depth", type=int, default=1)
    parser.add_argument("-env", "--env", dest="env", action="append", default=[])
    parser.add_argument("--genvall", "--envall", "--no-vni", "--line-buffer", action="store_true")
    parser.add_argument("--gpu-bind")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    return parser


def _hosts(options: argparse.Namespace) -> list[str]:
    if options.hosts:
        return list(options.hosts.split(","))
    file = options.hostfile or os.environ.get("PBS_NODEFILE")
    if file is None:
        _refuse("not in a job: PBS_NODEFILE is not set")
    return list(dict.fromkeys(Path(file).read_text().split()))


def _wait(processes: Sequence[subprocess.Popen[bytes]], nodes: Sequence[str]) -> int:
    store = Store.from_environment()
    while any(p.poll() is None for p in processes):
        broken = store.broken()
        for rank, (process, node) in enumerate(zip(processes, nodes, strict=True)):
            if node in broken and process.poll() is None:
                print(f"{node}: rank {rank} died from signal 9", file=sys.stderr, flush=True)
                process.kill()
                process.wait()
        if any(p.poll() for p in processes):
            _end(processes)
            break
        time.sleep(POLL_SECONDS)
    codes = [p.wait() for p in processes]
    code = next((c for c in codes if c not in (0, -signal.SIGTERM)), next(filter(None, codes), 0))
    return code if code >= 0 else 128 - code


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()


def _refuse(words: str) -> NoReturn:
    print(f"mpiexec: {words}", file=sys.stderr)
    sys.exit(2)
