"""Tables of evaluation: questions, scores with standard errors, and every sample that they were computed from."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.corpus import Float32, Int32, Sha256
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


class BenchmarkItem(Row):
    """An item of a benchmark of others, as its publisher gives it. `answer` is the text of the right answer.

    `choices` is empty where the answer is free; `context` is what the question is put about (an abstract, say).
    """

    benchmark: str
    item_id: str
    question: Annotated[str, Field(min_length=1)]
    choices: list[str]
    answer: str
    context: str


class ItemOverlap(Row):
    """An item of a benchmark that was found in a document, in characters `start:end` of its text.

    `tier` says by what: its words as they are (`verbatim`), with OCR's confusions folded (`folded`), with other numbers
    (`masked`), roughly and beside its answer (`answered`), by most of its letters (`reworded`), by a dozen words in a row
    (`run`) or by meaning (`semantic`).
    """

    benchmark: str
    item_id: str
    doc_id: Sha256
    tier: Literal["verbatim", "folded", "masked", "answered", "reworded", "run", "semantic"]
    score: Float32
    start: int
    end: int


class Planted(Row):
    """How many items that were planted in a corpus, damaged in one way, were found again."""

    damage: str
    num_planted: int
    num_found: int
    required: float


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
