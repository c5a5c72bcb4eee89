"""A Llama-architecture decoder: RoPE, RMSNorm, SwiGLU, grouped-query attention, tied or untied embeddings.

Su et al. 2021 (RoPE, in the rotate-half convention of Hugging Face), Zhang and Sennrich 2019 (RMSNorm), Shazeer 2020
(SwiGLU), Ainslie et al. 2023 (grouped queries). One dial, `depth`, sets every size. What it gives up: dropout, a
key-value cache (generation is the exported model's business) and attention masks between documents of one window.

Shapes: B sequences, T tokens, D width, H query heads, K key-value heads, S head size, F hidden width, V vocabulary.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

HEAD_SIZE = 64
WIDTH_PER_LAYER = 64
LOGITS_BYTES = 256 << 20  # larger fp32 logits are computed in pieces, and again in the backward pass
INIT_STD = 0.02  # GPT-2's; projections back into the residual stream get 1/sqrt(2 * layers) of it
IGNORED = -100  # a target that is not scored

Reduction = Literal["mean", "sum"]


@dataclass(frozen=True)
class Sizes:
    """Every number that shapes the network, and the conventions that a checkpoint does not show."""

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

    @classmethod
    def of_depth(
        cls, depth: int, vocab_size: int, context_tokens: int, *, tie_embeddings: bool = True, **given: int | None
    ) -> "Sizes":
        """Derive the sizes from the number of layers; a size in `given` that is not None stands as it is.

        Width is 64 a layer, heads have size 64, two query heads share a key-value head where their number is even,
        and the hidden width is 8/3 of the width (as many weights as 4 times the width without a gate), in 64s.
        """
        width = given.get("width") or WIDTH_PER_LAYER * depth
        num_heads = given.get("num_heads") or max(1, width // HEAD_SIZE)
        num_kv_heads = given.get("num_kv_heads") or (num_heads // 2 if num_heads % 2 == 0 else num_heads)
        hidden_width = given.get("hidden_width") or 64 * math.ceil(width * 8 / 3 / 64)
        return cls(vocab_size, context_tokens, depth, width, num_heads, num_kv_heads, hidden_width, tie_embeddings)

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.width // self.num_heads

    def problems(self) -> list[str]:
        """What keeps these sizes from being a network."""
        found = []
        if self.width % self.num_heads or self.head_size % 2:
            found.append(f"width {self.width} does not split into {self.num_heads} heads of even size")
        if self.num_heads % self.num_kv_heads:
            found.append(f"{self.num_heads} query heads cannot share {self.num_kv_heads} key-value heads evenly")
        return found

    def describe(self) -> str:
        """All sizes in one line."""
        return ", ".join(f"{name} {value}" for name, value in asdict(self).items())


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight, in fp32 whatever the input's type."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Same shape and type out as in."""
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.eps).to(x.dtype)


def rope_tables(num_tokens: int, head_size: int, theta: float) -> tuple[Tensor, Tensor]:
    """cos_TS and sin_TS: the angle of feature pair i at position t is t * theta^(-2i/S); pairs are (i, i + S/2)."""
    frequencies = 1.0 / theta ** (torch.arange(0, head_size, 2, dtype=torch.float32) / head_size)
    angles_TS = torch.outer(torch.arange(num_tokens, dtype=torch.float32), frequencies).repeat(1, 2)
    return angles_TS.cos(), angles_TS.sin()


def rotate(x_BHTS: Tensor, cos_TS: Tensor, sin_TS: Tensor) -> Tensor:
    """Turn each feature pair (i, i + S/2) by its position's angle."""
    first, second = x_BHTS.chunk(2, dim=-1)
    turned = x_BHTS * cos_TS + torch.cat((-second, first), dim=-1) * sin_TS
    return turned.to(x_BHTS.dtype)


def block_diagonal(documents_BT: Tensor) -> Tensor:
    """Which positions (last axis) each position sees: those of its document up to itself. B 1 T T, bool.

    Angles of positions count from the start of the window: only their differences enter the scores.
    """
    same_BTT = documents_BT[:, :, None] == documents_BT[:, None, :]
    return same_BTT.tril()[:, None]


class Attention(nn.Module):
    """Causal self-attention with H query heads over K shared key-value heads, inside documents if it is told them."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        kv_width = sizes.num_kv_heads * sizes.head_size
        self.query = nn.Linear(sizes.width, sizes.width, bias=False)
        self.key = nn.Linear(sizes.width, kv_width, bias=False)
        self.value = nn.Linear(sizes.width, kv_width, bias=False)
        self.output = nn.Linear(sizes.width, sizes.width, bias=False)

    def forward(self, x_BTD: Tensor, cos_TS: Tensor, sin_TS: Tensor, seen_B1TT: Tensor | None = None) -> Tensor:
        """Mix every position with those before it, or with those that are marked as seen."""
        query_BHTS = rotate(self._heads(self.query(x_BTD)), cos_TS, sin_TS)
        key_BKTS = rotate(self._heads(self.key(x_BTD)), cos_TS, sin_TS)
        value_BKTS = self._heads(self.value(x_BTD))
        shared = self.sizes.num_heads != self.sizes.num_kv_heads
        mixed_BHTS = F.scaled_dot_product_attention(
            query_BHTS, key_BKTS, value_BKTS, attn_mask=seen_B1TT, is_causal=seen_B1TT is None, enable_gqa=shared
        )
        return cast("Tensor", self.output(mixed_BHTS.transpose(1, 2).flatten(2)))

    def _heads(self, x_BTD: Tensor) -> Tensor:
        return x_BTD.view(*x_BTD.shape[:2], -1, self.sizes.head_size).transpose(1, 2)


class FeedForward(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x))."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.gate = nn.Linear(sizes.width, sizes.hidden_width, bias=False)
        self.up = nn.Linear(sizes.width, sizes.hidden_width, bias=False)
        self.down = nn.Linear(sizes.hidden_width, sizes.width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Transform every position by itself."""
        return cast("Tensor", self.down(F.silu(self.gate(x_BTD)) * self.up(x_BTD)))


class Block(nn.Module):
    """One layer: attention, then feed-forward, each normalised before and added after."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(sizes.width, sizes.norm_eps)
        self.attention = Attention(sizes)
        self.feed_forward_norm = RMSNorm(sizes.width, sizes.norm_eps)
        self.feed_forward = FeedForward(sizes)

    def forward(self, x_BTD: Tensor, cos_TS: Tensor, sin_TS: Tensor, seen_B1TT: Tensor | None = None) -> Tensor:
        """The residual stream after this layer."""
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), cos_TS, sin_TS, seen_B1TT)
        return cast("Tensor", x_BTD + self.feed_forward(self.feed_forward_norm(x_BTD)))


class Network(nn.Module):
    """The decoder. `forward` gives the loss in nats a token; `logits` the scores of the next token."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.embedding = nn.Embedding(sizes.vocab_size, sizes.width)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.num_layers))
        self.norm = RMSNorm(sizes.width, sizes.norm_eps)
        self.head = nn.Linear(sizes.width, sizes.vocab_size, bias=False)
        if sizes.tie_embeddings:
            self.head.weight = self.embedding.weight
        cos_TS, sin_TS = rope_tables(sizes.context_tokens, sizes.head_size, sizes.rope_theta)
        self.register_buffer("cos_TS", cos_TS, persistent=False)
        self.register_buffer("sin_TS", sin_TS, persistent=False)
        self._initialise()

    def forward(
        self,
        tokens_BT: Tensor,
        targets_BT: Tensor,
        reduction: Reduction = "mean",
        documents_BT: Tensor | None = None,
    ) -> Tensor:
        """Cross entropy of the targets, in fp32; targets of -100 do not count.

        With `documents_BT`, a number for each position, a position sees those before it that have its own number.
        """
        hidden_ND, targets_N = self.hidden(tokens_BT, documents_BT).flatten(0, 1), targets_BT.flatten()
        rows = max(1, LOGITS_BYTES // (4 * self.sizes.vocab_size))
        total = sum(self._losses(hidden_ND, targets_N, rows), torch.zeros((), device=hidden_ND.device))
        return total if reduction == "sum" else total / (targets_N != IGNORED).sum()

    def hidden(self, tokens_BT: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        """The normalised residual stream after the last layer, B T D."""
        num_tokens = tokens_BT.shape[1]
        seen_B1TT = None if documents_BT is None else block_diagonal(documents_BT)
        cos_TS, sin_TS = cast("Tensor", self.cos_TS)[:num_tokens], cast("Tensor", self.sin_TS)[:num_tokens]
        x_BTD = self.embedding(tokens_BT)
        for block in self.blocks:
            x_BTD = block(x_BTD, cos_TS, sin_TS, seen_B1TT)
        return cast("Tensor", self.norm(x_BTD))

    def logits(self, tokens_BT: Tensor) -> Tensor:
        """Scores of every next token, B T V."""
        return cast("Tensor", self.head(self.hidden(tokens_BT)))

    @torch.no_grad()
    def draw(self, tokens_BT: Tensor, documents_BT: Tensor | None, chance: torch.Generator) -> Tensor:
        """A next token for each position, B T, drawn from the network's own predictions."""
        rows = max(1, LOGITS_BYTES // (4 * self.sizes.vocab_size))
        hidden_ND = self.hidden(tokens_BT, documents_BT).flatten(0, 1)
        pieces = (self.head(hidden).float().softmax(-1) for hidden in hidden_ND.split(rows))
        drawn = [torch.multinomial(p, 1, generator=chance) for p in pieces]
        return torch.cat(drawn).view(tokens_BT.shape)

    def num_parameters(self) -> int:
        """Weights, shared ones counted once."""
        return sum(p.numel() for p in self.parameters())

    def _losses(self, hidden_ND: Tensor, targets_N: Tensor, rows: int) -> Iterator[Tensor]:
        if len(hidden_ND) <= rows:
            yield self._loss(hidden_ND, targets_N)
            return
        for hidden, targets in zip(hidden_ND.split(rows), targets_N.split(rows), strict=True):
            yield checkpoint(self._loss, hidden, targets, use_reentrant=False)

    def _loss(self, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        return F.cross_entropy(self.head(hidden_ND).float(), targets_N, ignore_index=IGNORED, reduction="sum")

    def _initialise(self) -> None:
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                residual = name.endswith(("attention.output.weight", "feed_forward.down.weight"))
                nn.init.normal_(weight, std=INIT_STD / math.sqrt(2 * self.sizes.num_layers) if residual else INIT_STD)
