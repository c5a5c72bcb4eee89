"""How a training run is cut up over devices, and what keeps a model from being cut up so."""

from dataclasses import dataclass
from typing import Literal

from workflows.plan.shape import Shape

Recompute = Literal["none", "selective", "alternate", "attention", "full"]


@dataclass(frozen=True)
class Layout:
    """Sizes of the groups, and what is kept for the backward pass.

    `data` ranks share states by ZeRO stage `zero`; `context` ranks share a sequence by heads (Ulysses); `recompute`: nothing, what
    is cheap (attention and half of the products are kept), every second layer, unfused attention, or whole layers.
    """

    data: int
    tensor: int = 1
    pipeline: int = 1
    context: int = 1
    zero: int = 3
    micro_batch: int = 1
    recompute: Recompute = "none"
    split_sequence: bool = True  # norms and residuals are shared by the tensor group too (Korthikanti et al. 2022)

    @property
    def devices(self) -> int:
        """All of them."""
        return self.data * self.tensor * self.pipeline * self.context

    def __str__(self) -> str:
        sizes = {"data": self.data, "tensor": self.tensor, "pipeline": self.pipeline, "sequence": self.context}
        words = [f"{name} {size}" for name, size in sizes.items() if size > 1 or name == "data"]
        kept = {"none": "keeps all", "full": "recomputes all"}.get(self.recompute, f"recomputes {self.recompute}")
        return f"{' x '.join(words)}, ZeRO {self.zero}, micro-batch {self.micro_batch}, {kept}"


@dataclass(frozen=True)
class Run:
    """What is trained: a model, its sequences, and the software's habits.

    `state`: "fp32" keeps fp32 weights, gradients and two moments (16 bytes a weight), "bf16 with master" also bf16 weights, "bf16"
    everything in bf16 (8 bytes). `kernels`: element-wise ones compiled together, norms alone, none, or none and attention scores in memory.
    `logit_bytes`: of a logit and its gradient in the loss, 0 where the loss is taken in pieces; `split_logits` over the tensor group.
    """

    shape: Shape
    sequence_tokens: int
    batch_sequences: int
    state: Literal["fp32", "bf16 with master", "bf16"] = "fp32"
    kernels: Literal["compiled", "fused norms", "eager", "unfused attention"] = "compiled"
    logit_bytes: int = 0
    split_logits: bool = True

    def micro_batches(self, layout: Layout) -> int:
        """Micro-batches that one data-parallel rank takes in a step."""
        return max(1, self.batch_sequences // (layout.data * layout.micro_batch))


def misfits(run: Run, layout: Layout) -> list[str]:
    """Why the model and the batch do not divide so; empty where they do."""
    shape, found = run.shape, []
    ranks = layout.tensor * layout.context
    if shape.num_heads % ranks or (shape.num_kv_heads % ranks and ranks % shape.num_kv_heads):
        sizes = f"tensor {layout.tensor} x sequence {layout.context}" if layout.context > 1 else f"tensor {ranks}"
        found.append(f"{shape.num_heads} heads over {shape.num_kv_heads} do not split over {sizes}")
    if shape.hidden_width % layout.tensor:
        found.append(f"hidden width {shape.hidden_width} does not split over tensor {layout.tensor}")
    if shape.num_layers % layout.pipeline:
        found.append(f"{shape.num_layers} layers do not split into {layout.pipeline} stages")
    if run.sequence_tokens % (layout.context * (layout.tensor if layout.split_sequence else 1)):
        found.append(f"{run.sequence_tokens} tokens do not split over {layout.context} x {layout.tensor} ranks")
    if run.batch_sequences % (layout.data * layout.micro_batch):
        found.append(f"a batch of {run.batch_sequences} does not split into {layout.data} x {layout.micro_batch}")
    if layout.pipeline > 1 and layout.zero > 1:
        found.append(f"ZeRO {layout.zero} would gather weights for every micro-batch of a pipeline")
    return found
