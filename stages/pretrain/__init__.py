"""Pretrain: a Llama-architecture model from token files."""

from collections.abc import Mapping

from schemas.tokens import TokenizedDocument, Tokenizer, TokenShard
from schemas.training import Checkpoint, Model, TrainStep, Validation
from stages.base import Stage
from stages.tables import Outputs, Reader


class Pretrain(Stage):
    """Train a language model from scratch on token shards through the DeepSpeed engine."""

    name = "pretrain"
    inputs = {"shards": TokenShard, "documents": TokenizedDocument, "tokenizer": Tokenizer}
    outputs = {"model": Model, "steps": TrainStep, "validation": Validation, "checkpoints": Checkpoint}
    resources = "gpus"
    packages = ("torch", "deepspeed", "transformers")

    num_steps: int = 300
    seed: int = 0

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Train, or go on training from the last checkpoint, then export."""
        from stages.pretrain.train import pretrain

        pretrain(self, inputs, outputs)
