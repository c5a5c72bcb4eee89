"""The BERT encoder (Devlin et al. 2019, arXiv 1810.04805) in float32, without dropout: ids of tokens to their states.

Shapes: B texts, T tokens, D width, H heads. What it gives up: other activations and relative positions, which are refused.
"""

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from stages.base import SettingsError

SUPPORTED = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}


class Bert:
    """A model's weights, by the names that they have in its file."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.config = read_config(folder)
        found = load_file(folder / "model.safetensors")
        self.weights = {name.removeprefix("bert."): w.to(device, torch.float32) for name, w in found.items()}
        self.device = device

    def __call__(self, ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        """States (B, T, D) of the last layer; `mask_BT` is true where there is a token."""
        states_BTD = self._embedded(ids_BT)
        for layer in range(self.config["num_hidden_layers"]):
            name = f"encoder.layer.{layer}"
            attended_BTD = self._linear(self._attention(states_BTD, mask_BT, name), f"{name}.attention.output.dense")
            states_BTD = self._norm(states_BTD + attended_BTD, f"{name}.attention.output.LayerNorm")
            inner = F.gelu(self._linear(states_BTD, f"{name}.intermediate.dense"))
            states_BTD = self._norm(
                states_BTD + self._linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm"
            )
        return states_BTD

    def _embedded(self, ids_BT: torch.Tensor) -> torch.Tensor:
        words = self.weights["embeddings.word_embeddings.weight"][ids_BT]
        positions = self.weights["embeddings.position_embeddings.weight"][: ids_BT.shape[1]]
        kind = self.weights["embeddings.token_type_embeddings.weight"][0]  # of a first sentence, the only one
        return self._norm(words + positions + kind, "embeddings.LayerNorm")

    def _attention(self, states_BTD: torch.Tensor, mask_BT: torch.Tensor, layer: str) -> torch.Tensor:
        heads = self.config["num_attention_heads"]
        query, key, value = (
            self._linear(states_BTD, f"{layer}.attention.self.{part}").unflatten(-1, (heads, -1)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask_BT[:, None, None, :])
        return mixed.transpose(1, 2).flatten(2)

    def _linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.layer_norm(x, x.shape[-1:], weight, bias, self.config["layer_norm_eps"])


def read_config(folder: Path) -> dict[str, Any]:
    """A model's config.json; `SettingsError` if it is not one that this encoder computes."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    found = {name: config.get(name, wanted) for name, wanted in SUPPORTED.items()}
    wrong = [f"{name} {found[name]}, expected {wanted}" for name, wanted in SUPPORTED.items() if found[name] != wanted]
    if wrong:
        raise SettingsError(f"{folder}: {'; '.join(wrong)}: let a server run this model, and name it in embed.endpoint")
    return config
