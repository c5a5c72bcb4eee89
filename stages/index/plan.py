"""From settings and the sources' sizes to the phases of a run: which weights, of which sources, in which steps."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from schemas.table import ContractError
from schemas.tokens import TokenShard
from stages.base import SettingsError
from stages.index import Index
from stages.stream.mixture import Phase, left_out, plan, weights_by_size


def source_sizes(rows: Iterable[TokenShard]) -> dict[str, int]:
    """Training tokens of each source, in the order of datasets."""
    sizes: dict[str, int] = {}
    for row in rows:
        if row.split == "train":
            sizes[row.source] = sizes.get(row.source, 0) + row.num_tokens
    return dict(sorted(sizes.items()))


class Plan(NamedTuple):
    """What a run takes: its phases, and the weights of each as they were given, by source."""

    phases: list[Phase]
    weights: list[Mapping[str, float]]
    left_out: list[str]
    """Sources that no phase takes."""


def plan_for(stage: Index, sizes: Mapping[str, int]) -> Plan:
    """The plan that the settings ask for, of these sources.

    By size, a source without the tokens of one sample is left out. SettingsError says which names and weights are wrong,
    ContractError what has too few tokens.
    """
    least = _least_tokens(stage)
    enough = {source: n for source, n in sizes.items() if n >= least}
    if problems := list(_name_problems(stage, sizes)):
        raise SettingsError("\n".join(problems))
    if not enough:
        raise ContractError("the training tokens", [_too_few(sizes, least)])
    by_size = weights_by_size(enough, stage.temperature)
    wanted = [(p.until, p.weights or by_size) for p in stage.phases] or [(1.0, stage.weights or by_size)]
    try:
        phases = plan(wanted, list(sizes), stage.num_steps)
    except SettingsError as error:
        raise SettingsError("\n".join(f"index: {line}" for line in str(error).split("\n"))) from None
    named = {source for _, weights in wanted for source in weights}
    if short := [s for s in sizes if s in named and s not in enough]:
        problems = [f"{s}: it has a weight and {sizes[s]} tokens, but a sample needs {least}" for s in short]
        raise ContractError("the training tokens", problems)
    return Plan(phases, [weights for _, weights in wanted], left_out(phases, list(sizes)))


def _least_tokens(stage: Index) -> int:
    """Tokens without which a source has no sample: a window and the token after it, or a document of one target."""
    return stage.sequence_tokens + 1 if stage.packing == "contiguous" else 2


def _too_few(sizes: Mapping[str, int], least: int) -> str:
    if not any(sizes.values()):
        return f"no token in the training files of {len(sizes)} source(s): look at what the stages before dropped"
    source = max(sizes, key=lambda s: sizes[s])
    return (
        f"{sizes[source]} tokens in the largest source, {source!r}, but a sample needs {least}"
        " (index.sequence_tokens + 1): give more text or make sequence_tokens smaller"
    )


def _name_problems(stage: Index, sizes: Mapping[str, int]) -> Iterator[str]:
    for source in stage.middle_sources:
        if source not in sizes:
            near = difflib.get_close_matches(source, sizes, n=1, cutoff=0.0)
            hint = f"; the nearest of its sources: {near[0]!r}" if near else ""
            yield f"index.middle_sources names {source!r}, which the corpus does not have{hint}"
