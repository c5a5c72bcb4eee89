"""Tensors that stand still: what share of a tensor's elements a step changes, and by how many units of their last place.

A bf16 weight of 1.0 has a last place of 2^-8, so an update of 1e-5 leaves it as it is: norms of large runs were frozen so for
thousands of steps, with a loss that looked well. Looked at every so many steps, before and after the update, by at most
4096 elements of each tensor at equal distances (of matrices: 512 rows and 8 columns, so that whole rows can be told to
stand still), which costs the same for any size of model. What it gives up: what happens to the other elements.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from schemas.health import TensorHealth
from stages.model.distributed import said
from stages.model.parallelize import Layout

MAX_ROWS, MAX_COLUMNS = 512, 8
FROZEN_FRACTION = 0.01  # of the elements changed: with fp32 weights nearly all are, unless their gradient is zero
MANTISSA_BITS = {torch.float32: 23, torch.bfloat16: 7, torch.float16: 10, torch.float64: 52}

Named = Iterable[tuple[str, Tensor]]


class Sample(NamedTuple):
    """Some elements of a tensor, rows x columns (one row for a vector), copied."""

    name: str
    values: Tensor


def parameters(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """What this rank holds of each parameter, by name."""
    for name, parameter in network.named_parameters():
        yield name, parameter.to_local() if isinstance(parameter, DTensor) else parameter


def sampled(named: Named) -> list[Sample]:
    """Elements of each tensor, at equal distances."""
    with torch.no_grad():
        return [Sample(name, _some(tensor.detach())) for name, tensor in named if tensor.numel()]


def compared(step: int, before: Iterable[Sample], after: Iterable[Sample]) -> list[TensorHealth]:
    """What the update between two samples of the same tensors did."""
    return [_row(step, one, two) for one, two in zip(before, after, strict=True)]


def of_all_stages(rows: Sequence[TensorHealth], layout: Layout) -> list[TensorHealth]:
    """The rows of all stages of a pipeline, on every rank of it; of what several stages hold, those of the first."""
    if layout.pipeline is None:
        return list(rows)
    own = json.dumps([row.model_dump() for row in rows])
    found: dict[str, TensorHealth] = {}
    for words in said(own, layout.pipeline, layout.world.device):
        for fields in json.loads(words):
            found.setdefault(fields["tensor"], TensorHealth(**fields))
    return list(found.values())


def complaints(rows: Iterable[TensorHealth]) -> Iterator[str]:
    """Tensors that the step hardly changed, in words."""
    for row in rows:
        if row.changed_fraction < FROZEN_FRACTION:
            words = f"{row.changed_fraction:.2%} of its elements changed, updates of {row.ulp_ratio:.2g} last places"
            yield f"step {row.step}: {row.tensor} stands still: {words}"


def first_not_finite(named: Named) -> str | None:
    """The first of these tensors, in their order, with a NaN or an infinity, and how many of its elements are one."""
    with torch.no_grad():
        for name, tensor in named:
            if not math.isfinite(float(tensor.detach().sum(dtype=torch.float64))):  # far cheaper than a mask
                count = int((~torch.isfinite(tensor)).sum())
                return f"{name}: {count} of {tensor.numel()} elements are not finite"
    return None


def _some(tensor: Tensor) -> Tensor:
    rows = tensor.reshape(1, -1) if tensor.ndim < 2 else tensor.reshape(tensor.shape[0], -1)
    columns = MAX_COLUMNS if tensor.ndim >= 2 else MAX_ROWS * MAX_COLUMNS
    return rows[:: math.ceil(rows.shape[0] / MAX_ROWS), :: math.ceil(rows.shape[1] / columns)].clone()


def _row(step: int, one: Sample, two: Sample) -> TensorHealth:
    before, after = one.values, two.values
    changed = before != after
    ulps = ((after - before).double().abs() / _last_place(before)).flatten()
    rows = changed.any(dim=1)
    return TensorHealth(
        phase="pretrain",
        step=step,
        tensor=one.name,
        num_sampled=before.numel(),
        changed_fraction=float(changed.double().mean()),
        ulp_ratio=float(ulps.median()),
        dead_fraction=float((~rows).double().mean()) if "embedding" in one.name else None,
        largest=float(after.abs().max()),
    )


def _last_place(values: Tensor) -> Tensor:
    """The distance from each value to the next larger one of its format."""
    _, exponents = torch.frexp(values.double())
    smallest = torch.finfo(values.dtype)
    exact = torch.ldexp(torch.ones_like(values, dtype=torch.float64), exponents - 1 - MANTISSA_BITS[values.dtype])
    return exact.clamp(min=float(smallest.tiny) * smallest.eps)
