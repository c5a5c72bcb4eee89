"""Megatron-DeepSpeed's checkpoints by tensor-parallel rank, in and out, for Llama-like models (swiglu, RMSNorm, rotary).

In: `mp_rank_RR_model_states.pt` (a nested `module`) or, from a pipeline, `layer_NN-model_RR-model_states.pt`; out: the former. Read with
`torch.load(weights_only=True)`, which runs no code of the file: tensors, containers and numbers, and an `argparse.Namespace`
of them (`args`). Written by `torch.save` of plain tensors. The layout, as argonne-lcf/Megatron-DeepSpeed ffa3456 has it
(tools/hf2megads_weight_converter.py, mds_to_hf.py):

  word_embeddings, output_layer   rows of the padded vocabulary, rank after rank
  query_key_value                 for each key-value head its queries, its key, its value; heads rank after rank
  dense_h_to_4h                   a rank's gate rows, then its up rows
  dense, dense_4h_to_h            columns, rank after rank
  norms                           whole on every rank
"""

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from schemas.table import ContractError
from stages.base import SettingsError
from stages.model.exchange.carried import Carried
from stages.model.network import Sizes

RANK_FILE = re.compile(r"mp_rank_(\d+)_model_states\.pt")
LAYER_FILE = re.compile(r"layer_(\d+)-model_(\d+)-model_states\.pt")
LAYER = re.compile(r"(?:.*\.)?layers\.(\d+)\.(.+)\.weight")
PADDED_TO = 128  # rows a rank (`--make-vocab-size-divisible-by`)
EMBEDDING, NORM, HEAD = "embedding.weight", "norm.weight", "head.weight"
WHOLE = {"input_layernorm": "attention_norm", "post_attention_layernorm": "feed_forward_norm"}
COLUMNS = {"self_attention.dense": "attention.output", "mlp.dense_4h_to_h": "feed_forward.down"}
FUSED = ("self_attention.query_key_value", "mlp.dense_h_to_4h")
ARGUMENTS = {  # a size, and what Megatron-DeepSpeed calls it
    "num_layers": "num_layers",
    "width": "hidden_size",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "hidden_width": "ffn_hidden_size",
    "context_tokens": "max_position_embeddings",
    "norm_eps": "layernorm_epsilon",
    "rope_theta": "rope_theta",
}

UNLIKE = {"swiglu": True, "normalization": "rmsnorm", "add_bias_linear": False, "use_rotary_position_embeddings": True}

Shards = Sequence[Mapping[str, Tensor]]  # by rank


def is_checkpoint(folder: Path) -> bool:
    """Whether the folder, or the one that its `latest` names, has files of this layout."""
    return any(RANK_FILE.fullmatch(f.name) or LAYER_FILE.fullmatch(f.name) for f in step_folder(folder).glob("*.pt"))


def step_folder(folder: Path) -> Path:
    """The folder that `latest` names, if there is such a file."""
    latest = folder / "latest"
    return folder / latest.read_text().strip() if latest.is_file() else folder


def read(folder: Path, sizes: Sizes | None) -> Carried:
    """The model of a folder. Its sizes are those given, else those of the stored arguments."""
    folder = step_folder(folder)
    shards, arguments = _shards(folder)
    if sizes is None:
        sizes = _sizes(folder, shards, arguments)
    ranks = arguments.get("tensor_model_parallel_size", len(shards))
    if ranks != len(shards):
        raise ContractError(
            str(folder), [f"{len(shards)} tensor-parallel ranks, where args say {ranks}: files are missing"]
        )
    return Carried(sizes, merge(shards, sizes, str(folder)), str(folder))


def write(carried: Carried, folder: Path, ranks: int) -> None:
    """One file a rank into an empty folder."""
    for rank, shard in enumerate(split(carried, ranks)):
        torch.save({"module": _nested(shard, carried.sizes)}, folder / f"mp_rank_{rank:02d}_model_states.pt")


def merge(shards: Shards, sizes: Sizes, where: str) -> dict[str, Tensor]:
    """Our weights from the ranks' shards; `ContractError` for a name that has no place or ranks that do not agree."""
    found: dict[str, Tensor] = {}
    problems: list[str] = []
    for name in shards[0]:
        each = [shard[name] for shard in shards if name in shard]
        if len(each) < len(shards):
            problems.append(f"{name} is missing on {len(shards) - len(each)} of {len(shards)} ranks")
            continue
        try:
            found |= _merged(name, each, sizes)
        except (RuntimeError, ValueError) as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise ContractError(where, problems)
    if sizes.tie_embeddings:
        found.pop(HEAD, None)
    return found


def split(carried: Carried, ranks: int) -> list[dict[str, Tensor]]:
    """Shards by rank; `ContractError` where heads or hidden width do not divide, `SettingsError` below one rank."""
    if ranks < 1:
        raise SettingsError(f"--ranks {ranks}: at least 1")
    sizes = carried.sizes
    problems = [
        f"{what} {size} does not split over {ranks} ranks"
        for what, size in (("num_kv_heads", sizes.num_kv_heads), ("hidden_width", sizes.hidden_width))
        if size % ranks
    ]
    known = re.compile(
        r"blocks\.\d+\.(attention\.(query|key|value|output)|feed_forward\.(gate|up|down)|\w+_norm)\.weight"
    )
    top = {EMBEDDING, NORM, HEAD}
    problems += [f"no place for {name}" for name in carried.weights if name not in top and not known.fullmatch(name)]
    if problems:
        raise ContractError(carried.where, problems)
    shards: list[dict[str, Tensor]] = [{} for _ in range(ranks)]
    for name in sorted(top & carried.weights.keys()):
        pieces = [carried.weights[name]] * ranks if name == NORM else pad(carried.weights[name], ranks).chunk(ranks)
        _spread(shards, name, pieces)
    for layer in range(sizes.num_layers):
        _split_layer(shards, carried, layer)
    return shards


def pad(rows_VD: Tensor, ranks: int) -> Tensor:
    """Rows of zeros after the vocabulary, so that every rank has a multiple of 128."""
    missing = -len(rows_VD) % (PADDED_TO * ranks)
    return torch.cat([rows_VD, rows_VD.new_zeros(missing, rows_VD.shape[1])])


def _split_layer(shards: list[dict[str, Tensor]], carried: Carried, layer: int) -> None:
    ranks, prefix = len(shards), f"blocks.{layer}"

    def ours(name: str) -> Tensor:
        return carried.weights[f"{prefix}.{name}.weight"]

    for theirs, name in WHOLE.items():
        _spread(shards, f"layers.{layer}.{theirs}.weight", [ours(name)] * ranks)
    for theirs, name in COLUMNS.items():
        _spread(shards, f"layers.{layer}.{theirs}.weight", ours(name).chunk(ranks, dim=1))
    heads, width = carried.sizes.num_kv_heads, carried.sizes.width
    groups = [ours(f"attention.{name}").view(heads, -1, width) for name in ("query", "key", "value")]
    fused = torch.cat(groups, dim=1).reshape(-1, width)
    _spread(shards, f"layers.{layer}.{FUSED[0]}.weight", fused.chunk(ranks))
    halves = zip(ours("feed_forward.gate").chunk(ranks), ours("feed_forward.up").chunk(ranks), strict=True)
    _spread(shards, f"layers.{layer}.{FUSED[1]}.weight", [torch.cat(pair) for pair in halves])


def _spread(shards: list[dict[str, Tensor]], name: str, pieces: Sequence[Tensor]) -> None:
    for shard, piece in zip(shards, pieces, strict=True):
        shard[name] = piece.clone().contiguous()  # a view would be saved with all that it looks at


def _merged(name: str, each: Sequence[Tensor], sizes: Sizes) -> dict[str, Tensor]:
    if name in (EMBEDDING, HEAD):
        return {name: torch.cat(tuple(each))[: sizes.vocab_size].contiguous()}
    if name == NORM:
        return {name: _same(each)}
    match = LAYER.fullmatch(name)
    kind, prefix = (match[2], f"blocks.{match[1]}") if match else ("", "")
    if kind in WHOLE:
        return {f"{prefix}.{WHOLE[kind]}.weight": _same(each)}
    if kind in COLUMNS:
        return {f"{prefix}.{COLUMNS[kind]}.weight": torch.cat(tuple(each), dim=1)}
    if kind == FUSED[0]:
        queries = sizes.num_heads // sizes.num_kv_heads
        groups = torch.cat(tuple(each)).view(sizes.num_kv_heads, queries + 2, sizes.head_size, sizes.width)
        parts = {"query": groups[:, :queries], "key": groups[:, queries], "value": groups[:, queries + 1]}
        return {f"{prefix}.attention.{k}.weight": p.reshape(-1, sizes.width).contiguous() for k, p in parts.items()}
    if kind == FUSED[1]:
        halves = [half.chunk(2) for half in each]
        both = {"gate": [half[0] for half in halves], "up": [half[1] for half in halves]}
        return {f"{prefix}.feed_forward.{k}.weight": torch.cat(pieces) for k, pieces in both.items()}
    raise ValueError("no place for it in this architecture")


def _same(each: Sequence[Tensor]) -> Tensor:
    if not all(torch.equal(each[0], other) for other in each[1:]):
        raise ValueError("ranks hold different values: files of different steps or runs")
    return each[0]


def _shards(folder: Path) -> tuple[Shards, dict[str, Any]]:
    found = {f.name: f for f in sorted(folder.glob("*.pt"))}
    ranks = {int(m[1]): found[name] for name in found if (m := RANK_FILE.fullmatch(name))}
    layers = {(int(m[2]), int(m[1])): found[name] for name in found if (m := LAYER_FILE.fullmatch(name))}
    if any(name.startswith("zero_pp_rank_") and name.endswith("_model_states.pt") for name in found):
        raise ContractError(
            str(folder), ["ZeRO 3 keeps no whole weights: make it universal first (ds_to_universal.py)"]
        )
    numbers = sorted({rank for rank, _ in layers} or ranks)
    if not numbers or numbers != list(range(len(numbers))):
        raise ContractError(str(folder), [f"expected ranks from 0 on without a gap, found {numbers}"])
    if layers:
        arguments = vars_of(load(ranks[0]).get("args")) if 0 in ranks else {}
        return [_pipeline(layers, rank) for rank in numbers], arguments
    states = [load(ranks[rank]) for rank in numbers]
    return [_flat(state, folder) for state in states], vars_of(states[0].get("args"))


def load(file: Path) -> dict[str, Any]:
    """A file's state without running any code of it; `ContractError` where it holds other objects than data."""
    others = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()  # libraries let in objects of their own
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        words = str(error).strip().split("\n")[0]
        cure = "save its `module` alone with torch.save where it was made; objects of code are never loaded here"
        raise ContractError(str(file), [f"not only tensors and numbers, or no torch file: {words}", cure]) from error
    finally:
        torch.serialization.add_safe_globals(others)
    return state


def vars_of(arguments: object) -> dict[str, Any]:
    """The stored arguments, of a Namespace or a dict."""
    return dict(arguments) if isinstance(arguments, dict) else dict(vars(arguments)) if arguments is not None else {}


def _flat(state: Mapping[str, Any], folder: Path) -> dict[str, Tensor]:
    module = state.get("module") or state.get("model")
    if not isinstance(module, Mapping):
        raise ContractError(str(folder), [f"expected `module` with the weights, found {sorted(state)}"])
    return {
        canonical(name): w for name, w in _leaves(module) if isinstance(w, Tensor) and not name.endswith("_extra_state")
    }


def _leaves(module: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in module.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def canonical(name: str) -> str:
    """A name of Megatron's GPT model without what it is nested in."""
    if match := LAYER.fullmatch(name):
        return f"layers.{match[1]}.{match[2]}.weight"
    for ending, ours in (("word_embeddings.weight", EMBEDDING), ("final_layernorm.weight", NORM)):
        if name.endswith(ending):
            return ours
    return HEAD if name.endswith(("output_layer.weight", "lm_head.weight")) else name


def _pipeline(files: Mapping[tuple[int, int], Path], rank: int) -> dict[str, Tensor]:
    """Layers by their order: the embedding, the blocks, the norm, the head (the embedding again where they are tied)."""
    found: dict[str, Tensor] = {}
    block = 0
    for _, file in sorted((number, f) for (r, number), f in files.items() if r == rank):
        state = {k: w for k, w in _leaves(load(file)) if isinstance(w, Tensor)}
        if any(name.endswith("word_embeddings.weight") for name in state):
            found[HEAD if EMBEDDING in found else EMBEDDING] = next(iter(state.values()))
        elif "lm_head.weight" in state:
            found[HEAD] = state["lm_head.weight"]
        elif set(state) == {"weight"}:
            found[NORM] = state["weight"]
        elif state:
            found |= {f"layers.{block}.{name}": w for name, w in state.items()}
            block += 1
    return found


def _sizes(folder: Path, shards: Shards, arguments: Mapping[str, Any]) -> Sizes:
    missing = [theirs for theirs in ARGUMENTS.values() if arguments.get(theirs) is None]
    if missing:
        found = "no args" if not arguments else f"args without {', '.join(missing)}"
        raise ContractError(str(folder), [f"{found}: give the model's config.json by --config"])
    other = {name: arguments[name] for name, wanted in UNLIKE.items() if arguments.get(name, wanted) != wanted}
    if other:
        raise ContractError(
            str(folder), [f"args say {name}={value}, our network has {UNLIKE[name]}" for name, value in other.items()]
        )
    given: dict[str, Any] = {ours: arguments[theirs] for ours, theirs in ARGUMENTS.items()}
    rows = sum(len(shard[EMBEDDING]) for shard in shards)
    return Sizes(
        vocab_size=int(arguments.get("vocab_size") or arguments.get("padded_vocab_size") or rows),
        tie_embeddings=not arguments.get("untie_embeddings_and_output_weights", HEAD in shards[0]),
        **given,
    )


def _nested(shard: Mapping[str, Tensor], sizes: Sizes) -> dict[str, Any]:
    """`module` as Megatron-DeepSpeed's GPT model names it."""
    encoder = {name: w for name, w in shard.items() if name.startswith("layers.")}
    model: dict[str, Any] = {
        "embedding": {"word_embeddings": {"weight": shard[EMBEDDING]}},
        "encoder": {**encoder, "final_layernorm.weight": shard[NORM]},
    }
    if not sizes.tie_embeddings:
        model["output_layer"] = {"weight": shard[HEAD]}
    return {"language_model": model}
