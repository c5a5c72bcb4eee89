"""Tables of evaluation: questions, scores with standard errors, and every sample that they were computed from."""

from typing import Annotated

from pydantic import Field

from schemas.corpus import Int32
from schemas.table import Row

BLANK = "____"  # in a question: where a choice goes


class Question(Row):
    """A multiple-choice question made from a document; `answer` is the index of the true choice.

    Where `question` has one `BLANK`, a choice fills it; else a choice answers it.
    """

    row_id: str
    question: str
    choices: Annotated[list[str], Field(min_length=2)]
    answer: Annotated[Int32, Field(ge=0)]
    doc_id: str
    licence: str | None


class Score(Row):
    """A task's metric with its standard error, over `num_samples` samples."""

    model: str
    task: str
    metric: str
    value: float
    standard_error: float | None
    num_samples: Int32
    higher_is_better: bool


class Sample(Row):
    """One item as the model saw and answered it. `responses` holds log-likelihoods, a choice each."""

    model: str
    task: str
    sample_id: Int32
    prompt: str
    target: str
    choices: list[str]
    responses: list[float]
    metrics: str
