"""The mixture in words, for the log: what the run will take of each source, before it is trained."""

from collections.abc import Iterable, Iterator, Sequence

from schemas.tokens import MixtureShare

HEAD = ("steps", "source", "weight", "tokens", "samples", "taken", "epochs")


def describe(rows: Iterable[MixtureShare]) -> str:
    """A line a phase and source: what the source has, what the phase takes of it, and the epochs when the phase ends."""
    ordered = sorted(rows, key=lambda row: (row.phase, row.source))
    return "\n".join(_aligned([HEAD, *map(_cells, ordered)]))


def _cells(row: MixtureShare) -> tuple[str, ...]:
    counts = (f"{n:,}" for n in (row.num_tokens, row.num_samples, row.num_taken))
    return (f"{row.first_step}-{row.last_step}", row.source, f"{row.weight:.4f}", *counts, f"{row.epochs:.2f}")


def _aligned(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as their widest cell; names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        yield "  ".join(cells)
