"""Synthesize: conversations, preference pairs and questions made from the documents themselves, by rule."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from schemas.corpus import Document
from schemas.evaluation import Question
from schemas.tokens import TokenizedDocument
from schemas.training import Conversation, Preference
from stages.base import Stage
from stages.tables import Outputs, Reader

Limit = Annotated[int, Field(ge=1)]


class Synthesize(Stage):
    """Make rows for post-training and evaluation out of documents, each row led back to its document."""

    name = "synthesize"
    undivided = "wrong values are taken from the whole corpus"
    inputs = {"documents": Document, "tokenized": TokenizedDocument}
    halves = ""
    outputs = {"conversations": Conversation, "preferences": Preference, "questions": Question}

    seed: int = 0
    max_conversations: Limit = 400
    max_preferences: Limit = 200
    max_questions: Limit = 100
    validation_fraction: Annotated[float, Field(ge=0, le=0.5)] = 0.15
    """Share of documents whose conversations and preferences are held out of post-training."""

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Find statements of quantities and passages, and make rows of them."""
        from stages.synthesize.rows import synthesize

        synthesize(self, inputs["documents"], inputs["tokenized"], outputs)
