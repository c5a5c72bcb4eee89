"""What a stage would cost on a site, in node-hours, with the basis of the number; and what must be copied there first.

An estimate goes by the stage's last run under the same root, in proportion to the rows that it reads; where it has never run, only
training has a figure: 6 operations a parameter and token, at 30% of the rate that a matrix product was measured to reach.
"""

from collections.abc import Sequence
from typing import NamedTuple

from schemas.manifest import Manifest
from workflows.base import Node
from workflows.explain import latest
from workflows.facility import KNOWN
from workflows.site import Resource, Site

OPERATIONS = 6  # a parameter and token, forward and backward: Kaplan et al. 2020, section 2.1
UTILIZATION = 0.3  # of the measured rate; an assumption, to be replaced by the first run's own
WIDTH_PER_LAYER = 64  # `stages.model.network`, which imports torch


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
    if node.stage.name == "pretrain" and site.cluster and site.cluster.node.device_tflops:
        return _by_operations(node, nodes, site)
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


def _by_operations(node: Node, nodes: Sequence[Node], site: Site) -> Estimate:
    assert site.cluster
    by_stage = {n.stage.name: n.stage.model_dump() for n in nodes}
    index, words, settings = by_stage.get("index", {}), by_stage.get("train_tokenizer", {}), node.stage.model_dump()
    tokens = index.get("sequence_tokens", 0) * index.get("batch_sequences", 0) * index.get("num_steps", 0)
    width = settings["width"] or WIDTH_PER_LAYER * settings["depth"]
    parameters = 12 * settings["depth"] * width**2 + words.get("vocab_size", 0) * width
    shape = site.cluster.node
    seconds = OPERATIONS * parameters * tokens / (UTILIZATION * shape.device_tflops * 1e12 * shape.devices)
    basis = f"6 operations x {parameters:.2g} parameters x {tokens:.2g} tokens at {UTILIZATION:.0%} of {shape.device_tflops}"
    return Estimate(seconds / 3600, f"{basis} TFLOP/s a device (site-configs/{site.name}.md); start-up not counted")


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
