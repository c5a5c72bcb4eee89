"""Seconds of a training step of a layout, and so tokens a second.

A device's time is the sum of matrix products at the efficiency that published runs reach, attention, element-wise kernels at the
rate of the memory, and the optimizer. Added are the collectives of tensor and sequence parallelism, that part of ZeRO's traffic
that computing does not hide (ring algorithms: Patarasuk and Yuan 2009; every rank is a hop), and a pipeline's bubble, (stages - 1)
micro-batches of a step (Narayanan et al. 2021, arXiv 2104.04473). What it gives up: stragglers, contention on the network, reading
of data.
"""

from dataclasses import dataclass

from workflows.plan.layout import Layout, Run
from workflows.plan.machine import Machine
from workflows.plan.memory import STATES

ATTENTION = 0.5  # of the products' efficiency: FlashAttention 2 forward and backward (Dao 2023, arXiv 2307.08691)
HALF_WIDTH = 100  # at which products reach half of the efficiency of wide ones: fitted, see `machine`
LAUNCH_SECONDS, KERNELS = 5e-6, 40  # a kernel; kernels a layer and pass
RECOMPUTED = {"full": 1.0, "selective": 0.5, "alternate": 0.5}  # share of the forward pass that is computed again
SCORE_PASSES = 12  # over the scores of unfused attention, forward and backward: write, scale, mask, softmax, mix and their gradients


@dataclass(frozen=True)
class Step:
    """Seconds of one step, by what they are spent on."""

    products: float
    attention: float
    elementwise: float
    optimizer: float
    tensor: float
    states: float
    bubble: float
    tokens: float

    @property
    def seconds(self) -> float:
        """The whole step."""
        parts = (self.products, self.attention, self.elementwise, self.optimizer, self.tensor, self.states, self.bubble)
        return sum(parts)

    @property
    def tokens_per_second(self) -> float:
        """Of all devices."""
        return self.tokens / self.seconds


def predict(run: Run, layout: Layout, machine: Machine, efficiency: float | None = None) -> Step:
    """The step of a layout that fills the machine; `efficiency` stands in for the accelerator's own."""
    narrow = run.shape.width / layout.tensor
    share = (efficiency or machine.accelerator.efficiency) * narrow / (narrow + HALF_WIDTH)
    rate = machine.accelerator.tflops * 1e12 * share
    micro_batches = run.micro_batches(layout)
    tokens = layout.micro_batch * run.sequence_tokens / layout.context  # of a micro-batch, on a device
    products = micro_batches * tokens * _products(run, layout) / rate
    attention = micro_batches * tokens * _attention(run, layout, machine, rate)
    elementwise = micro_batches * tokens * _elementwise(run, layout) / (machine.accelerator.memory_gbytes * 1e9)
    launches = micro_batches * LAUNCH_SECONDS * KERNELS * _passes(layout) * run.shape.num_layers / layout.pipeline
    elementwise = max(elementwise, launches - products - attention)  # a small model waits for its kernels to start
    exchanged = micro_batches * _exchanged(run, layout, machine, tokens)
    busy = products + attention + elementwise
    states = _states(run, layout, machine, micro_batches)
    return Step(
        products=products,
        attention=attention,
        elementwise=elementwise,
        optimizer=_optimizer(run, layout) / (machine.accelerator.memory_gbytes * 1e9),
        tensor=exchanged,
        states=max(states - machine.accelerator.overlap * busy, (1 - machine.accelerator.overlap) * states),
        bubble=(busy + exchanged) * (layout.pipeline - 1) / micro_batches,
        tokens=run.batch_sequences * run.sequence_tokens,
    )


def _passes(layout: Layout) -> float:
    """Forward passes that a step's operations add up to: one, two for the backward pass, and what is recomputed."""
    return 3.0 + RECOMPUTED.get(layout.recompute, 0.0)


def _products(run: Run, layout: Layout) -> float:
    """Operations a token and device of the matrix products; the head is not recomputed."""
    layers = 2 * run.shape.num_layers * run.shape.layer_weights * _passes(layout)
    return (layers + 6 * run.shape.table_weights) / (layout.tensor * layout.pipeline)


def _attention(run: Run, layout: Layout, machine: Machine, rate: float) -> float:
    """Seconds a token and device of scores and mixing."""
    fused = run.kernels != "unfused attention"
    share = run.shape.num_layers / (layout.tensor * layout.pipeline)
    passes = _passes(layout) + (0.5 if fused else (1.0 if layout.recompute == "attention" else 0.0))
    operations = run.shape.attention_operations(run.sequence_tokens, causal=fused) * share * passes
    if fused:
        return operations / (rate * ATTENTION)
    traffic = 2 * run.shape.num_heads * run.sequence_tokens * share * SCORE_PASSES * passes / 3
    return operations / rate + traffic / (machine.accelerator.memory_gbytes * 1e9)


def _elementwise(run: Run, layout: Layout) -> float:
    """Bytes a token and device that norms, residuals, activations and the loss read and write."""
    shape, shared = run.shape, layout.tensor if layout.split_sequence else 1
    slower = {"compiled": 1.0, "fused norms": 1.5}.get(run.kernels, 2.5)
    layer = (20 * shape.width / shared + (8 * shape.width + 6 * shape.hidden_width) / layout.tensor) * slower
    return (shape.num_layers / layout.pipeline) * layer * _passes(layout) + 30 * shape.vocab_size / layout.tensor


def _optimizer(run: Run, layout: Layout) -> float:
    """Bytes that the optimizer reads and writes in a step: every state twice."""
    size = STATES[run.state]
    local = run.shape.num_weights / (layout.tensor * layout.pipeline)
    return 2 * local * (sum(size[:3])) / (layout.data * layout.context if layout.zero else 1)


def _exchanged(run: Run, layout: Layout, machine: Machine, tokens: float) -> float:
    """Seconds of a micro-batch's collectives inside layers: four all-reduces over `tensor`, eight all-to-alls over `context`."""
    layers = run.shape.num_layers / layout.pipeline
    hop = machine.accelerator.hop_seconds
    again = _passes(layout) / 3
    seconds = 0.0
    if (ranks := layout.tensor) > 1:
        moved = tokens * 2 * run.shape.width * 2 * (ranks - 1) / ranks
        seconds += layers * 4 * again * (moved / machine.bandwidth(ranks) + ranks * hop)
    if (ranks := layout.context) > 1:
        moved = tokens * 2 * (run.shape.width + run.shape.kv_width) / layout.tensor * (ranks - 1) / ranks
        seconds += layers * 4 * again * (moved / machine.bandwidth(ranks, layout.tensor) + ranks * hop)
    return seconds


def _states(run: Run, layout: Layout, machine: Machine, micro_batches: int) -> float:
    """Seconds of a step's gathering of weights and sharing out of gradients, if nothing were hidden."""
    ranks = layout.data * layout.context
    if ranks == 1:
        return 0.0
    size, shape = STATES[run.state], run.shape
    local = shape.num_weights / (layout.tensor * layout.pipeline) * (ranks - 1) / ranks
    gathers, shares = {3: (2 * micro_batches, micro_batches), 2: (1, micro_batches)}.get(layout.zero, (1, 1))
    moved = local * (gathers * size.compute + shares * size.gradient)
    collectives = (gathers + shares) * shape.num_layers / layout.pipeline
    bandwidth = machine.bandwidth(ranks, layout.tensor)
    return moved / bandwidth + collectives * ranks * machine.accelerator.hop_seconds
