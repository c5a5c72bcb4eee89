"""Tables of training: steps, checkpoints, validation, models, and the rows that post-training learns from."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.corpus import Int32, Sha256
from schemas.table import BlobRef, Row
from schemas.tokens import TextKind

Phase = Literal["pretrain", "sft", "dpo"]


class TrainStep(Row):
    """One optimizer step. Loss in nats a token; `gradient_norm` before clipping; speed over all ranks."""

    phase: Phase
    step: Annotated[Int32, Field(ge=1)]
    num_tokens: int
    loss: float
    gradient_norm: float | None
    learning_rate: float
    tokens_per_second: float


class BatchLedger(Row):
    """Which samples a step learned from: `samples_sha` is `Samples.digest()` of its global batch, in order."""

    phase: Phase
    step: Annotated[Int32, Field(ge=1)]
    num_samples: Int32
    samples_sha: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


class Validation(Row):
    """A held-out measurement after `step` steps. `bits_per_byte` where the text's bytes are known."""

    phase: Phase
    step: Int32
    name: str
    value: float
    bits_per_byte: float | None


class DomainLoss(Row):
    """The loss on one domain of the held-out text after `step` steps: on a kind of text, or on `all` of it.

    Of its `num_tokens` tokens, which write `num_bytes` bytes: `nats` in all, perplexity = exp(nats / tokens), bits a
    byte = nats / ln 2 / bytes. The tokens that end documents write nothing and are left out, unlike in `Validation`.
    """

    phase: Phase
    step: Int32
    domain: Literal["all", TextKind]
    num_tokens: int
    num_bytes: int
    nats: float
    perplexity: float
    bits_per_byte: float


class MeasuredDocument(Row):
    """A held-out document that the loss is measured on. `domain` is the one that has most of its bytes, if it is known."""

    doc_id: Sha256
    source: str
    num_tokens: int
    num_bytes: int
    domain: TextKind | None


class Checkpoint(Row):
    """A state that training can resume from."""

    phase: Phase
    step: Int32
    num_tokens: int
    folder: str
    size_bytes: int


class Model(Row):
    """A Hugging Face folder (`config.json`, `model.safetensors`, `tokenizer.json`, ...), file by file."""

    name: str
    phase: Phase
    architecture: str
    num_parameters: int
    context_tokens: Int32
    files: list[BlobRef]


class Message(Row):
    """A turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Conversation(Row):
    """Messages to learn from, and the document that they were made of."""

    row_id: str
    messages: Annotated[list[Message], Field(min_length=2)]
    split: Literal["train", "validation"]
    doc_id: str
    licence: str | None


class Preference(Row):
    """Of two answers to one prompt, `chosen` is the better."""

    row_id: str
    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    split: Literal["train", "validation"]
    doc_id: str
    licence: str | None
