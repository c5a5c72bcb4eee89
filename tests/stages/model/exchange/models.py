"""Small models of `transformers` with random weights, saved as folders: what the converters are compared with."""

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from stages.model.exchange import gate
from stages.model.exchange.gate import Probe


def llama(
    folder: Path,
    *,
    tied: bool = False,
    kv_heads: int = 4,
    theta: float = 10_000.0,
    epsilon: float = 1e-5,
    seed: int = 0,
) -> LlamaForCausalLM:
    """A model of two layers, its norms away from one, saved by `transformers` itself."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=203,
        hidden_size=32,
        intermediate_size=56,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=kv_heads,
        max_position_embeddings=64,
        rms_norm_eps=epsilon,
        rope_parameters={"rope_type": "default", "rope_theta": theta},
        tie_word_embeddings=tied,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder)
    return model


def probe_of(model: LlamaForCausalLM) -> Probe:
    """What the model itself computes on seeded tokens."""
    tokens_BT = gate.probe_tokens(model.config.vocab_size, 24)
    with torch.no_grad():
        return Probe(tokens_BT, model(tokens_BT).logits)
