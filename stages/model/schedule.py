"""Learning rate by step, and which weights decay.

Linear warm-up, then a cosine down to a tenth (Loshchilov and Hutter 2017): a pure function of the step, so that a
resumed run needs no state of it. Norms and embeddings do not decay; tied embeddings are embeddings.
"""

import math
from typing import Any

from stages.model.network import Network

FINAL_FRACTION = 0.1


def cosine(step: int, peak: float, warmup_steps: int, num_steps: int) -> float:
    """The learning rate of `step` (from 1): `peak` at the end of warm-up, a tenth of it at `num_steps`."""
    if step <= warmup_steps:
        return peak * step / warmup_steps
    progress = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    return peak * (FINAL_FRACTION + (1 - FINAL_FRACTION) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def parameter_groups(network: Network, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for AdamW: matrices of the layers (and an untied head) decay, norms and embeddings do not."""
    named = dict(network.named_parameters())
    kept = [p for name, p in named.items() if p.ndim < 2 or name == "embedding.weight"]
    decayed = [p for name, p in named.items() if p.ndim >= 2 and name != "embedding.weight"]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
