"""`parsl plan --layouts` and `parsl plan --failures`: a model and a machine in, a table out."""

import argparse
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from stages.base import SettingsError
from workflows.plan.choose import USABLE, Option, options
from workflows.plan.layout import Run
from workflows.plan.machine import ACCELERATORS, GIB, Machine, accelerator
from workflows.plan.shape import PRESETS, preset
from workflows.site import Site, load_site

SHOWN = 8
TRILLION, DAY = 1e12, 86_400
BAND = (
    "published runs on these devices reached 0.76 to 1.08 times such a figure (10% to 90%), 0.5 to 1.3 times on Aurora"
)


def add_flags(verb: argparse.ArgumentParser) -> None:
    """The flags of both, as groups of their own."""
    group = verb.add_argument_group("--layouts: how to cut up a training run")
    group.add_argument("--layouts", action="store_true", help="rank the layouts of a model on a site; needs no recipe")
    group.add_argument("--preset", metavar="MODEL", help=f"one of {', '.join(PRESETS)}")
    group.add_argument("--nodes", type=int, metavar="N", help="nodes (default: the site's)")
    group.add_argument(
        "--sequence-tokens", type=int, default=8192, metavar="N", help="tokens a sequence (default: 8192)"
    )
    group.add_argument("--batch-sequences", type=int, metavar="N", help="sequences a step (default: two a device)")
    names = ", ".join(ACCELERATORS)
    group.add_argument("--device", metavar="NAME", help=f"instead of the site's: {names}")
    group.add_argument("--devices-per-node", type=int, metavar="N", help="with --device (default: 8)")
    group.add_argument(
        "--network-gbytes", type=float, metavar="GB/S", help="with --device: a node's network (default: 200)"
    )
    group.add_argument("--top", type=int, default=SHOWN, metavar="N", help=f"layouts to show (default: {SHOWN})")


def layouts(choices: argparse.Namespace, console: Console) -> int:
    """Rank the layouts of a preset on a site, and say why the others do not fit."""
    if not choices.preset:
        raise SettingsError(f"parsl plan --layouts: name a model: --preset {' | '.join(PRESETS)}")
    shape, machine = preset(choices.preset), machine_of(choices)
    batch = choices.batch_sequences or 2 * machine.devices
    run = Run(shape, choices.sequence_tokens, batch)
    found = options(run, machine)
    device, size = machine.accelerator, run.shape.num_weights / 1e9
    console.print(
        f"{choices.preset}, {size:.1f} G weights, on {machine.nodes} x {machine.per_node} devices of ", end=""
    )
    console.print(
        f"{device.memory_gib:.0f} GiB; {batch} x {run.sequence_tokens} tokens a step, fp32 states, bf16 products\n"
    )
    show(found, run, machine, choices.top, console)
    return 0


def show(found: Sequence[Option], run: Run, machine: Machine, top: int, console: Console) -> None:
    """A line a layout that fits, then how many do not and why."""
    fitting = [option for option in found if not option.problems]
    table = Table(box=None, padding=(0, 2, 0, 0))
    headings = ("layout", "GiB", "tokens/s", "a device", "of peak", "days/T tokens", "spent on")
    for heading in headings:
        table.add_column(
            heading, header_style="dim", justify="left" if heading in (headings[0], headings[-1]) else "right"
        )
    for option in fitting[:top]:
        table.add_row(*_cells(option, run, machine))
    if fitting:
        console.print(table)
    console.print(
        f"\n{len(fitting)} of {len(found)} layouts fit ({USABLE:.0%} of a device's memory is counted as usable)."
    )
    console.print(f"Predicted: {BAND}.", markup=False)
    for line in refusals(found):
        console.print(line, markup=False)


def refusals(found: Sequence[Option]) -> list[str]:
    """How many layouts fail for each kind of reason, with the one among them that needs the least memory."""
    reasons, example = Counter[str](), dict[str, str]()
    for option in sorted(found, key=lambda option: option.memory.total):
        for problem in option.problems:
            kind = _kind(problem)
            reasons[kind] += 1
            example.setdefault(kind, f"{option.layout}: {problem}")
    return [f"{count:5d} do not: {kind}. The smallest is {example[kind]}" for kind, count in reasons.most_common()]


def _kind(problem: str) -> str:
    if problem.startswith("needs "):
        return "too little memory"
    return "slow links inside layers" if "fast links" in problem else "sizes that do not divide"


def _cells(option: Option, run: Run, machine: Machine) -> tuple[str, ...]:
    total, step = option.tokens_per_second, option.step
    operations = 6 * run.shape.num_weights + 6 * run.shape.num_layers * run.sequence_tokens * run.shape.width
    parts = {"products": step.products, "attention": step.attention, "element-wise": step.elementwise}
    parts |= {"groups": step.tensor, "states": step.states + step.optimizer, "bubble": step.bubble}
    spent = ", ".join(f"{name} {share:.0%}" for name, value in parts.items() if (share := value / step.seconds) >= 0.05)
    return (
        str(option.layout),
        f"{option.memory.total / GIB:.1f}",
        f"{total:,.0f}",
        f"{total / machine.devices:,.0f}",
        f"{total * operations / (machine.devices * machine.accelerator.tflops * 1e12):.0%}",
        f"{TRILLION / total / DAY:.1f}",
        spent,
    )


def machine_of(choices: argparse.Namespace) -> Machine:
    """The machine that the flags name, or the site's nodes."""
    if choices.device:
        network = 200.0 if choices.network_gbytes is None else choices.network_gbytes
        return Machine(accelerator(choices.device), choices.devices_per_node or 8, choices.nodes or 1, network)
    site = load_site(choices.site)
    machine = site_machine(site, choices.nodes)
    if machine is None:
        known = ", ".join(ACCELERATORS)
        raise SettingsError(
            f"site {site.name} does not say which accelerators it has: name them with --device ({known})"
        )
    return machine


def site_machine(site: Site, nodes: int | None = None) -> Machine | None:
    """The nodes of a site's many-node jobs, or so many of them; None where the accelerator is not known."""
    if site.cluster is None or not site.cluster.node.accelerator:
        return None
    shape = site.cluster.node
    return Machine(
        accelerator(shape.accelerator), shape.devices, nodes or site.resources["gpus"].nodes, shape.network_gbytes
    )
