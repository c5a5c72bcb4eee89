"""A decoder's weights and operations, counted from its sizes.

Operations of the matrix products are 6 a weight and token, forward and backward (Kaplan et al. 2020, section 2.1); those of
attention follow Narayanan et al. 2021 (arXiv 2104.04473), halved where a kernel skips what a causal mask hides.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from stages.base import SettingsError
from workflows.base import nearest

HEAD_SIZE = WIDTH_PER_LAYER = 64  # `stages.model.network`, which imports torch


@dataclass(frozen=True)
class Shape:
    """The sizes that weights, memory and operations follow from. `gated`: SwiGLU with three matrices, else two."""

    num_layers: int
    width: int
    num_heads: int
    num_kv_heads: int
    hidden_width: int
    vocab_size: int
    tied: bool = False
    gated: bool = True

    @property
    def kv_width(self) -> int:
        """Width of all keys (or values) of a token."""
        return self.width // self.num_heads * self.num_kv_heads

    @property
    def layer_weights(self) -> int:
        """Weights of one layer's matrices and norms."""
        attention = 2 * self.width * (self.width + self.kv_width)
        return attention + (3 if self.gated else 2) * self.width * self.hidden_width + 2 * self.width

    @property
    def table_weights(self) -> int:
        """Weights of the embedding, which are also those of the head where they are tied."""
        return self.vocab_size * self.width

    @property
    def num_weights(self) -> int:
        """All weights."""
        return self.num_layers * self.layer_weights + self.width + (1 if self.tied else 2) * self.table_weights

    def attention_operations(self, sequence_tokens: int, *, causal: bool) -> float:
        """Operations of scores and mixing of one layer, a token, forward."""
        return 4 * sequence_tokens * self.width * (0.5 if causal else 1)


PRESETS = {
    # Argonne's models: saforem2/torchtitan, torchtitan/experiments/ezpz/agpt/__init__.py (2026-09)
    "auroragpt-2b": Shape(12, 2048, 16, 4, 11008, 256_128),
    "auroragpt-7b": Shape(32, 4096, 32, 8, 11008, 32_000),
    "auroragpt-20b": Shape(64, 5120, 40, 8, 14336, 256_128),
    "auroragpt-80b": Shape(84, 9216, 72, 12, 25600, 256_128),
    # Llama 3: config.json of the released models
    "llama3-1b": Shape(16, 2048, 32, 8, 8192, 128_256, tied=True),
    "llama3-8b": Shape(32, 4096, 32, 8, 14336, 128_256),
    "llama3-70b": Shape(80, 8192, 64, 8, 28672, 128_256),
}


def preset(name: str) -> Shape:
    """The shape of this name; `SettingsError` names the nearest where there is none."""
    if name not in PRESETS:
        raise SettingsError(f"--preset {name}: no such model; {nearest(name, list(PRESETS), 'models')}")
    return PRESETS[name]


def of_settings(settings: dict[str, Any], vocab_size: int) -> Shape:
    """The shape that a training stage's settings give: that of its preset, or sizes that follow from `depth` where not given."""
    depth = settings["depth"]
    named = PRESETS.get(settings.get("preset") or "")
    if named is not None:
        given = {f: settings[f] for f in ("width", "num_heads", "num_kv_heads", "hidden_width") if settings.get(f)}
        return replace(named, vocab_size=vocab_size, **given)
    width = settings.get("width") or WIDTH_PER_LAYER * depth
    num_heads = settings.get("num_heads") or max(1, width // HEAD_SIZE)
    num_kv_heads = settings.get("num_kv_heads") or (num_heads // 2 if num_heads % 2 == 0 else num_heads)
    hidden_width = settings.get("hidden_width") or 64 * math.ceil(width * 8 / 3 / 64)
    return Shape(
        depth, width, num_heads, num_kv_heads, hidden_width, vocab_size, settings.get("tie_embeddings") is not False
    )
