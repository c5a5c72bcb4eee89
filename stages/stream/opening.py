"""From the three tables of an index to the order of samples that they stand for."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from schemas.table import ContractError
from schemas.tokens import MixtureShare, TokenOrder
from stages.stream.corpus import Dataset
from stages.stream.mixture import phases_of
from stages.stream.order import SampleOrder
from stages.stream.virtual import Contiguous, Packing, VirtualOrder
from stages.tables import Reader


class Opened(NamedTuple):
    """An order as it was fixed: its row, its mixture, and what gives the samples of a step."""

    order: TokenOrder
    mixture: list[MixtureShare]
    samples: SampleOrder


def open_order(order: Reader, mixture: Reader, arrays: Reader, datasets: Sequence[Dataset]) -> Opened:
    """The order of these tables; `datasets` are the training tokens that it was made of, all sources of the corpus.

    Raises ContractError if they are others, or if an array is missing or not of its size.
    """
    rows: list[TokenOrder] = list(order.rows())
    if len(rows) != 1:
        raise ContractError(str(order.folder), [f"expected 1 order, found {len(rows)}"])
    if (found := tokens_sha256(datasets)) != rows[0].tokens_sha256:
        problem = f"it was made of token files {rows[0].tokens_sha256[:12]}, given are {found[:12]}: run index again"
        raise ContractError(str(order.folder), [problem])
    shares: list[MixtureShare] = list(mixture.rows())
    return Opened(rows[0], shares, _virtual(rows[0], shares, arrays, datasets))


def tokens_sha256(datasets: Sequence[Dataset]) -> str:
    """A digest that stands for these training tokens: sources, and their files in order, by digest."""
    lines = [f"{d.source}\t{file.shard.bin.sha256}" for d in datasets for file in d.files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _virtual(
    order: TokenOrder, shares: Sequence[MixtureShare], arrays: Reader, datasets: Sequence[Dataset]
) -> SampleOrder:
    packings: list[Packing] = [Contiguous(d.source, len(d), order.sequence_tokens) for d in datasets]
    return VirtualOrder(packings, phases_of(shares, [d.source for d in datasets]), order.batch_sequences, order.seed)
