"""Posttrain: a model that answers, from one that only continues."""

from collections.abc import Mapping

from schemas.training import Conversation, Model, Preference, TrainStep, Validation
from stages.base import Stage
from stages.tables import Outputs, Reader


class Posttrain(Stage):
    """Supervised fine-tuning on conversations, then DPO on preference pairs (TRL)."""

    name = "posttrain"
    inputs = {"model": Model, "conversations": Conversation, "preferences": Preference}
    outputs = {"model": Model, "steps": TrainStep, "validation": Validation}
    resources = "gpu"
    packages = ("torch", "transformers", "trl")

    seed: int = 0

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Fine-tune, then prefer; one model row comes out."""
        from stages.posttrain.train import posttrain

        posttrain(self, inputs, outputs)
