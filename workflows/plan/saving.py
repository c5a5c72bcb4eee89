"""`parsl plan --failures`: the interval between checkpoints and the number of spare nodes for a run on a site."""

import argparse
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from stages.base import SettingsError
from workflows.facility import Queue, seconds
from workflows.plan.failures import HOUR, Conditions, Cost, daly, policies, simulate, young
from workflows.site import load_site

MAX_SPARES = 16
NODE_MTBF_HOURS = (
    6_300  # Llama 3: 419 unexpected interruptions in 54 days of 2,048 nodes (arXiv 2407.21783, section 3.3.4)
)


def add_flags(verb: argparse.ArgumentParser) -> None:
    """The flags, as a group of their own."""
    group = verb.add_argument_group("--failures: how often to save, and how many spare nodes to take (with --nodes)")
    group.add_argument("--failures", action="store_true", help="for a run on a site; needs no recipe")
    words = f"hours a node works between its failures (default: {NODE_MTBF_HOURS}, that of Llama 3's training)"
    group.add_argument("--node-mtbf-hours", type=float, default=NODE_MTBF_HOURS, metavar="H", help=words)
    for name, default, what in (
        ("save", 24.0, "that a save stops training (default: 24, 232 GB on Sunspot)"),
        ("restart", 60.0, "from a failure to training again inside a job (default: 60)"),
        ("start", 600.0, "from a job's start to its first step (default: 600)"),
        ("queue", 4 * HOUR, "from a job's end to the start of the next one (default: 4 hours)"),
    ):
        group.add_argument(f"--{name}-seconds", type=float, default=default, metavar="S", help=f"seconds {what}")


def failures(choices: argparse.Namespace, console: Console) -> int:
    """Print the best interval for each number of spares, the cheapest of them, and both checks."""
    site = load_site(choices.site)
    if site.cluster is None or not site.cluster.queues:
        raise SettingsError(f"site {site.name} has no queues: parsl plan --failures --site aurora | polaris")
    nodes = choices.nodes or site.cluster.nodes
    given = {f"{name}_seconds": getattr(choices, f"{name}_seconds") for name in ("save", "restart", "start", "queue")}
    if problems := [
        f"--{k.replace('_', '-')} {v}: must be above 0" for k, v in given.items() if v <= 0 and k != "queue_seconds"
    ]:
        raise SettingsError("\n".join(problems))
    walltimes = [longest(site.cluster.queues, nodes + spares) for spares in range(MAX_SPARES + 1)]
    conditions = Conditions(nodes, choices.node_mtbf_hours, walltime_seconds=walltimes[0], **given)
    found = policies(conditions, walltimes)
    if not found:
        raise SettingsError(f"site {site.name}: no queue takes {nodes} nodes")
    _show(found, conditions, walltimes, console)
    return 0


def longest(queues: Sequence[Queue], nodes: int) -> float:
    """Seconds of the longest job of so many nodes that any queue takes, 0 where none does."""
    fitting = [q for q in queues if q.min_nodes <= nodes <= q.max_nodes]
    return max(
        (seconds(q.max_walltime) for q in fitting if not (q.by_request or q.preemptible or q.routes_to)), default=0
    )


def _show(found: Sequence[Cost], conditions: Conditions, walltimes: Sequence[float], console: Console) -> None:
    mean, cheapest = conditions.mtbf_seconds, min(found, key=lambda policy: policy.node_hours)
    console.print(
        f"{conditions.nodes} nodes that each work {conditions.node_mtbf_hours:,.0f} h between failures: ", end=""
    )
    console.print(f"one failure in {mean / HOUR:,.1f} h\n")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in (
        "spares",
        "jobs of",
        "save every",
        "node-hours for one of work",
        "simulated",
        "hours for one of work",
        "",
    ):
        table.add_column(heading, header_style="dim", justify="right")
    for policy in found:
        if policy.spares in {0, 1, 2, 4, 8, 16, cheapest.spares}:
            played = simulate(policy, replace(conditions, walltime_seconds=walltimes[policy.spares]))
            mark = "<- fewest node-hours" if policy is cheapest else ""
            figures = (f"{policy.node_hours:.4f}", f"{played.node_hours:.4f}", f"{policy.calendar_hours:.3f}")
            hours = f"{walltimes[policy.spares] / HOUR:.0f} h"
            table.add_row(str(policy.spares), hours, f"{policy.interval_seconds:,.0f} s", *figures, mark)
    console.print(table)
    first, higher = young(conditions.save_seconds, mean), daly(conditions.save_seconds, mean)
    console.print(f"\nsave every {cheapest.interval_seconds:,.0f} s with {cheapest.spares} spare nodes; ", end="")
    console.print(f"Young gives {first:,.0f} s, Daly {higher:,.0f} s for one endless job")
