"""Evaluate: what a model knows, with standard errors and every sample kept."""

from collections.abc import Mapping

from schemas.corpus import Document
from schemas.evaluation import Question, Sample, Score
from schemas.tokens import TokenizedDocument
from schemas.training import Model
from stages.base import Stage
from stages.tables import Outputs, Reader


class Evaluate(Stage):
    """Score a model with lm-eval on questions from the corpus and on held-out text."""

    name = "evaluate"
    inputs = {"model": Model, "questions": Question, "documents": Document, "tokenized": TokenizedDocument}
    outputs = {"scores": Score, "samples": Sample}
    resources = "gpu"
    packages = ("torch", "transformers", "lm_eval")

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Write the tasks as local files, run them, keep every sample."""
        from stages.evaluate.harness import evaluate

        evaluate(self, inputs, outputs)
