"""Gated DeltaNet: attention whose memory is one matrix a head, so that its cost is linear in the context.

Yang et al. 2024 (arXiv:2412.06464). Each token t fades the state, erases some of what stands under its
key, and writes its value there:

    S_t = a_t (I - b_t k_t k_t') S_(t-1) + b_t k_t v_t';   o_t = S_t' q_t / sqrt(S)

with a in (0, 1) and b in (0, 1) from the token, keys and queries of length 1, a convolution over four tokens before
them, and a norm with a gate after. Chunks of 64 tokens are computed as matrix products: inside a chunk
S_t = e^(g_t) S_0 + sum_j e^(g_t - g_j) k_j u_j', where u solves a unit triangular system. All of it in fp32. What it
gives up: a kernel of its own (the state goes through memory once a chunk), and the export to Hugging Face.

Shapes: B sequences, T tokens, D width, H heads, S head size, N chunks of C tokens; X stands for (N, B, H).
"""

import math
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.model.sizes import CONVOLUTION_TOKENS, Sizes

CHUNK = 64
DECAYS = (1.0, 16.0)  # range of the first decay rates, and of the first steps below: those of Mamba-2 (Dao and Gu 2024)
STEPS = (1e-3, 1e-1)


class Written(NamedTuple):
    """What a layer reads and writes, B H T S and B H T, in fp32: `fade` is log a, `strength` b."""

    query_BHTS: Tensor
    key_BHTS: Tensor
    value_BHTS: Tensor
    fade_BHT: Tensor
    strength_BHT: Tensor


class GatedDeltaNet(nn.Module):
    """A layer that takes the place of attention; every head has a key and value of its own."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width, heads = sizes.width, sizes.num_heads
        self.num_heads = heads
        self.query, self.key, self.value, self.gate, self.output = (
            nn.Linear(width, width, bias=False) for _ in range(5)
        )
        self.fade, self.strength = nn.Linear(width, heads, bias=False), nn.Linear(width, heads, bias=False)
        self.convolution = nn.Parameter(torch.empty(3, CONVOLUTION_TOKENS, width).uniform_(-0.5, 0.5))
        self.fade_rate = nn.Parameter(torch.empty(heads).uniform_(*DECAYS).log())
        steps_H = torch.empty(heads).uniform_(*(math.log(s) for s in STEPS)).exp()
        self.fade_step = nn.Parameter(steps_H + torch.log(-torch.expm1(-steps_H)))  # softplus of it is the step
        self.norm = nn.RMSNorm(sizes.head_size, sizes.norm_eps)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        """Mix every position with those before it, of its own document if it is told them."""
        places = (self.query, self.key, self.value)
        mixed = [
            F.silu(convolve(place(x_BTD), taps_CD, documents_BT))
            for place, taps_CD in zip(places, self.convolution, strict=True)
        ]
        step_BTH = F.softplus(self.fade(x_BTD).float() + self.fade_step)
        strength_BTH = self.strength(x_BTD).float().sigmoid()
        with torch.autocast(x_BTD.device.type, enabled=False):
            query, key, value = (m.float().unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for m in mixed)
            written = Written(
                F.normalize(query, dim=-1),
                F.normalize(key, dim=-1),
                value,
                (-self.fade_rate.float().exp() * step_BTH).transpose(1, 2),
                strength_BTH.transpose(1, 2),
            )
            read_BTHS = delta_rule(written, documents_BT).transpose(1, 2)
            read_BTD = self.norm(read_BTHS).flatten(2)
        return cast("Tensor", self.output(read_BTD.to(x_BTD.dtype) * F.silu(self.gate(x_BTD))))


def convolve(x_BTD: Tensor, taps_CD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
    """Each channel as a sum over its last four tokens (those of the same document), weighted by `taps`, newest first."""
    total = x_BTD * taps_CD[0]
    for back, taps_D in enumerate(taps_CD[1:], 1):
        before_BTD = F.pad(x_BTD, (0, 0, back, 0))[:, : x_BTD.shape[1]]
        if documents_BT is not None:
            same_BT = documents_BT[:, back:] == documents_BT[:, : documents_BT.shape[1] - back]
            before_BTD = before_BTD * F.pad(same_BT, (back, 0))[:, : x_BTD.shape[1], None]
        total = total + before_BTD * taps_D
    return total


def delta_rule(written: Written, documents_BT: Tensor | None = None) -> Tensor:
    """What each token reads, B H T S, chunk after chunk; the state is empty at the start of a document."""
    num_tokens, size = written.query_BHTS.shape[2:]
    query, key, value, fade, strength = (_chunks(x) for x in written)
    same_XCC, seen_XC = _visible(documents_BT, fade)
    g_XC = fade.cumsum(-1)
    decay_XCC = (g_XC[..., :, None] - g_XC[..., None, :]).masked_fill(~same_XCC, -math.inf).exp()
    system_XCC = (strength[..., None] * (key @ key.mT) * decay_XCC).tril(-1)
    from_start_XC = g_XC.exp() * seen_XC
    both = torch.cat((strength[..., None] * value, (strength * from_start_XC)[..., None] * key), dim=-1)
    solved = torch.linalg.solve_triangular(system_XCC, both, upper=False, unitriangular=True)
    alone_XCS, per_state_XCS = solved.split(size, dim=-1)
    scores_XCC = (query @ key.mT) * decay_XCC
    query = query * from_start_XC[..., None]
    to_end = key * decay_XCC[..., -1, :, None]
    state, read = key.new_zeros(*key.shape[1:3], size, size), []
    for n in range(len(key)):
        new = alone_XCS[n] - per_state_XCS[n] @ state
        read.append(query[n] @ state + scores_XCC[n] @ new)
        state = from_start_XC[n, ..., -1, None, None] * state + to_end[n].mT @ new
    read_BHTS = torch.stack(read, 2).flatten(2, 3)[:, :, :num_tokens]
    return read_BHTS / math.sqrt(size)


def _chunks(x_BHT: Tensor) -> Tensor:
    """B H T .. as N B H C .., the last chunk filled up with zeros: those write nothing and fade nothing."""
    missing = -x_BHT.shape[2] % CHUNK
    filled: Tensor = F.pad(x_BHT, (*(0, 0) * (x_BHT.ndim - 3), 0, missing)).unflatten(2, (-1, CHUNK))
    return filled.movedim(2, 0)


def _visible(documents_BT: Tensor | None, fade_XC: Tensor) -> tuple[Tensor, Tensor]:
    """Which tokens of its chunk each token sees, and whether it sees the state before the chunk (N B 1 C C, N B 1 C)."""
    causal_CC = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=fade_XC.device).tril()
    if documents_BT is None:
        return causal_CC, torch.ones((), device=fade_XC.device)
    documents_XC = _chunks(documents_BT[:, None])
    before_XC = documents_XC[..., -1:].roll(1, 0)
    same_XCC = documents_XC[..., :, None] == documents_XC[..., None, :]
    return same_XCC & causal_CC, documents_XC == before_XC
