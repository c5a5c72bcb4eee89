"""`parsl plan --parsing OUTPUT`: documents a second on N nodes of a site, from what a parse's pages were measured to take.

    rate(N) = 1 / (1 / (N r) + 1 / R)

r is what a node's cores do, as many workers as cores, each as fast as one was here; R is what the shared file system gives to all nodes.
R is 436 documents a second: so PyMuPDF's 8.4 a second on one node of Polaris come to its published 315 on 128, a plateau that the authors lay
on Lustre (AdaParse, Siebenschuh et al. 2025, arXiv 2505.01435). Services that read pages have devices of their own, so the slower
of both decides. It gives up: start-up, stragglers, making documents of pages and writing tables, and that archives are read with fewer
requests than single files.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from schemas.manifest import Manifest
from schemas.table import ContractError
from stages.base import SettingsError, num_cores
from workflows.site import Site, load_site

LAYER, SERVICES = "pypdfium2", ("served:", "grobid")
FILESYSTEM_RATE = 436.0
MILLION, HOUR = 1e6, 3600
NOUGAT = 8 / 128  # documents a second and node: it scales in a line


class Published(NamedTuple):
    """A parser of the paper: documents a second on one node, from its ratio to Nougat's, and on 128."""

    name: str
    one_node: float
    nodes_128: float


PAPER = (
    Published("PyMuPDF", 135 * NOUGAT, 315),
    Published("AdaParse", 17 * NOUGAT, 78),
    Published("Nougat", NOUGAT, 8),
)


@dataclass(frozen=True)
class Costs:
    """What a parse measured: seconds of processors and of services, by document, with and without reading pages again."""

    num_documents: int
    num_pages: int
    layer: float
    again: float
    services: float
    dearest: str | None
    dearest_seconds: float
    """Seconds that the dearest of the parsers used would take for all pages of a document."""


def costs_of(output: Path) -> Costs:
    """The costs in a parse's manifest; ContractError if it is none, SettingsError if it has read no PDF."""
    manifest = Manifest.read(output)
    if manifest.stage != "parse":
        raise ContractError(str(output), [f"an output of {manifest.stage}, expected one of parse"])
    costs = dict(manifest.costs)
    layer = costs.pop(LAYER, None)
    if layer is None:
        raise SettingsError(
            f"--parsing {output}: no page of a PDF was timed; parse PDFs: parsl run --only parse --force"
        )
    count = _num_pdfs(output)
    readers = {
        n: c
        for n, c in costs.items()
        if n.startswith(SERVICES) or n in manifest.settings["parsers"] or n == manifest.settings["ocr"]
    }
    services = sum(c.seconds for n, c in readers.items() if n.startswith(SERVICES))
    again = sum(c.seconds for n, c in readers.items() if not n.startswith(SERVICES))
    dearest = max(readers, key=lambda n: readers[n].seconds / readers[n].count, default=None)
    whole = readers[dearest].seconds / readers[dearest].count * layer.count / count if dearest else 0.0
    return Costs(count, layer.count, layer.seconds / count, again / count, services / count, dearest, whole)


def _num_pdfs(output: Path) -> int:
    from stages.parse.times import rows

    return len({source for source, _, parser, _ in rows(output) if parser == LAYER})


def rate(nodes: int, node_rate: float, filesystem_rate: float) -> float:
    """Documents a second of so many nodes."""
    return 1 / (1 / (nodes * node_rate) + 1 / filesystem_rate)


def node_rates(costs: Costs, cores: int, devices: int) -> Mapping[str, float]:
    """Documents a second of one node, by what is read."""
    found = {"text layers only": cores / costs.layer, "as this run": cores / (costs.layer + costs.again)}
    if costs.services:
        found["as this run"] = min(found["as this run"], max(devices, 1) / costs.services)
    if costs.dearest:
        by = max(devices, 1) if costs.dearest.startswith(SERVICES) else cores
        found[f"every page by {costs.dearest}"] = 1 / max(costs.layer / cores, costs.dearest_seconds / by)
    return found


def add_flags(verb: argparse.ArgumentParser) -> None:
    """The flags, as a group of their own."""
    group = verb.add_argument_group("--parsing: how fast a corpus is parsed on more nodes (with --nodes)")
    words = "from the times in this output of parse, runs/parse/FINGERPRINT; needs no recipe"
    group.add_argument("--parsing", type=Path, metavar="OUTPUT", help=words)
    words = f"documents a second that the shared file system gives (default: {FILESYSTEM_RATE:g}, Polaris by its published plateau)"
    group.add_argument("--filesystem-rate", type=float, default=FILESYSTEM_RATE, metavar="N", help=words)
    group.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw it into this PNG file, with the published points"
    )


def parsing(choices: argparse.Namespace, console: Console) -> int:
    """Print documents a second and node-hours by number of nodes, and how the model does on the published points."""
    site, costs = load_site(choices.site), costs_of(choices.parsing)
    if choices.filesystem_rate <= 0:
        raise SettingsError(f"--filesystem-rate {choices.filesystem_rate:g}: must be above 0")
    cores, devices = _node(site)
    rates = node_rates(costs, cores, devices)
    nodes = _nodes(choices.nodes or (site.cluster.nodes if site.cluster else 1))
    console.print(
        f"{costs.num_documents:,} PDFs of {costs.num_pages / costs.num_documents:.1f} pages were timed: {costs.layer:.3g} s for the text layer, "
        f"{costs.again + costs.services:.3g} s for pages read again, a document. {site.description}: {cores} cores a node.\n",
        markup=False,
    )
    console.print(_table(nodes, rates, choices.filesystem_rate))
    console.print(
        f"\nEach core as fast as one here, {choices.filesystem_rate:g} documents a second from the file system."
    )
    console.print(_checked(choices.filesystem_rate), markup=False)
    if choices.plot:
        draw(choices.plot, nodes, rates, lambda n, r: rate(n, r, choices.filesystem_rate))
        console.print(f"plot      {choices.plot}", markup=False)
    return 0


def _node(site: Site) -> tuple[int, int]:
    if site.cluster is None:
        return num_cores(), 0
    return site.cluster.node.cores, site.cluster.node.devices


def _nodes(most: int) -> list[int]:
    return sorted({min(1 << i, most) for i in range(most.bit_length() + 1)})


def _table(nodes: list[int], rates: Mapping[str, float], filesystem_rate: float) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("nodes", header_style="dim", justify="right")
    for name in rates:
        table.add_column(f"{name}, /s", header_style="dim", justify="right")
        table.add_column("node-hours a million", header_style="dim", justify="right")
    for count in nodes:
        found = [rate(count, r, filesystem_rate) for r in rates.values()]
        cells = [c for f in found for c in (f"{f:,.3g}", f"{count * MILLION / f / HOUR:,.0f}")]
        table.add_row(str(count), *cells)
    return table


def _checked(filesystem_rate: float) -> str:
    words = [f"{p.name} {p.nodes_128:g} ({rate(128, p.one_node, filesystem_rate):.3g})" for p in PAPER]
    return f"Published on 128 nodes of Polaris, and what this model makes of one node: {', '.join(words)}."


def draw(file: Path, nodes: list[int], rates: Mapping[str, float], of: Callable[[int, float], float]) -> None:
    """Documents a second against nodes, both logarithmic; the paper's points as marks."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, node_rate in rates.items():
        axes.plot(nodes, [of(n, node_rate) for n in nodes], "-", label=name)
    for mark, paper in zip("s^D", PAPER, strict=True):
        axes.plot(
            [1, 128], [paper.one_node, paper.nodes_128], mark, ls="none", color="0.35", label=f"{paper.name}, published"
        )
    axes.set(xscale="log", yscale="log", xlabel="nodes", ylabel="documents a second")
    axes.set_xticks(ticks := sorted({*nodes, 1, 128}), labels=[str(t) for t in ticks])
    axes.minorticks_off()
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(file, dpi=150)
