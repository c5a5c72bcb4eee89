"""From the three tables of an index to the order of samples that they stand for."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from schemas.table import ContractError
from schemas.tokens import MixtureShare, TokenOrder
from stages.stream.corpus import Dataset
from stages.stream.mixture import phases_of
from stages.stream.order import SampleOrder
from stages.stream.packing import open_packed
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
    files = array_files(arrays)
    packings = [_packing(order, files, dataset) for dataset in datasets]
    return VirtualOrder(packings, phases_of(shares, [d.source for d in datasets]), order.batch_sequences, order.seed)


def _packing(order: TokenOrder, files: Mapping[tuple[str, str], Path], dataset: Dataset) -> Packing:
    if order.packing == "contiguous":
        return Contiguous(dataset.source, len(dataset), order.sequence_tokens)
    ends, spans = (files.get((dataset.source, name)) for name in ("bin_ends", "bin_spans"))
    if ends is None or spans is None:  # the mixture leaves the source out, so it was not packed
        return Contiguous(dataset.source, 0, order.sequence_tokens)
    return open_packed(dataset.source, ends, spans)


def array_files(arrays: Reader) -> dict[tuple[str, str], Path]:
    """The files of an `IndexFile` table by source and name; ContractError if one is missing or not of its size."""
    return {(row.source, row.name): arrays.open_path(row.file) for row in arrays.rows()}
