"""Index: which tokens each step of a training run takes, decided and checked before any accelerator is held."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.tokens import IndexFile, MixtureShare, Tokenizer, TokenOrder, TokenShard
from stages.base import Stage, Strings
from stages.tables import Outputs, Reader

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Weights = dict[str, Annotated[float, Field(gt=0)]]
"""How much of each source; sums need not be 1. A source that is not named is not taken. Empty: by size."""


class Phase(BaseModel):
    """A part of the run with weights of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    until: Annotated[float, Field(gt=0, le=1)]
    """Where the phase ends, as a fraction of the run's steps."""
    weights: Weights = {}


class Index(Stage):
    """Check the token files and fix mixture and order of a training run.

    The virtual order is computed as it is used and stores nothing but its settings. The Megatron order is stored as the
    arrays that Megatron itself would build, equal byte for byte.
    """

    name = "index"
    inputs = {"tokens": TokenShard, "tokenizer": Tokenizer}
    outputs = {"order": TokenOrder, "mixture": MixtureShare, "arrays": IndexFile}
    shares = ("stream",)
    packages = ("numpy", "numba", "tokenizers")
    located = frozenset({"verify"})
    whole = frozenset(inputs)

    sequence_tokens: Annotated[int, Field(ge=8)] = 256
    batch_sequences: Annotated[int, Field(ge=1, le=1 << 22)] = 8
    """Sequences of a step over all ranks, however many ranks there are."""
    num_steps: Count = 400
    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = 0
    order: Literal["virtual", "megatron"] = "virtual"
    packing: Literal["contiguous", "best_fit"] = "contiguous"
    """Best fit cuts no document that fits into a sequence, and leaves the rest of a sequence empty."""
    weights: Weights = {}
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Weights by size are size^(1/temperature): above 1, small sources count for more than their size."""
    phases: tuple[Phase, ...] = ()
    """Weights staged over training, instead of `weights`; the last phase ends at 1."""
    max_epochs: Annotated[float, Field(gt=0)] = 4.0
    """Going through a source more often than this gains little (Muennighoff et al. 2023)."""
    over_epochs: Literal["warn", "refuse"] = "warn"
    middle_fraction: Fraction = 0.0
    """Share of the documents of `middle_sources` that are turned round for fill-in-the-middle."""
    middle_sources: Strings = ()
    verify: bool = True
    """Read every token file once and compare its digest and ids; without it, sizes and headers only."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if problems := list(self._problems()):
            raise ValueError("\n".join(problems))
        return self

    def _problems(self) -> Iterator[str]:
        if self.order == "megatron":
            given = {"packing best_fit": self.packing == "best_fit", "phases": self.phases}
            given["middle_fraction"] = self.middle_fraction
            for name in (n for n, value in given.items() if value):
                yield f"order megatron has no {name}: Megatron's arrays cannot hold it; set order to virtual"
        if self.weights and self.phases:
            yield "weights and phases: the phases' weights are the weights, give one of the two"
        explicit = [w for w in (self.weights, *(p.weights for p in self.phases)) if w]
        if explicit and self.temperature != 1:
            yield f"temperature {self.temperature:g} is for weights by size, and weights are given"
        ends = [p.until for p in self.phases]
        if ends and (ends != sorted(set(ends)) or ends[-1] != 1):
            yield f"phases: `until` must rise to 1, found {', '.join(f'{e:g}' for e in ends)}"
        if self.middle_sources and not self.middle_fraction:
            yield "middle_sources: middle_fraction is 0, so none of their documents would be turned round"
        if self.middle_fraction and not self.middle_sources:
            yield "middle_fraction: no middle_sources are named, so no document would be turned round"

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Check, then write the order."""
        from stages.index.build import index

        index(self, inputs, outputs)
