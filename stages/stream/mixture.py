"""How much of each source a run takes: weights given, by size or by temperature, staged over training, and the epochs.

Weights become integers of sum 2^40 (largest remainder), so that counts are exact and a weight that a table stores as a
fraction is read back as the same integer. Going through a source more than about four times gains little (Muennighoff
et al. 2023, "Scaling Data-Constrained Language Models"); what would is named before training starts.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor, fsum, inf

import numpy as np

from schemas.tokens import MixtureShare
from stages.base import SettingsError
from stages.stream.apportion import ONE, Apportionment, Indices

MAX_SOURCES = 32_767  # Megatron's indices name datasets in 16 bits, and so that either order can hold a mixture


@dataclass(frozen=True)
class Phase:
    """Steps `first_step..last_step` (from 1), in which source k has weight `parts[k]` / 2^40; `parts` is K int64."""

    first_step: int
    last_step: int
    parts: Indices

    @property
    def num_steps(self) -> int:
        """Steps of the phase."""
        return self.last_step - self.first_step + 1


@dataclass(frozen=True)
class Supply:
    """What a source has: tokens, and samples of the run's length."""

    source: str
    num_tokens: int
    num_samples: int


def weights_by_size(num_tokens: Mapping[str, int], temperature: float = 1.0) -> dict[str, float]:
    """Weights proportional to tokens^(1 / temperature): 1 is by size, towards infinity all alike; of sources with tokens."""
    largest = max(num_tokens.values(), default=0)
    return {source: (n / largest) ** (1 / temperature) for source, n in num_tokens.items() if n}


def plan(stages: Sequence[tuple[float, Mapping[str, float]]], sources: Sequence[str], num_steps: int) -> list[Phase]:
    """Phases of a run of `num_steps` from pairs (until which fraction of the run, weights); the last ends at 1.

    `sources` are the corpus's, and the order of `Phase.parts`. SettingsError lists all that is wrong: a source that the
    corpus does not have, weights that are not above 0, phases without a step, more than 32,767 sources.
    """
    if problems := list(_problems(stages, sources, num_steps)):
        raise SettingsError("\n".join(problems))
    lasts = [_last_step(until, num_steps) for until, _ in stages]
    firsts = [1, *(last + 1 for last in lasts)]
    return [
        Phase(first, last, quantize([weights.get(s, 0.0) for s in sources]))
        for first, last, (_, weights) in zip(firsts, lasts, stages, strict=False)
    ]


def quantize(weights: Sequence[float]) -> Indices:
    """Integers of sum 2^40 in proportion to the weights (K, not all 0), by largest remainder; weights stay apart from 0."""
    exact = [Fraction(w) for w in weights]
    scale = ONE / sum(exact)
    quotas = [w * scale for w in exact]
    parts = [max(floor(q), q > 0) for q in quotas]
    by_remainder = sorted(range(len(parts)), key=lambda k: (parts[k] - quotas[k], k))
    for k in by_remainder[: ONE - sum(parts)] if sum(parts) < ONE else ():
        parts[k] += 1
    parts[max(range(len(parts)), key=parts.__getitem__)] += ONE - sum(parts)  # what the smallest took above their quota
    return np.array(parts, np.int64)


def shares(phases: Sequence[Phase], supplies: Sequence[Supply], batch_sequences: int) -> list[MixtureShare]:
    """What each source gives in each phase of a virtual order: a row a phase and source of weight above 0."""
    taken = [Apportionment(p.parts, batch_sequences) for p in phases]
    sources = np.arange(len(supplies))
    counts = [a.given(np.full_like(sources, p.num_steps), sources) for a, p in zip(taken, phases, strict=True)]
    return share_rows(phases, supplies, counts)


def share_rows(phases: Sequence[Phase], supplies: Sequence[Supply], taken: Sequence[Indices]) -> list[MixtureShare]:
    """Rows of a mixture from the samples that each phase takes of each source (K a phase), whatever the order."""
    totals = np.cumsum(np.stack(taken), axis=0)
    return [
        MixtureShare(
            phase=number,
            first_step=phase.first_step,
            last_step=phase.last_step,
            source=supply.source,
            weight=int(phase.parts[k]) / ONE,
            num_tokens=supply.num_tokens,
            num_samples=supply.num_samples,
            num_taken=int(taken[number][k]),
            epochs=int(totals[number][k]) / supply.num_samples if supply.num_samples else 0.0,
        )
        for number, phase in enumerate(phases)
        for k, supply in enumerate(supplies)
        if phase.parts[k]
    ]


def phases_of(rows: Iterable[MixtureShare], sources: Sequence[str]) -> list[Phase]:
    """The phases that `shares` was given, from its rows."""
    numbers = {source: k for k, source in enumerate(sources)}
    found: dict[tuple[int, int], Indices] = {}
    for row in rows:
        parts = found.setdefault((row.first_step, row.last_step), np.zeros(len(sources), np.int64))
        parts[numbers[row.source]] = round(row.weight * ONE)
    return [Phase(first, last, parts) for (first, last), parts in sorted(found.items())]


def left_out(phases: Sequence[Phase], sources: Sequence[str]) -> list[str]:
    """The sources of the corpus that no phase takes."""
    taken = np.any(np.stack([p.parts > 0 for p in phases]), axis=0)
    return [source for source, any_phase in zip(sources, taken, strict=True) if not any_phase]


def repeated(rows: Iterable[MixtureShare], max_epochs: float) -> list[str]:
    """In words, each source that the run goes through more than `max_epochs` times."""
    last = {row.source: row for row in rows}
    return [
        f"{row.source}: {row.epochs:.1f} epochs of {row.num_tokens:,} tokens, above max_epochs {max_epochs:g}; "
        f"a weight {row.epochs / max_epochs:.2g} times smaller would keep it"
        for row in last.values()
        if row.epochs > max_epochs
    ]


def _last_step(until: float, num_steps: int) -> int:
    return floor(until * num_steps + 0.5)


def _problems(
    stages: Sequence[tuple[float, Mapping[str, float]]], sources: Sequence[str], num_steps: int
) -> Iterator[str]:
    if not sources:
        yield "the corpus has no training tokens"
    if len(sources) > MAX_SOURCES:
        yield f"{len(sources):,} sources, at most {MAX_SOURCES:,} can be mixed: join small ones under one name"
    if not stages or stages[-1][0] != 1:
        yield "phases: the last must go until 1, the end of training"
    last_step = 0
    for number, (until, weights) in enumerate(stages, start=1):
        first_step, last_step = last_step + 1, _last_step(until, num_steps)
        if last_step < first_step:
            yield f"phase {number}: no step of {num_steps} lies before {until:g} and after the phase before it"
        yield from (f"phase {number}: {p}" for p in _weight_problems(weights, sources))


def _weight_problems(weights: Mapping[str, float], sources: Sequence[str]) -> Iterator[str]:
    if not weights:
        yield "no weights"
    known = set(sources)
    for source, weight in weights.items():
        if not 0 < weight < inf:
            yield f"weight {weight:g} of {source!r}: expected a number above 0; to leave a source out, do not name it"
        if source not in known:
            near = difflib.get_close_matches(source, sources, n=1, cutoff=0.0)
            yield f"weights name {source!r}, which the corpus does not have; the nearest of its sources: {near[0]!r}"
    smallest = min((w for w in weights.values() if w > 0), default=1.0)
    if smallest < fsum(weights.values()) / ONE:
        yield f"the smallest weight, {smallest:g}, is below 2^-40 of their sum"
