"""Synthesize: conversations, preference pairs and questions made from the documents themselves, by rule."""

from collections.abc import Mapping

from schemas.corpus import Document
from schemas.evaluation import Question
from schemas.tokens import TokenizedDocument
from schemas.training import Conversation, Preference
from stages.base import Stage
from stages.tables import Outputs, Reader


class Synthesize(Stage):
    """Make rows for post-training and evaluation out of documents, each row led back to its document."""

    name = "synthesize"
    inputs = {"documents": Document, "tokenized": TokenizedDocument}
    outputs = {"conversations": Conversation, "preferences": Preference, "questions": Question}

    seed: int = 0

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Find statements of quantities and passages, and make rows of them."""
        from stages.synthesize.rows import synthesize

        synthesize(self, inputs["documents"], inputs["tokenized"], outputs)
