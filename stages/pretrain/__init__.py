"""Pretrain: a Llama-architecture model from token files, in the order that an index fixed."""

import os
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from schemas.health import Heartbeat, SpikeEvent, TensorHealth
from schemas.tokens import IndexFile, MixtureShare, TokenizedDocument, Tokenizer, TokenOrder, TokenShard
from schemas.training import BatchLedger, Checkpoint, DomainLoss, MeasuredDocument, Model, TrainStep, Validation
from stages.base import Stage
from stages.tables import Outputs, Reader

Count = Annotated[int, Field(ge=1)]


class Pretrain(Stage):
    """Train a language model from scratch on token shards, by PyTorch's own parallelism or through DeepSpeed.

    Sequence length, batch size, number of steps and the order of samples are those of the index (`index.num_steps`, ...).
    """

    name = "pretrain"
    version = 4
    inputs = {
        "tokens": TokenShard,
        "documents": TokenizedDocument,
        "tokenizer": Tokenizer,
        "order": TokenOrder,
        "mixture": MixtureShare,
        "arrays": IndexFile,
    }
    outputs = {
        "model": Model,
        "steps": TrainStep,
        "ledger": BatchLedger,
        "validation": Validation,
        "domains": DomainLoss,
        "measured": MeasuredDocument,
        "checkpoints": Checkpoint,
        "spikes": SpikeEvent,
        "tensors": TensorHealth,
        "heartbeats": Heartbeat,
    }
    resources = "gpus"
    halves = "micro_batch_sequences"
    undivided = "one model is trained on all tokens, by ranks and not by shards"
    shares = ("model", "stream")
    packages = ("torch", "deepspeed", "transformers", "tokenizers", "safetensors")
    # How the work is spread: a run goes on under another engine or layout, from the same folder.
    located = frozenset(
        {
            "engine",
            "zero_stage",
            "tensor_parallel",
            "pipeline_parallel",
            "stages_per_rank",
            "sequence_parallel",
            "compile",
            "checkpoint_activations",
        }
    )

    preset: Literal["tiny", "auroragpt-7b", "llama3-8b"] | None = None
    """A shape by name, instead of `depth`'s; sizes that are given stand all the same."""
    depth: Count = 3
    """Layers; every other size follows from it (see `stages.model.network.Sizes`) unless it is given."""
    width: Count | None = None
    num_heads: Count | None = None
    num_kv_heads: Count | None = None
    hidden_width: Count | None = None
    tie_embeddings: bool | None = None
    """Tied unless a preset says otherwise."""
    qk_norm: bool = False
    """Queries and keys are normalised head by head, which bounds the scores; the export is then of Qwen3's architecture."""
    layers: str = "attention"
    """Kinds of layers from the first, with commas between, over and over: `deltanet,deltanet,attention`.
    Transformers has no architecture with `deltanet` (linear attention) and the rest of ours, so there is no export of it."""
    z_loss: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the squared logarithm of the partition function, 1e-4 where used; the reported loss is without it."""
    micro_batch_sequences: Count = 16
    """At most so many sequences of a rank at a time; gradients are added up over the rest."""
    optimizer: Literal["adamw", "muon", "sophia", "soap"] = "adamw"
    """Muon and SOAP are for the matrices inside layers, with AdamW for the rest; all but AdamW need `zero_stage=0`."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    warmup_steps: Annotated[int, Field(ge=0)] = 40
    """Must be fewer than the steps of the index."""
    schedule: Literal["cosine", "linear", "wsd"] = "cosine"
    """Of the learning rate after warm-up; `wsd` stays at the peak and falls in the last `decay_fraction` of the steps."""
    decay_fraction: Annotated[float, Field(gt=0, le=1)] = 0.2
    final_fraction: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Of the peak, at the last step."""
    batch_doublings: tuple[Count, ...] = ()
    """Steps after which the batch doubles to end at the index's: until the first of n, a step's samples are learned from
    in 2^n updates of equal size, each at a rate smaller by the square root of their number."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    max_gradient_norm: Annotated[float, Field(gt=0)] = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    """Number format of matrix products; weights, gradients and optimizer state are fp32 in both."""
    engine: Literal["native", "deepspeed"] = "native"
    """`native` is PyTorch's FSDP2 and DTensor; `deepspeed` has `zero_stage` and nothing of what follows it."""
    zero_stage: Annotated[int, Field(ge=0, le=3)] = 0
    """What data ranks share out (ZeRO): 0 nothing, 1 the optimizer's state, 2 gradients too, 3 weights too."""
    tensor_parallel: Count = 1
    """Ranks, neighbours, that share the matrices of a layer; ranks / (tensor x pipeline x sequence) read different samples."""
    pipeline_parallel: Count = 1
    """Ranks, far apart, that share the layers (1F1B); micro-batches are made small enough that there is one for each."""
    stages_per_rank: Count = 1
    """Of a pipeline; more than one (interleaved 1F1B) makes its ranks wait less and send more."""
    sequence_parallel: Count = 1
    """Ranks that share the positions of a sequence (Ulysses): for long sequences."""
    checkpoint_activations: bool = False
    """Layers compute their activations again in the backward pass: a third more work, far less memory."""
    compile: bool = False
    """Compile each layer with `torch.compile`."""
    canonical_ranks: Annotated[int, Field(ge=0)] = 0
    """So many virtual ranks, a power of two: the same bits on 1, 2, 4, ... processes up to as many. 0: real ranks."""
    canonical_threads: Count = 1
    """Threads of a process with `canonical_ranks`: bits depend on their number, so it does not follow the machine."""
    mask_documents: bool = False
    """Attention stays inside documents; a document begins with the end token before it, as in validation."""
    validate_every: Count = 50
    """Steps from one measurement on held-out documents to the next; the last step is always measured."""
    validation_tokens: Annotated[int, Field(ge=0)] = 1 << 16
    """At most so many tokens of held-out documents are measured, in whole documents that `index.seed` chooses; 0: all of them.
    A token that is measured costs a third of one that is learned from."""
    checkpoint_every: Count = 100
    keep_checkpoints: Count = 2
    keep_every: Annotated[int, Field(ge=0)] = 0
    """Beside the newest, keep checkpoints of steps that are multiples of it; 0 for none."""
    on_spike: Literal["off", "clip", "skip", "rollback"] = "skip"
    """What is done about a step whose loss, or whose gradient beyond what clipping is for, is far from where its past led: nothing, clip
    its gradient to the norm that was expected, make no update, or go back to the newest healthy checkpoint and leave out the
    sequences that are to blame. A run without such a step has the same bits under each. Looked at afterwards: `parsl trace --spikes`, `parsl replay-spike --step N`."""
    monitor_every: Annotated[int, Field(ge=0)] = 100
    """Steps from one look at what an update changes to the next; 0 for none."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the first weights; which samples a step takes is `index.seed`'s."""

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Train, or go on training from the last checkpoint, then export."""
        # Threads that spin while they wait slow a run beside others on its cores 2 to 18 times; libgomp reads this once.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        from stages.pretrain.train import pretrain

        pretrain(self, inputs, outputs)
