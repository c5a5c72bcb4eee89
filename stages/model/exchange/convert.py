"""One layout into another: read, pass the gate, write beside the target, pass it again as the target's reader sees it, rename.

The source's logits come from `probe.safetensors` in its folder, or from a file that is named, or, for a Hugging Face folder, from
`transformers`. Weights whose source left no logits are refused unless that is asked for in words; the target then says so.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from schemas.table import ContractError
from stages.base import SettingsError
from stages.model.exchange import gate, hugging_face, megatron, universal
from stages.model.exchange.carried import Carried, Rope, in_convention
from stages.model.exchange.gate import Probe
from stages.model.network import Sizes

Layout = Literal["hugging-face", "megatron-deepspeed", "universal"]
CONVENTIONS = "conventions.json"


@dataclass(frozen=True)
class Conversion:
    """What is asked for. `config` is a `config.json` that says the sizes; `probe` a file with the source's logits."""

    to: Literal["hugging-face", "megatron-deepspeed"]
    ranks: int = 1
    rope: Rope | None = None  # of the source, where its conventions.json does not say
    config: Path | None = None
    probe: Path | None = None
    tokenizer: Path | None = None
    unverified: bool = False


@dataclass(frozen=True)
class Done:
    """What was done: the largest difference of logits in source and target, a unit of the largest; None where unverified."""

    source: Layout
    sizes: Sizes
    difference: float | None


def convert(source: Path, target: Path, conversion: Conversion) -> Done:
    """Write `target`; `ContractError` if the gate refuses, and then nothing is left of it."""
    if target.exists():
        raise SettingsError(f"{target}: exists; name a folder that does not")
    layout = layout_of(source)
    carried = _read(source, layout, conversion)
    probe = _probe(source, layout, carried, conversion)
    difference = None if probe is None else gate.check(carried, probe)
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        found = _write(carried, temporary, probe, replace(conversion, tokenizer=conversion.tokenizer or source))
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Done(layout, carried.sizes, None if difference is None else max(difference, found))


def layout_of(folder: Path) -> Layout:
    """Which layout a folder has; `ContractError` where it has none that is known."""
    if (folder / hugging_face.CONFIG).is_file():
        return "hugging-face"
    if folder.is_dir() and universal.is_checkpoint(folder):
        return "universal"
    if folder.is_dir() and megatron.is_checkpoint(folder):
        return "megatron-deepspeed"
    known = "config.json (Hugging Face), mp_rank_00_model_states.pt (Megatron-DeepSpeed), zero/*/fp32.pt (universal)"
    raise ContractError(str(folder), [f"no layout that is known: expected {known}"])


def _read(source: Path, layout: Layout, conversion: Conversion) -> Carried:
    said = _conventions(source)
    sizes = hugging_face.read_sizes(conversion.config) if conversion.config else _said_sizes(said)
    if layout == "hugging-face":
        carried = hugging_face.read(source)
    elif layout == "universal":
        if sizes is None:
            raise ContractError(str(source), ["nothing says the sizes: give the model's config.json by --config"])
        carried = universal.read(source, sizes)
    else:
        carried = megatron.read(source, sizes)
    rope = conversion.rope or said.get("rope", "rotate-half")
    if rope == "interleaved":
        weights = in_convention(carried.weights, carried.sizes.head_size, to="rotate-half")
        carried = replace(carried, weights=weights)
    carried.network()  # every weight is there and has its shape, or all that is wrong is said at once
    return carried


def _conventions(folder: Path) -> Mapping[str, str]:
    file = folder / CONVENTIONS
    found: dict[str, str] = json.loads(file.read_text()) if file.is_file() else {}
    return found


def _said_sizes(said: Mapping[str, object]) -> Sizes | None:
    sizes = said.get("sizes")
    return Sizes(**sizes) if isinstance(sizes, dict) else None


def _probe(source: Path, layout: Layout, carried: Carried, conversion: Conversion) -> Probe | None:
    probe = gate.read_probe(conversion.probe or source / gate.FILE)
    if conversion.probe and probe is None:
        raise SettingsError(f"--probe {conversion.probe}: there is no such file")
    if probe is None and layout == "hugging-face":
        tokens_BT = gate.probe_tokens(carried.sizes.vocab_size, carried.sizes.context_tokens)
        probe = Probe(tokens_BT, hugging_face.transformers_logits(source, tokens_BT))
    if probe is None and not conversion.unverified:
        words = f"no {gate.FILE}: nothing shows which rotary convention, epsilon or tie these weights were trained with"
        cure = "store tokens and logits of the code that trained them (docs/exchange.md), or ask for --unverified"
        raise ContractError(str(source), [words, cure])
    return probe


def _write(carried: Carried, folder: Path, probe: Probe | None, conversion: Conversion) -> float:
    if conversion.to == "hugging-face":
        hugging_face.write(carried, folder, conversion.tokenizer)
        again = hugging_face.read(folder)
    else:
        megatron.write(carried, folder, conversion.ranks)
        again = megatron.read(folder, carried.sizes)
    changed = [name for name, w in carried.weights.items() if not _bitwise(w, again.weights.get(name))]
    if changed or again.weights.keys() != carried.weights.keys():
        raise ContractError(str(folder), [f"read back otherwise than written: {', '.join(changed) or 'other names'}"])
    said = {"rope": "rotate-half", "norm": "rms", "activation": "silu", "verified": probe is not None}
    (folder / CONVENTIONS).write_text(json.dumps({**said, "sizes": asdict(carried.sizes)}, indent=2) + "\n")
    if probe is None:
        return 0.0
    probe.save(folder)
    if conversion.to == "megatron-deepspeed":
        return gate.check(again, probe)
    found = gate.difference(hugging_face.transformers_logits(folder, probe.tokens_BT), probe.logits_BTV)
    if found > gate.MAX_DIFFERENCE:
        raise ContractError(str(folder), [f"logits of transformers differ by {found:.1e} of the largest"])
    return found


def _bitwise(first: torch.Tensor, second: torch.Tensor | None) -> bool:
    return second is not None and first.dtype == second.dtype and torch.equal(first, second)
