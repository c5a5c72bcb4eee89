"""What a stage would cost on a site, in node-hours, with the basis of the number; and what must be copied there first.

An estimate goes by the stage's last run under the same root, in proportion to the rows that it reads; where it has never run, only
training has a figure: that of the fastest layout which fits (`workflows.plan`).
"""

from collections.abc import Sequence
from typing import NamedTuple

from schemas.manifest import Manifest
from workflows.base import Node
from workflows.explain import latest
from workflows.facility import KNOWN
from workflows.plan.choose import options
from workflows.plan.command import site_machine
from workflows.plan.layout import Run
from workflows.plan.machine import GIB, Machine
from workflows.plan.shape import of_settings
from workflows.site import Resource, Site


class Estimate(NamedTuple):
    """Node-hours, or None where nothing is known, and why."""

    node_hours: float | None
    basis: str

    def __str__(self) -> str:
        if self.node_hours is None:
            return f"unknown: {self.basis}"
        return f"{self.node_hours:.2g} node-hours: {self.basis}"


def estimate(node: Node, nodes: Sequence[Node], site: Site) -> Estimate:
    """The cost of a node of the graph `nodes` on a site."""
    before = node.manifest() if node.done else latest(node.path.parent, node.path)
    if before is not None and not before.stub:
        return _by_last_run(node, before, site.resources[node.stage.resources])
    if node.stage.name == "pretrain" and (machine := site_machine(site)):
        return _by_layout(node, nodes, machine)
    return Estimate(None, "it has not run under this root; a run on a part of the data gives a figure")


def _by_last_run(node: Node, before: Manifest, resource: Resource) -> Estimate:
    rows = sum(i.num_rows for i in before.inputs.values())
    now = sum(p.node.manifest().outputs[p.output].num_rows for p in node.inputs.values() if p.node.done)
    known = all(p.node.done for p in node.inputs.values())
    factor = now / rows if known and rows and now else 1.0
    host = before.shards[0].host if before.shards else "a machine"
    nodes = 1 if len(before.shards) > 1 else resource.nodes  # shards are tasks of one node, whose times are added up
    words = f"{before.seconds:.1f} s the last time, on {host}" + (
        f", for {factor:.2g} times the rows" if factor != 1 else ""
    )
    return Estimate(before.seconds * factor * nodes / 3600, words)


def _by_layout(node: Node, nodes: Sequence[Node], machine: Machine) -> Estimate:
    by_stage = {n.stage.name: n.stage.model_dump() for n in nodes}
    index, tokenizer = by_stage.get("index", {}), by_stage.get("train_tokenizer", {})
    shape = of_settings(node.stage.model_dump(), tokenizer.get("vocab_size", 0))
    run = Run(shape, index.get("sequence_tokens", 1), index.get("batch_sequences", 1))
    best = options(run, machine)[0]
    if best.problems:
        return Estimate(None, f"no layout fits; the fastest that does not: {best.layout}: {best.problems[0]}")
    tokens = index.get("num_steps", 0) * best.step.tokens
    rate = f"{best.tokens_per_second:,.0f} tokens/s, {best.memory.total / GIB:.1f} GiB a device"
    basis = f"{tokens:.2g} tokens; fastest layout: {best.layout}: {rate} (predicted; parsl plan --layouts); start-up not counted"
    return Estimate(tokens / best.tokens_per_second / 3600 * machine.nodes, basis)


def copies(nodes: Sequence[Node], site: Site) -> list[str]:
    """Paths in the settings that lie on a filesystem which this site does not mount."""
    ours = {f.name for f in site.cluster.filesystems} if site.cluster else set()
    foreign = [f for f in KNOWN if ours and f.name not in ours]
    found = []
    for node, name in ((n, name) for n in nodes for name in sorted(n.stage.located)):
        value = getattr(node.stage, name)
        for path in map(str, value if isinstance(value, tuple | list) else [value]):
            for filesystem in foreign:
                if any(path.startswith(f"{mount}/") for mount in filesystem.mounts):
                    words = f"{node.stage.name}.{name}={path} is on {filesystem.name}, not mounted on {site.name}"
                    found.append(f"{words}: copy it by Globus Transfer to {site.root.parent}, and name it there")
    return list(dict.fromkeys(found))
