"""All layouts of a run on a machine: which fit, how fast they are, and why the others do not.

Sizes of groups are tried from the divisors of what they divide. A tensor group stays on the accelerator's fast links: over slower
ones published runs lose more than half (80B on Aurora: 85 tokens a second and tile with a group of 2, 43 with 6, 23 with 3).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from workflows.plan import memory, speed
from workflows.plan.layout import Layout, Recompute, Run, misfits
from workflows.plan.machine import GIB, Machine

USABLE = 0.9  # of a device's memory: no published run that was out of memory is predicted to need less
MICRO_BATCHES = (1, 2, 4, 8, 16, 32)
KEPT: tuple[Recompute, ...] = ("none", "selective", "full")


@dataclass(frozen=True)
class Option:
    """A layout with what is predicted of it; `problems` is empty where it fits."""

    layout: Layout
    memory: memory.Memory
    step: speed.Step
    problems: tuple[str, ...]

    @property
    def tokens_per_second(self) -> float:
        """Of all devices."""
        return self.step.tokens_per_second


def options(run: Run, machine: Machine) -> list[Option]:
    """Every layout whose groups divide the machine, the fastest that fit first."""
    found = [judge(run, layout, machine) for layout in layouts(run, machine)]
    return sorted(found, key=lambda option: (bool(option.problems), -option.tokens_per_second))


def judge(run: Run, layout: Layout, machine: Machine) -> Option:
    """Predictions for one layout, and what speaks against it."""
    needed, usable = memory.predict(run, layout, machine.accelerator), USABLE * machine.accelerator.memory_gib * GIB
    problems = misfits(run, layout)
    if layout.tensor > (fast := fast_group(machine)):
        problems.append(f"tensor {layout.tensor} leaves the fast links, which join {fast} devices")
    if needed.total > usable:
        problems.append(
            f"{words(needed)}, where {usable / GIB:.0f} GiB of {machine.accelerator.memory_gib:.0f} are usable"
        )
    return Option(layout, needed, speed.predict(run, layout, machine), tuple(problems))


def fast_group(machine: Machine) -> int:
    """The largest group that the accelerator's fastest links join inside a node."""
    return min(machine.per_node, machine.accelerator.links[0][0])


def layouts(run: Run, machine: Machine) -> Iterator[Layout]:
    """Candidates: groups that divide the devices, heads, layers and the batch."""
    sizes = product(
        divisors(min(machine.per_node, run.shape.num_heads), machine.per_node),
        divisors(run.shape.num_layers, run.shape.num_layers),
        divisors(min(machine.per_node, run.shape.num_kv_heads), machine.per_node),
    )
    for tensor, pipeline, context in sizes:
        group = tensor * pipeline * context
        if machine.devices % group or tensor * context > machine.per_node:
            continue
        shared = machine.devices // group * context > 1
        stages = (1, 2, 3) if shared and pipeline == 1 else (1,)
        for zero, micro_batch, kept in product(stages, MICRO_BATCHES, KEPT):
            yield Layout(machine.devices // group, tensor, pipeline, context, zero, micro_batch, kept)


def divisors(most: int, of: int) -> list[int]:
    """Divisors of a number up to a bound."""
    return [n for n in range(1, most + 1) if of % n == 0]


def words(needed: memory.Memory) -> str:
    """A prediction of memory in words."""
    parts = {"states": needed.states, "gathered": needed.gathered, "activations": needed.activations}
    parts |= {"logits": needed.logits, "reserved": needed.reserved}
    each = ", ".join(f"{name} {size / GIB:.1f}" for name, size in parts.items() if size >= 0.05 * GIB)
    return f"needs {needed.total / GIB:.1f} GiB ({each})"
