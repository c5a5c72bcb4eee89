"""A Hugging Face folder of the Llama architecture: `config.json` and safetensors, in and out.

A configuration that our network does not compute (biases, other activations, scaled rotary embeddings) is refused with all its
reasons. Pickled weights (`pytorch_model.bin`) are not read.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from schemas.table import ContractError
from stages.model.exchange.carried import Carried, parameter_shapes
from stages.model.export import architecture_config, hugging_face_name
from stages.model.network import Sizes

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json")
EXPECTED = {  # what our network is, and what a missing value means in `transformers`
    "model_type": ("llama", None),
    "hidden_act": ("silu", "silu"),
    "attention_bias": (False, False),
    "mlp_bias": (False, False),
    "pretraining_tp": (1, 1),
}


def read(folder: Path) -> Carried:
    """The model of a folder; `ContractError` for what our network cannot compute or what is missing."""
    sizes = read_sizes(folder / CONFIG)
    stored = dict(_tensors(folder))
    names = {hugging_face_name(name): name for name in parameter_shapes(sizes)}
    head = stored.get("lm_head.weight")
    if sizes.tie_embeddings and head is not None:  # some writers store the tied matrix twice
        if not torch.equal(head, stored.get("model.embed_tokens.weight", head)):
            raise ContractError(str(folder), ["config.json ties the embeddings, but lm_head.weight is another matrix"])
        stored.pop("lm_head.weight")
    ignored = ".rotary_emb.inv_freq"  # older folders store what follows from theta
    weights = {names.get(name, name): w for name, w in stored.items() if not name.endswith(ignored)}
    return Carried(sizes, weights, str(folder))


def read_sizes(file: Path) -> Sizes:
    """Sizes and conventions of a `config.json`."""
    if not file.is_file():
        raise ContractError(str(file), ["there is no such file"])
    config = json.loads(file.read_text())
    if problems := list(_problems(config)):
        raise ContractError(str(file), problems)
    rope = config.get("rope_parameters") or {}
    return Sizes(
        vocab_size=config["vocab_size"],
        context_tokens=config["max_position_embeddings"],
        num_layers=config["num_hidden_layers"],
        width=config["hidden_size"],
        num_heads=config["num_attention_heads"],
        num_kv_heads=config.get("num_key_value_heads") or config["num_attention_heads"],
        hidden_width=config["intermediate_size"],
        tie_embeddings=config.get("tie_word_embeddings", False),
        rope_theta=float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0),
        norm_eps=config.get("rms_norm_eps", 1e-6),
    )


def write(carried: Carried, folder: Path, tokenizer: Path | None) -> None:
    """Weights and configuration into an empty folder; `tokenizer` is a folder with tokenizer files, or a `tokenizer.json`."""
    weights = {hugging_face_name(name): w.contiguous() for name, w in carried.weights.items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config_of(carried), indent=2) + "\n")
    if tokenizer is not None:
        files = [tokenizer / name for name in TOKENIZER_FILES] if tokenizer.is_dir() else [tokenizer]
        for file in filter(Path.is_file, files):
            (folder / file.name).write_bytes(file.read_bytes())


def config_of(carried: Carried) -> dict[str, Any]:
    """`config.json`, every convention spelled out."""
    kinds = {str(w.dtype).removeprefix("torch.") for w in carried.weights.values()}
    return {**architecture_config(carried.sizes), "dtype": kinds.pop() if len(kinds) == 1 else "float32"}


def transformers_logits(folder: Path, tokens_BT: Tensor) -> Tensor:
    """What `transformers` computes from the folder, fp32."""
    from transformers import LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    with torch.no_grad():
        found: Tensor = model(tokens_BT).logits
    return found


def _problems(config: Mapping[str, Any]) -> Iterator[str]:
    for name, (wanted, default) in EXPECTED.items():
        if (found := config.get(name, default)) != wanted:
            yield f"{name} is {found!r}, our network has {wanted!r}"
    needed = ("vocab_size", "max_position_embeddings", "num_hidden_layers", "hidden_size", "intermediate_size")
    missing = [name for name in (*needed, "num_attention_heads") if name not in config]
    if missing:
        yield f"missing: {', '.join(missing)}"
        return
    size = config["hidden_size"] // config["num_attention_heads"]
    if config.get("head_dim") not in (None, size):
        yield f"head_dim is {config['head_dim']}, our network has hidden_size / num_attention_heads = {size}"
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind != "default":
        yield f"rotary embeddings are scaled ({kind}), our network's are not"


def _tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    names = [WEIGHTS]
    if (index := folder / INDEX).is_file():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        pickled = (
            "; pickled weights are not read: save them with safe_serialization" if list(folder.glob("*.bin")) else ""
        )
        raise ContractError(str(folder), [f"missing: {', '.join(missing)}{pickled}"])
    for name in names:
        with safe_open(folder / name, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 - not a mapping
                yield key, file.get_tensor(key)
