"""The numbers that shape a network: one dial or a name sets them all, and what follows from them is counted here.

Needs no torch, so that a plan can be made without it. Formulas for operations: Kaplan et al. 2020, section 2.1, with
the attention over a causal window counted as half of the full one.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

HEAD_SIZE = 64
WIDTH_PER_LAYER = 64
CONVOLUTION_TOKENS = 4  # that a linear-attention layer's short convolution sees

Layer = Literal["attention", "deltanet"]
Preset = Literal["tiny", "auroragpt-7b", "llama3-8b"]

PRESETS: Mapping[Preset, Mapping[str, Any]] = {
    "tiny": {"num_layers": 2, "width": 128, "num_heads": 4, "num_kv_heads": 2, "hidden_width": 384},
    "auroragpt-7b": {  # argonne-lcf/Megatron-DeepSpeed, ALCF/helpers.sh, `get_model_arch_7B`
        "num_layers": 32,
        "width": 4096,
        "num_heads": 32,
        "num_kv_heads": 8,
        "hidden_width": 11008,
        "tie_embeddings": False,
    },
    "llama3-8b": {  # Grattafiori et al. 2024, table 3
        "num_layers": 32,
        "width": 4096,
        "num_heads": 32,
        "num_kv_heads": 8,
        "hidden_width": 14336,
        "tie_embeddings": False,
        "rope_theta": 500_000.0,
    },
}


@dataclass(frozen=True)
class Sizes:
    """Every number that shapes the network, and the conventions that a checkpoint does not show.

    `layers` names the kinds of layers with commas between them, first to last, and repeats over the depth.
    """

    vocab_size: int
    context_tokens: int
    num_layers: int
    width: int
    num_heads: int
    num_kv_heads: int
    hidden_width: int
    tie_embeddings: bool
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5
    qk_norm: bool = False
    layers: str = "attention"

    @classmethod
    def of_depth(
        cls, depth: int, vocab_size: int, context_tokens: int, *, tie_embeddings: bool = True, **given: Any
    ) -> "Sizes":
        """Derive the sizes from the number of layers; a size in `given` that is not None stands as it is.

        Width is 64 a layer, heads have size 64, two query heads share a key-value head where their number is even,
        and the hidden width is 8/3 of the width (as many weights as 4 times the width without a gate), in 64s.
        """
        given = {name: value for name, value in given.items() if value is not None}
        width = given.pop("width", None) or WIDTH_PER_LAYER * depth
        num_heads = given.pop("num_heads", None) or max(1, width // HEAD_SIZE)
        num_kv_heads = given.pop("num_kv_heads", None) or (num_heads // 2 if num_heads % 2 == 0 else num_heads)
        hidden_width = given.pop("hidden_width", None) or 64 * math.ceil(width * 8 / 3 / 64)
        shape = (depth, width, num_heads, num_kv_heads, hidden_width, tie_embeddings)
        return cls(vocab_size, context_tokens, *shape, **given)

    @classmethod
    def of_preset(cls, preset: Preset, vocab_size: int, context_tokens: int, **given: Any) -> "Sizes":
        """A published shape by name; a size in `given` that is not None stands instead."""
        named = {"tie_embeddings": True, **PRESETS[preset]}
        return cls(vocab_size, context_tokens, **{**named, **{k: v for k, v in given.items() if v is not None}})

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.width // self.num_heads

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kind of each layer."""
        pattern = self._pattern
        return tuple(pattern[i % len(pattern)] for i in range(self.num_layers))

    @property
    def num_parameters(self) -> int:
        """Weights of the network, shared ones counted once."""
        embeddings = self.vocab_size * self.width * (1 if self.tie_embeddings else 2)
        return embeddings + sum(map(self._layer_parameters, self.kinds)) + self.width

    @property
    def operations_per_token(self) -> int:
        """Floating-point operations of a training step for one token: 6 a weight that multiplies, and the attention."""
        return sum(self.layer_operations) + 6 * (self.vocab_size + 1) * self.width

    @property
    def layer_operations(self) -> tuple[int, ...]:
        """What each layer has of them; the rest is the head's and the last norm's."""
        mixing = {"attention": 6 * self.context_tokens, "deltanet": 18 * self.head_size}
        return tuple(6 * self._layer_parameters(kind) + mixing.get(kind, 0) * self.width for kind in self.kinds)

    def problems(self) -> list[str]:
        """What keeps these sizes from being a network."""
        found = []
        if self.width % self.num_heads or self.head_size % 2:
            found.append(f"width {self.width} does not split into {self.num_heads} heads of even size")
        if self.num_heads % self.num_kv_heads:
            found.append(f"{self.num_heads} query heads cannot share {self.num_kv_heads} key-value heads evenly")
        if unknown := sorted(set(self._pattern) - set(get_args(Layer))):
            known = ", ".join(get_args(Layer))
            found.append(f"layers {self.layers!r}: there is no layer {', '.join(map(repr, unknown))}; known: {known}")
        return found

    def describe(self) -> str:
        """All sizes, and what follows from them, in one line."""
        derived = {
            "head_size": self.head_size,
            "parameters": f"{self.num_parameters:,}",
            "operations_per_token": f"{self.operations_per_token:,}",
        }
        return ", ".join(f"{name} {value}" for name, value in (asdict(self) | derived).items())

    @property
    def _pattern(self) -> list[str]:
        return [kind.strip() for kind in self.layers.split(",")]

    def _layer_parameters(self, kind: str) -> int:
        feed_forward = 3 * self.width * self.hidden_width
        norms = 2 * self.width
        if kind == "deltanet":
            convolutions = 3 * self.width * CONVOLUTION_TOKENS
            gates = 2 * self.width * self.num_heads + 2 * self.num_heads
            return 5 * self.width**2 + convolutions + gates + self.head_size + feed_forward + norms
        shared = 2 * self.width * self.num_kv_heads * self.head_size
        return 2 * self.width**2 + shared + 2 * self.head_size * self.qk_norm + feed_forward + norms
