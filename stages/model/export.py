"""Export to a Hugging Face folder, refused unless `transformers` computes the same logits from it.

A converter that permutes heads for another rotary convention, forgets a tied weight or another epsilon gives a model
that still talks, only worse. So the folder is loaded by `transformers`, its logits and token ids are compared with ours
on validation text, and it gets its name only after that.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from schemas.table import ContractError
from stages.base import SettingsError
from stages.model.network import Network
from stages.model.sizes import Sizes

MAX_LOGIT_DIFFERENCE = 1e-4  # fp32; measured on trained models: about 1e-5

NAMES = {
    "embedding.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
}
BLOCK_NAMES = {
    "attention_norm": "input_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.o_proj",
    "attention.query_norm": "self_attn.q_norm",
    "attention.key_norm": "self_attn.k_norm",
    "feed_forward_norm": "post_attention_layernorm",
    "feed_forward.gate": "mlp.gate_proj",
    "feed_forward.up": "mlp.up_proj",
    "feed_forward.down": "mlp.down_proj",
}
BLOCK = re.compile(r"blocks\.(\d+)\.(.+)\.weight")


def hugging_face_name(name: str) -> str:
    """Our parameter's name as `LlamaForCausalLM` and `Qwen3ForCausalLM` have it."""
    match = BLOCK.fullmatch(name)
    return f"model.layers.{match[1]}.{BLOCK_NAMES[match[2]]}.weight" if match else NAMES[name]


def no_architecture(sizes: Sizes) -> str | None:
    """Why `transformers` cannot have this network, or None if it can."""
    other = [f"{number} ({kind})" for number, kind in enumerate(sizes.kinds, 1) if kind != "attention"]
    if not other:
        return None
    return f"transformers has no architecture with these layers among ours: {', '.join(other)}"


def architecture_config(sizes: Sizes) -> dict[str, Any]:
    """What `config.json` says of the network, every convention spelled out. Qwen3 is Llama with norms of queries and keys."""
    kind = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "mlp_bias": False}
    if sizes.qk_norm:
        kind = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "use_sliding_window": False}
    return {
        **kind,
        "vocab_size": sizes.vocab_size,
        "max_position_embeddings": sizes.context_tokens,
        "hidden_size": sizes.width,
        "intermediate_size": sizes.hidden_width,
        "num_hidden_layers": sizes.num_layers,
        "num_attention_heads": sizes.num_heads,
        "num_key_value_heads": sizes.num_kv_heads,
        "head_dim": sizes.head_size,
        "hidden_act": "silu",
        "rms_norm_eps": sizes.norm_eps,
        "rope_theta": sizes.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": sizes.rope_theta},
        "tie_word_embeddings": sizes.tie_embeddings,
        "attention_bias": False,
    }


def hugging_face_config(sizes: Sizes, eod_id: int) -> dict[str, Any]:
    """`config.json`, with none of it left to a default."""
    return {
        **architecture_config(sizes),
        "attention_dropout": 0.0,
        "bos_token_id": eod_id,
        "eos_token_id": eod_id,
        "pad_token_id": eod_id,
        "dtype": "float32",
        "use_cache": True,
    }


def export(network: Network, folder: Path, tokenizer: Path, eod_token: str, probe_BT: Tensor) -> float:
    """Write `folder` and return the largest logit difference on `probe_BT`; ContractError if it is too large.

    SettingsError where `transformers` has no such architecture.
    `network` is in fp32 on the CPU; `tokenizer` is a `tokenizer.json` that knows `eod_token`.
    """
    if words := no_architecture(network.sizes):
        raise SettingsError(f"{words}; train with pretrain.layers=attention to export")
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    _write(network, temporary, tokenizer, eod_token)
    difference = compare(network, temporary, probe_BT)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    return difference


def compare(network: Network, folder: Path, probe_BT: Tensor) -> float:
    """The largest difference between our logits and those of `transformers`; ContractError if either check fails."""
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()

    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    with torch.no_grad():
        difference = float((theirs(probe_BT).logits - network.logits(probe_BT)).abs().max())
    problems = []
    if not difference <= MAX_LOGIT_DIFFERENCE:
        problems.append(f"logits differ by {difference:.2e}, allowed are {MAX_LOGIT_DIFFERENCE:.0e}")
    ours = Tokenizer.from_file(str(folder / "tokenizer.json"))
    text = ours.decode(probe_BT[0].tolist(), skip_special_tokens=True)
    loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if loaded(text, add_special_tokens=False)["input_ids"] != ours.encode(text, add_special_tokens=False).ids:
        problems.append("AutoTokenizer gives other ids than tokenizer.json")
    if problems:
        raise ContractError(f"the exported model in {folder}", problems)
    return difference


def _write(network: Network, folder: Path, tokenizer: Path, eod_token: str) -> None:
    eod_id = _token_id(tokenizer, eod_token)
    weights = {
        hugging_face_name(name): parameter.detach().to("cpu", torch.float32).contiguous()
        for name, parameter in network.named_parameters()  # a tied head is listed once, as the embedding
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    special = {"bos_token_id": eod_id, "eos_token_id": eod_id, "pad_token_id": eod_id}
    _write_json(folder / "config.json", hugging_face_config(network.sizes, eod_id))
    _write_json(folder / "generation_config.json", special)
    _write_json(folder / "tokenizer_config.json", tokenizer_config(eod_token, network.sizes.context_tokens))
    for file in folder.iterdir():
        with file.open("rb") as stream:
            os.fsync(stream.fileno())


def tokenizer_config(eod_token: str, context_tokens: int) -> dict[str, Any]:
    """`tokenizer_config.json`: take `tokenizer.json` as it is, with one token for begin, end and padding."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": eod_token,
        "eos_token": eod_token,
        "pad_token": eod_token,
        "model_max_length": context_tokens,
        "clean_up_tokenization_spaces": False,
    }


def _token_id(tokenizer: Path, token: str) -> int:
    from tokenizers import Tokenizer

    found: int | None = Tokenizer.from_file(str(tokenizer)).token_to_id(token)
    if found is None:
        raise ContractError(str(tokenizer), [f"there is no token {token!r}"])
    return found


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n")
