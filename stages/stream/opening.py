"""From the three tables of an index to the order of samples that they stand for."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from schemas.table import ContractError
from schemas.tokens import MixtureShare, TokenOrder
from stages.stream.corpus import Dataset
from stages.stream.megatron_order import Files, open_megatron
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
    files = array_files(arrays)
    if rows[0].kind == "megatron":
        return Opened(rows[0], shares, open_megatron(datasets, files, rows[0].num_steps * rows[0].batch_sequences))
    packings = [_packing(rows[0], files, dataset) for dataset in datasets]
    phases = phases_of(shares, [d.source for d in datasets])
    return Opened(rows[0], shares, VirtualOrder(packings, phases, rows[0].batch_sequences, rows[0].seed))


def tokens_sha256(datasets: Sequence[Dataset]) -> str:
    """A digest that stands for these training tokens: sources, and their files in order, by digest."""
    lines = [f"{d.source}\t{file.shard.bin.sha256}" for d in datasets for file in d.files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _packing(order: TokenOrder, files: Files, dataset: Dataset) -> Packing:
    if order.packing == "contiguous":
        return Contiguous(dataset.source, len(dataset), order.sequence_tokens)
    ends, spans = (files.get((dataset.source, name)) for name in ("bin_ends", "bin_spans"))
    if ends is None or spans is None:  # the mixture leaves the source out, so it was not packed
        return Contiguous(dataset.source, 0, order.sequence_tokens)
    return open_packed(dataset.source, ends, spans)


def array_files(arrays: Reader) -> Files:
    """The files of an `IndexFile` table by source and name; ContractError if one is missing or not of its size."""
    return {(row.source, row.name): arrays.open_path(row.file) for row in arrays.rows()}
