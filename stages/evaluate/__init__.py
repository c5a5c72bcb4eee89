"""Evaluate: what a model knows, with standard errors and every sample kept."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from schemas.corpus import Document
from schemas.evaluation import BenchmarkItem, ItemOverlap, Question, Sample, Score
from schemas.tokens import TokenizedDocument
from schemas.training import Model
from stages.base import Stage
from stages.tables import Outputs, Reader


class Evaluate(Stage):
    """Score a model with lm-eval on questions from the corpus, on held-out text, and on benchmarks of others."""

    name = "evaluate"
    undivided = "all samples are scored together"
    inputs = {
        "model": Model,
        "questions": Question,
        "documents": Document,
        "tokenized": TokenizedDocument,
        "items": BenchmarkItem,
        "overlaps": ItemOverlap,
    }
    outputs = {"scores": Score, "samples": Sample}
    resources = "gpu"
    halves = ""
    shares = ("model",)
    packages = ("torch", "transformers", "lm_eval", "datasets", "accelerate")

    limit: Annotated[int, Field(ge=0)] = 0
    """The first so many questions, held-out documents and items of a benchmark; 0 is all."""
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Sequences a forward pass; sums of padded batches differ in the last digits."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    num_answers: Annotated[int, Field(ge=0)] = 8
    """Questions that are also answered in the model's own words."""
    max_answer_tokens: Annotated[int, Field(ge=1)] = 48

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Write the tasks as local files, run them, keep every sample."""
        from stages.evaluate.harness import evaluate

        evaluate(self, inputs, outputs)
