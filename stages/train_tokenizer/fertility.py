"""How many tokens a tokenizer makes of each kind of text, by source and language.

A document is encoded whole and each token counts for the kind of the last character that it covers, so that the counts add
up to what a model would read, and no token is made by cutting a text where a tokenizer would not.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, get_args

import numpy as np
from rich.console import Console
from rich.table import Table

from schemas.tokens import Fertility, TextKind
from stages.stream.kinds import spans

if TYPE_CHECKING:
    from tokenizers import Tokenizer

KINDS: tuple[TextKind, ...] = get_args(TextKind)
BATCH_CHARS = 1 << 20  # a token with its place takes 100 times its bytes while it is counted


class Group(NamedTuple):
    """What texts are counted together by."""

    source: str
    language: str | None


class Counts:
    """Bytes, characters and words of each kind of a group's texts, and each tokenizer's tokens: K numbers, K kinds."""

    def __init__(self, num_tokenizers: int) -> None:
        self.sizes = np.zeros((3, len(KINDS)), np.int64)
        self.tokens = np.zeros((num_tokenizers, len(KINDS)), np.int64)


class Ruler:
    """Counts texts, batch by batch, with tokenizers known by name."""

    def __init__(self, tokenizers: Mapping[str, "Tokenizer"]) -> None:
        self.tokenizers = tokenizers
        self.counts: dict[Group, Counts] = defaultdict(lambda: Counts(len(tokenizers)))

    def add(self, group: Group, texts: Sequence[str]) -> None:
        """Count texts of one group."""
        counts = self.counts[group]
        cut = [spans(text) for text in texts]
        for text, tiles in zip(texts, cut, strict=True):
            for start, end, kind in tiles:
                part = text[start:end]
                counts.sizes[:, KINDS.index(kind)] += (len(part.encode()), len(part), len(part.split()))
        for row, tokenizer in enumerate(self.tokenizers.values()):
            encoded = tokenizer.encode_batch(list(texts), add_special_tokens=False)
            for tiles, encoding in zip(cut, encoded, strict=True):
                last = np.array([end for _, end in encoding.offsets], np.int64) - 1
                tile = np.searchsorted([t.start for t in tiles], last, side="right") - 1
                kinds = np.array([KINDS.index(t.kind) for t in tiles])[np.maximum(tile, 0)]
                counts.tokens[row] += np.bincount(kinds, minlength=len(KINDS))

    def rows(self) -> Iterator[Fertility]:
        """Yield a row for each tokenizer, source, language and kind that there is."""
        for index, name in enumerate(self.tokenizers):
            for group, counts in sorted(self.counts.items(), key=lambda item: (item[0].source, item[0].language or "")):
                for k in np.flatnonzero(counts.sizes[0]):
                    num_bytes, num_characters, num_words = counts.sizes[:, k].tolist()
                    yield Fertility(
                        tokenizer=name,
                        source=group.source,
                        language=group.language,
                        kind=KINDS[k],
                        num_bytes=num_bytes,
                        num_characters=num_characters,
                        num_words=num_words,
                        num_tokens=int(counts.tokens[index, k]),
                    )


def measure(documents: Iterator[tuple[Group, str]], tokenizers: Mapping[str, "Tokenizer"]) -> list[Fertility]:
    """Count documents with each tokenizer; memory is one batch's."""
    ruler = Ruler(tokenizers)
    for texts in _batches(documents):
        for group, run in groupby(texts, key=lambda pair: pair[0]):
            ruler.add(group, [text for _, text in run])
    return list(ruler.rows())


def _batches(documents: Iterator[tuple[Group, str]]) -> Iterator[list[tuple[Group, str]]]:
    batch: list[tuple[Group, str]] = []
    chars = 0
    for group, text in documents:
        batch.append((group, text))
        chars += len(text)
        if chars >= BATCH_CHARS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


def show(rows: Sequence[Fertility]) -> None:
    """Print bytes a token (more is better) of each kind, all sources together, a column a tokenizer."""
    names = list(dict.fromkeys(r.tokenizer for r in rows))
    table = Table("kind", "MB", *names, title="bytes a token (tokens a word)")
    for kind in [k for k in KINDS if any(r.kind == k for r in rows)]:
        cells, size = [], 0
        for name in names:
            mine = [r for r in rows if (r.kind, r.tokenizer) == (kind, name)]
            size = sum(r.num_bytes for r in mine)
            tokens = max(sum(r.num_tokens for r in mine), 1)
            cells.append(f"{size / tokens:.2f} ({tokens / max(sum(r.num_words for r in mine), 1):.2f})")
        table.add_row(kind, f"{size / 1e6:.2f}", *cells)
    Console().print(table)
