"""Held-out measurements, exact whatever the batches: sums over tokens and pairs, divided once.

TRL's own evaluation averages batch means, so a short last batch weighs too much; the tests compare the two where they
must agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy, logsigmoid

IGNORED = -100  # the label of a token that does not count
Labelled = tuple[list[int], list[int]]  # token ids and labels of a sequence


def log_probs(model: Any, sequences: Sequence[Labelled], batch_size: int) -> torch.Tensor:
    """Log-probability of the labelled tokens of each sequence, in nats: float64 [number of sequences]."""
    model.eval()
    sums = [_batch_log_probs(model, sequences[i : i + batch_size]) for i in range(0, len(sequences), batch_size)]
    return torch.cat(sums) if sums else torch.zeros(0, dtype=torch.float64)


@torch.no_grad()
def _batch_log_probs(model: Any, sequences: Sequence[Labelled]) -> torch.Tensor:
    # below: [batch, tokens], logits [batch, tokens, words]
    ids = _padded([ids for ids, _ in sequences], 0, model.device)
    labels = _padded([labels for _, labels in sequences], IGNORED, model.device)
    mask = _padded([[1] * len(ids) for ids, _ in sequences], 0, model.device)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1].float()
    targets = labels[:, 1:]
    losses = cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none")
    return -losses.view_as(targets).double().sum(dim=1).cpu()


def _padded(rows: Sequence[list[int]], filler: int, device: Any) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [filler] * (longest - len(row)) for row in rows], device=device)


def loss_per_token(model: Any, sequences: Sequence[Labelled], batch_size: int) -> float:
    """Nats a labelled token. The first token of a sequence has no prediction, so it never counts."""
    num_tokens = sum(label != IGNORED for _, labels in sequences for label in labels[1:])
    return -float(log_probs(model, sequences, batch_size).sum()) / num_tokens


@dataclass(frozen=True)
class Pairs:
    """Tokenized preference pairs: prompt with answer, labelled on the answer."""

    chosen: list[Labelled]
    rejected: list[Labelled]


def pair_log_probs(model: Any, pairs: Pairs, batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of the chosen and of the rejected answers, each float64 [number of pairs]."""
    return log_probs(model, pairs.chosen, batch_size), log_probs(model, pairs.rejected, batch_size)


def preference_values(
    policy: tuple[torch.Tensor, torch.Tensor], reference: tuple[torch.Tensor, torch.Tensor], beta: float
) -> dict[str, float]:
    """DPO's loss, and how often and by how much its implicit reward prefers the chosen answer (arXiv 2305.18290, eq. 7).

    A tie counts one half: before the first step policy and reference are one, and every pair is a tie.
    """
    margins = beta * ((policy[0] - reference[0]) - (policy[1] - reference[1]))
    likelier = (policy[0] > policy[1]).double().mean()
    return {
        "held-out loss": float(-logsigmoid(margins).mean()),
        "preference accuracy": float((torch.sign(margins) + 1).mean() / 2),
        "preference margin": float(margins.mean()),
        "likelihood accuracy": float(likelier),
    }
