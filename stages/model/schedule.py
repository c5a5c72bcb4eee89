"""Learning rate by step, and which weights decay.

Linear warm-up, then a cosine down to a tenth (Loshchilov and Hutter 2017): a pure function of the step, so that a
resumed run needs no state of it. Norms and embeddings do not decay; tied embeddings are embeddings.
"""

import math
from typing import Any

from torch import nn

from stages.model.network import Network

FINAL_FRACTION = 0.1


def cosine(step: int, peak: float, warmup_steps: int, num_steps: int) -> float:
    """The learning rate of `step` (from 1): `peak` at the end of warm-up, a tenth of it at `num_steps`."""
    if step <= warmup_steps:
        return peak * step / warmup_steps
    progress = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    return peak * (FINAL_FRACTION + (1 - FINAL_FRACTION) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def parameter_groups(network: Network, weight_decay: float, *, matrices: bool = False) -> list[dict[str, Any]]:
    """Groups of weights: matrices of the layers (and an untied head) decay, norms and embeddings do not.

    With `matrices`, those of linear maps inside the layers are a group of their own, so marked.
    """
    named, hidden = dict(network.named_parameters()), hidden_matrices(network) if matrices else set()
    kept = [p for name, p in named.items() if p.ndim < 2 or name == "embedding.weight"]
    decayed = [p for name, p in named.items() if p.ndim >= 2 and name != "embedding.weight" and name not in hidden]
    groups: list[dict[str, Any]] = [
        {"params": [p for name, p in named.items() if name in hidden], "weight_decay": weight_decay, "matrices": True},
        {"params": decayed, "weight_decay": weight_decay, "matrices": False},
        {"params": kept, "weight_decay": 0.0, "matrices": False},
    ]
    return [group for group in groups if group["params"]]


def hidden_matrices(network: Network) -> set[str]:
    """Names of the weights of linear maps from activations to activations."""
    return {f"blocks.{name}.weight" for name, m in network.blocks.named_modules() if isinstance(m, nn.Linear)}
