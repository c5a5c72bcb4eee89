"""Tables of a run's health: spikes of the loss, tensors as they were looked at, and what each rank spent its time on."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.corpus import Int32
from schemas.table import Row
from schemas.training import Phase

Work = Literal["data", "forward_backward", "exchange", "optimizer", "checkpoint", "validation", "watching"]


class Suspect(Row):
    """A sequence of a step (from 1, as `parsl trace --step N --sample K` counts) that a spike is laid on, and its loss.

    `dataset_sample` is which of its source's samples it is (see `stages.stream.order`).
    """

    step: Annotated[Int32, Field(ge=1)]
    sequence: Annotated[Int32, Field(ge=1)]
    source: str
    dataset_sample: int
    loss: float
    left_out: bool


class SpikeEvent(Row):
    """A step whose loss or gradient norm was far from where its past led, why, since when, and what was done.

    Deviations are in robust spreads. `action` is what was done, which is not what was set where that was not possible;
    after `rollback` the run went on from the state after `restart_step`. The last two columns are the step's measurements
    without the suspects.
    """

    phase: Phase
    step: Annotated[Int32, Field(ge=1)]
    onset: Annotated[Int32, Field(ge=1)]
    signal: Literal["loss", "gradient norm", "not finite"]
    loss: float
    expected_loss: float
    loss_deviations: float
    gradient_norm: float
    expected_gradient_norm: float
    norm_deviations: float
    learning_rate: float
    cause: Literal["data", "numeric", "hardware", "schedule"]
    evidence: str
    action: Literal["clip", "skip", "rollback"]
    restart_step: int | None
    suspects: list[Suspect]
    loss_without: float | None
    gradient_norm_without: float | None


class TensorHealth(Row):
    """A parameter before and after the update of a step, by a sample of its elements.

    `changed_fraction` is how many of them the update changed, `ulp_ratio` the median size of an update in units of the
    weight's last place, `dead_fraction` how many sampled rows (of embeddings only) it left as they were.
    """

    phase: Phase
    step: Annotated[Int32, Field(ge=1)]
    tensor: str
    num_sampled: Annotated[Int32, Field(ge=1)]
    changed_fraction: float
    ulp_ratio: float
    dead_fraction: float | None
    largest: float


class Heartbeat(Row):
    """What a rank spent on one kind of work in steps `first_step..step`: in all, and in the longest single piece."""

    phase: Phase
    first_step: Annotated[Int32, Field(ge=1)]
    step: Annotated[Int32, Field(ge=1)]
    rank: Int32
    work: Work
    seconds: float
    longest_seconds: float
