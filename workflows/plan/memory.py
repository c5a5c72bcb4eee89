"""Bytes that a layout needs on its fullest device.

Weights, gradients and optimizer states by ZeRO stage (Rajbhandari et al. 2020, arXiv 1910.02054); activations that the backward
pass keeps after Korthikanti et al. 2022 (arXiv 2205.05198, section 4) for this architecture, with scores in memory only where
attention is not fused; a pipeline's first stage holds as many micro-batches as there are stages (1F1B), its last one the logits.
What it gives up: the allocator's holes are a flat share, workspaces of single kernels are not looked at.
"""

from dataclasses import dataclass
from typing import NamedTuple

from workflows.plan.layout import Layout, Run
from workflows.plan.machine import GIB, Accelerator

HOLES = 0.03  # of what is allocated
EAGER_LOGIT = 14  # bytes: bf16, fp32, softmax and both gradients
LOGITS_PIECE = 1 * GIB  # `stages.model.network` computes larger logits in pieces: three fp32 copies of one


class Bytes(NamedTuple):
    """A kind of state, a weight: what lies whole on a device below some ZeRO stage, and is shared from there on."""

    weight: int  # shared from stage 3
    gradient: int  # shared from stage 2
    optimizer: int  # shared from stage 1
    compute: int  # the copy in which a gathered layer is multiplied


STATES = {
    "fp32": Bytes(4, 4, 8, 2),
    "bf16 with master": Bytes(2, 2, 12, 2),
    "bf16": Bytes(2, 2, 4, 2),
}


@dataclass(frozen=True)
class Memory:
    """Bytes on the fullest device, by what they are."""

    states: float
    gathered: float
    activations: float
    logits: float
    reserved: float

    @property
    def total(self) -> float:
        """All of them, with the allocator's holes."""
        return (self.states + self.gathered + self.activations + self.logits) * (1 + HOLES) + self.reserved


def predict(run: Run, layout: Layout, device: Accelerator) -> Memory:
    """The memory of the fullest pipeline stage: the first, with most activations, or the last, with the logits."""
    stages = [_stage(run, layout, device, first=True, last=layout.pipeline == 1)]
    if layout.pipeline > 1:
        stages.append(_stage(run, layout, device, first=False, last=True))
    return max(stages, key=lambda memory: memory.total)


def _stage(run: Run, layout: Layout, device: Accelerator, *, first: bool, last: bool) -> Memory:
    shape, tables = run.shape, 1 if first != last or run.shape.tied else 2
    weights = (shape.num_layers / layout.pipeline * shape.layer_weights + tables * shape.table_weights) / layout.tensor
    in_flight = min(layout.pipeline, run.micro_batches(layout)) if first else 1
    tokens = layout.micro_batch * run.sequence_tokens / layout.context
    layers = shape.num_layers / layout.pipeline
    kept = kept_bytes(run, layout) * layers * in_flight
    working = kept_bytes(run, layout, everything=True)  # one layer's backward pass
    return Memory(
        states=_states(run, layout, weights),
        gathered=_gathered(run, layout),
        activations=tokens * (kept + working),
        logits=tokens * logits_bytes(run, layout, tokens) if last else 0.0,
        reserved=device.reserved_gib * GIB,
    )


def _states(run: Run, layout: Layout, weights: float) -> float:
    size, sharers = STATES[run.state], layout.data * layout.context
    shared = (3, size.weight), (2, size.gradient), (1, size.optimizer)
    whole = sum(each / (sharers if layout.zero >= stage else 1) for stage, each in shared)
    return weights * whole


def _gathered(run: Run, layout: Layout) -> float:
    """Layers that ZeRO gathers: this one and the next, and the gradient of one before it is shared out."""
    if layout.zero < 2:
        return 0.0
    size, shape = STATES[run.state], run.shape
    layer = max(shape.layer_weights, shape.table_weights) / layout.tensor
    return layer * ((2 * size.compute if layout.zero == 3 else 0) + size.gradient)


def kept_bytes(run: Run, layout: Layout, *, everything: bool = False) -> float:
    """Bytes a token and layer that are kept for the backward pass (bf16), or of the layer that is at work."""
    shape, shared = run.shape, layout.tensor if layout.split_sequence else 1
    compiled, eager = run.kernels == "compiled", run.kernels not in ("compiled", "fused norms")
    norms = 2 * (2 + (6 if eager else 0)) * shape.width / shared + 4 * shape.width  # what products read is gathered
    rotated = 4 * (shape.width + shape.kv_width) if shape.gated and not compiled else 0  # in fp32
    attention = 4 * (shape.width + shape.kv_width) + rotated
    products = (3 if compiled else 4) if shape.gated else 2
    whole = norms + (attention + 2 * products * shape.hidden_width) / layout.tensor
    inputs = 2 * shape.width / shared
    if everything:
        return whole + scores_bytes(run, layout)
    kept = {"none": whole, "attention": whole, "selective": inputs + whole / 2, "alternate": (inputs + whole) / 2}
    scores = scores_bytes(run, layout) if layout.recompute == "none" else 0.0
    return kept.get(layout.recompute, inputs) + scores


def scores_bytes(run: Run, layout: Layout) -> float:
    """Bytes a token of a layer's attention scores (bf16, and their softmax), where they are in memory."""
    if run.kernels != "unfused attention":
        return 0.0
    return 4.0 * run.shape.num_heads / layout.tensor * run.sequence_tokens / layout.context


def logits_bytes(run: Run, layout: Layout, tokens: float) -> float:
    """Bytes a token of logits and their gradient; of a bounded piece of them where the loss is taken in pieces."""
    words = run.shape.vocab_size / (layout.tensor if run.split_logits else 1)
    return run.logit_bytes * words if run.logit_bytes else min(EAGER_LOGIT * words, LOGITS_PIECE / tokens)
