"""A Llama-architecture decoder: RoPE, RMSNorm, SwiGLU, grouped-query attention, tied or untied embeddings.

Su et al. 2021 (RoPE, in the rotate-half convention of Hugging Face), Zhang and Sennrich 2019 (RMSNorm), Shazeer 2020
(SwiGLU), Ainslie et al. 2023 (grouped queries). On request queries and keys are normalised (Henry et al. 2020, placed as
in Qwen3), the partition function is held near 1 (z-loss, Chowdhery et al. 2022), and layers of linear attention take the
place of attention. What it gives up: dropout, and a key-value cache (generation is the exported model's business).

Shapes: B sequences, T tokens, D width, H query heads, K key-value heads, S head size, F hidden width, V vocabulary.
"""

import math
from collections.abc import Callable, Iterator
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from stages.model.deltanet import GatedDeltaNet
from stages.model.operations import IGNORED, linear_cross_entropy, rms_norm, rotate, rows_at_a_time
from stages.model.sizes import Sizes

__all__ = ["IGNORED", "Network", "Sizes"]

INIT_STD = 0.02  # GPT-2's; projections back into the residual stream get 1/sqrt(2 * layers) of it
ALL = slice(None)
Reduction = Literal["mean", "sum", "none"]


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight, in fp32 whatever the input's type; see `operations.rms_norm`."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Same shape out as in."""
        return rms_norm(x, self.weight, self.eps)


def rope_tables(num_tokens: int, head_size: int, theta: float) -> tuple[Tensor, Tensor]:
    """cos_TS and sin_TS: the angle of feature pair i at position t is t * theta^(-2i/S); pairs are (i, i + S/2)."""
    frequencies = 1.0 / theta ** (torch.arange(0, head_size, 2, dtype=torch.float32) / head_size)
    angles_TS = torch.outer(torch.arange(num_tokens, dtype=torch.float32), frequencies).repeat(1, 2)
    return angles_TS.cos(), angles_TS.sin()


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
        self.query_norm, self.key_norm = (
            RMSNorm(sizes.head_size, sizes.norm_eps) if sizes.qk_norm else nn.Identity() for _ in range(2)
        )
        self.attend: Callable[..., Tensor] = F.scaled_dot_product_attention  # `parallelize` may put another here

    def forward(self, x_BTD: Tensor, cos_TS: Tensor, sin_TS: Tensor, seen_B1TT: Tensor | None = None) -> Tensor:
        """Mix every position with those before it, or with those that are marked as seen."""
        query_BHTS = rotate(self.query_norm(self._heads(self.query(x_BTD))), cos_TS, sin_TS)
        key_BKTS = rotate(self.key_norm(self._heads(self.key(x_BTD))), cos_TS, sin_TS)
        value_BKTS = self._heads(self.value(x_BTD))
        shared = self.sizes.num_heads != self.sizes.num_kv_heads
        mixed_BHTS = self.attend(
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
    """One layer: attention or what takes its place, then feed-forward, each normalised before and added after."""

    def __init__(self, sizes: Sizes, kind: str = "attention") -> None:
        super().__init__()
        self.attention_norm = RMSNorm(sizes.width, sizes.norm_eps)
        self.attention = GatedDeltaNet(sizes) if kind == "deltanet" else Attention(sizes)
        self.feed_forward_norm = RMSNorm(sizes.width, sizes.norm_eps)
        self.feed_forward = FeedForward(sizes)

    def forward(
        self,
        x_BTD: Tensor,
        cos_TS: Tensor,
        sin_TS: Tensor,
        seen_B1TT: Tensor | None = None,
        documents_BT: Tensor | None = None,
    ) -> Tensor:
        """The residual stream after this layer."""
        normal_BTD = self.attention_norm(x_BTD)
        if isinstance(self.attention, GatedDeltaNet):
            x_BTD = x_BTD + self.attention(normal_BTD, documents_BT)
        else:
            x_BTD = x_BTD + self.attention(normal_BTD, cos_TS, sin_TS, seen_B1TT)
        return cast("Tensor", x_BTD + self.feed_forward(self.feed_forward_norm(x_BTD)))


class Network(nn.Module):
    """The decoder. `forward` gives the loss in nats a token; `logits` the scores of the next token."""

    def __init__(self, sizes: Sizes, z_loss: float = 0.0) -> None:
        super().__init__()
        self.sizes, self.z_loss = sizes, z_loss
        self.embedding = nn.Embedding(sizes.vocab_size, sizes.width)
        self.blocks = nn.ModuleList(Block(sizes, kind) for kind in sizes.kinds)
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
        Reduction `none`, for measuring, gives the loss of every position, B T.
        """
        hidden_ND, targets_N = self.hidden(tokens_BT, documents_BT).flatten(0, 1), targets_BT.flatten()
        if reduction == "none":
            return self._each_loss(hidden_ND, targets_N).view_as(targets_BT)
        if torch.is_grad_enabled() and not isinstance(self.head.weight, DTensor):
            total = linear_cross_entropy(hidden_ND, self.head.weight, targets_N, self.z_loss)
        else:
            total = sum(self._losses(hidden_ND, targets_N), torch.zeros((), device=hidden_ND.device))
        return total if reduction == "sum" else total / (targets_N != IGNORED).sum()

    def hidden(self, tokens_BT: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        """The normalised residual stream after the last layer, B T D."""
        return cast("Tensor", self.norm(self.through(self.embedding(tokens_BT), documents_BT)))

    def through(self, x_BTD: Tensor, documents_BT: Tensor | None = None, which: slice = ALL) -> Tensor:
        """The residual stream after the layers, or after `which` of them."""
        num_tokens = x_BTD.shape[1]
        masked = documents_BT is not None and "attention" in self.sizes.kinds
        seen_B1TT = block_diagonal(documents_BT) if masked and documents_BT is not None else None
        cos_TS, sin_TS = cast("Tensor", self.cos_TS)[:num_tokens], cast("Tensor", self.sin_TS)[:num_tokens]
        for block in list(self.blocks)[which]:
            x_BTD = block(x_BTD, cos_TS, sin_TS, seen_B1TT, documents_BT)
        return x_BTD

    def logits(self, tokens_BT: Tensor) -> Tensor:
        """Scores of every next token, B T V."""
        return cast("Tensor", self.head(self.hidden(tokens_BT)))

    @torch.no_grad()
    def draw(self, tokens_BT: Tensor, documents_BT: Tensor | None, chance: torch.Generator) -> Tensor:
        """A next token for each position, B T, drawn from the network's own predictions."""
        hidden_ND = self.hidden(tokens_BT, documents_BT).flatten(0, 1)
        rows = rows_at_a_time(self.sizes.vocab_size, hidden_ND.device)
        pieces = (self.head(hidden).float().softmax(-1) for hidden in hidden_ND.split(rows))
        drawn_BT: Tensor = torch.cat([torch.multinomial(p, 1, generator=chance) for p in pieces]).view_as(tokens_BT)
        return drawn_BT

    def num_parameters(self) -> int:
        """Weights, shared ones counted once."""
        return sum(p.numel() for p in self.parameters())

    def _losses(self, hidden_ND: Tensor, targets_N: Tensor) -> Iterator[Tensor]:
        """Without a gradient, or with a head that is cut over ranks: autograd's way, pieces computed again backward."""
        rows = rows_at_a_time(self.sizes.vocab_size, hidden_ND.device)
        if len(hidden_ND) <= rows:
            yield self._loss(hidden_ND, targets_N)
            return
        for hidden, targets in zip(hidden_ND.split(rows), targets_N.split(rows), strict=True):
            yield checkpoint(self._loss, hidden, targets, use_reentrant=False)

    def _each_loss(self, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        rows = rows_at_a_time(self.sizes.vocab_size, hidden_ND.device)
        pieces = zip(hidden_ND.split(rows), targets_N.split(rows), strict=True)
        losses = (F.cross_entropy(self.head(h).float(), t, ignore_index=IGNORED, reduction="none") for h, t in pieces)
        return torch.cat(list(losses))

    def _loss(self, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        """The sum of the cross entropies. The z-loss has a gradient and no value: what is reported is nats a token."""
        logits_NV = self.head(hidden_ND).float()
        loss = F.cross_entropy(logits_NV, targets_N, ignore_index=IGNORED, reduction="sum")
        if not self.z_loss:
            return loss
        log_z_N = logits_NV.logsumexp(-1).masked_fill(targets_N == IGNORED, 0.0)
        penalty: Tensor = self.z_loss * log_z_N.square().sum()
        return loss + (penalty - penalty.detach())

    def _initialise(self) -> None:
        for name, weight in self.named_parameters():
            if weight.ndim == 2:  # norms are 1, and linear attention has first values of its own for what is not a map
                residual = name.endswith(("attention.output.weight", "feed_forward.down.weight"))
                nn.init.normal_(weight, std=INIT_STD / math.sqrt(2 * self.sizes.num_layers) if residual else INIT_STD)
