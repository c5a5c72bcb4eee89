"""Posttrain: a model that answers, from one that only continues."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from schemas.training import Conversation, Model, Preference, TrainStep, Validation
from stages.base import Stage
from stages.tables import Outputs, Reader

Epochs = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]


class Posttrain(Stage):
    """Supervised fine-tuning on conversations, then DPO on preference pairs (TRL)."""

    name = "posttrain"
    undivided = "one model is tuned on all rows"
    inputs = {"model": Model, "conversations": Conversation, "preferences": Preference}
    outputs = {"model": Model, "steps": TrainStep, "validation": Validation}
    resources = "gpu"
    halves = ""
    shares = ("model",)
    packages = ("torch", "transformers", "trl")

    # The rates suit a model of about a million parameters; one of billions wants 100 to 1000 times less.
    sft_epochs: Epochs = 3
    sft_learning_rate: Rate = 5e-4
    dpo_epochs: Epochs = 1
    dpo_learning_rate: Rate = 1e-4
    beta: Annotated[float, Field(gt=0)] = 0.1  # DPO: how dear it is to leave the model that SFT made
    batch_size: Annotated[int, Field(ge=1)] = 16  # conversations, or pairs, an optimizer step
    max_tokens: Annotated[int, Field(ge=8)] = 1024  # a longer row is left out; the model's context is a limit too
    seed: Annotated[int, Field(ge=0)] = 0

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Fine-tune, then prefer; one model row comes out."""
        from stages.posttrain.train import posttrain

        posttrain(self, inputs, outputs)
