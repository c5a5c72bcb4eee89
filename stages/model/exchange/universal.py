"""DeepSpeed's universal checkpoint, in: one folder a parameter, whose `fp32.pt` holds the whole master weight.

Names are ours (a run of this project on its DeepSpeed engine) or Megatron-DeepSpeed's, of its GPT model or of its pipeline, which
numbers its layers. Read as `megatron` reads: no code of the files runs. Optimizer states are not taken.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from schemas.table import ContractError
from stages.model.exchange import megatron
from stages.model.exchange.carried import Carried, parameter_shapes
from stages.model.network import Sizes

WEIGHT = "fp32.pt"
NUMBERED = re.compile(r"(\d+)\.(.+)")


def is_checkpoint(folder: Path) -> bool:
    """Whether the folder has parameters with a universal weight each."""
    return any((megatron.step_folder(folder) / "zero").glob(f"*/{WEIGHT}"))


def read(folder: Path, sizes: Sizes) -> Carried:
    """The model of a folder; `ContractError` for files that are not weights and names that have no place."""
    step = megatron.step_folder(folder)
    found = {f.parent.name.removeprefix("module."): _weight(f) for f in sorted((step / "zero").glob(f"*/{WEIGHT}"))}
    ours = parameter_shapes(sizes)
    if ours.keys() & found.keys():
        weights: Mapping[str, Tensor] = found
        if sizes.tie_embeddings:
            weights = {name: w for name, w in found.items() if name != megatron.HEAD}
        return Carried(sizes, weights, str(folder))
    return Carried(sizes, megatron.merge([_named(found)], sizes, str(folder)), str(folder))


def _weight(file: Path) -> Tensor:
    state: Any = megatron.load(file)
    weight = state.get("param") if isinstance(state, Mapping) else state
    if not isinstance(weight, Tensor):
        raise ContractError(str(file), [f"expected a tensor or a dict with `param`, found {type(state).__name__}"])
    return weight.detach()


def _named(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Megatron's names with layers numbered from 0; a pipeline counts its first block by what lies before it."""
    if not any(NUMBERED.fullmatch(name) for name in found):
        return {megatron.canonical(name): weight for name, weight in found.items()}
    split = {name: NUMBERED.fullmatch(name) for name in found}
    blocks = sorted({int(m[1]) for m in split.values() if m and m[2] == "input_layernorm.weight"})
    named: dict[str, Tensor] = {}
    for name, match in split.items():
        if match and int(match[1]) in blocks:
            named[f"layers.{blocks.index(int(match[1]))}.{match[2]}"] = found[name]
        elif match and match[2] == "weight":
            named[megatron.NORM] = found[name]
        else:
            named[megatron.canonical(name)] = found[name]
    return named
