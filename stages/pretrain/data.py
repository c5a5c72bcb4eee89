"""What a run of training reads: its tokens in the order of the index, step by step, and the held-out documents."""

import contextlib
import hashlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import torch

from schemas.table import ContractError
from schemas.tokens import Tokenizer
from schemas.training import BatchLedger
from stages.model.distributed import World
from stages.model.engine import Batch
from stages.model.heldout import COLUMNS, HeldOut, Wanted
from stages.model.network import IGNORED
from stages.stream.corpus import Dataset, open_corpus
from stages.stream.domains import Domains
from stages.stream.loader import Batch as Rows
from stages.stream.loader import Loader, Shape
from stages.stream.middle import Middle, open_middle
from stages.stream.opening import Opened, open_order
from stages.stream.order import Samples
from stages.stream.vocabulary import load
from stages.tables import Reader

BATCH_ROWS = 1 << 16  # of the documents, of which few are held out


class Step(NamedTuple):
    """A step's number (from 1), the samples of its global batch, and this rank's share of their tokens."""

    number: int
    samples: Samples
    batch: Batch

    def ledger(self) -> BatchLedger:
        """The row that says what this step learned from."""
        count = len(self.samples.samples)
        return BatchLedger(phase="pretrain", step=self.number, num_samples=count, samples_sha=self.samples.digest())


@dataclass(frozen=True)
class Data:
    """One rank's data."""

    opened: Opened
    datasets: list[Dataset]
    held_out: HeldOut
    tokenizer: Tokenizer
    tokenizer_file: Path
    world: World

    def identity(self) -> dict[str, Any]:
        """What the data is, for a checkpoint to be compared with: the order's row, and the mixture by digest."""
        rows = "\n".join(row.model_dump_json() for row in self.opened.mixture)
        order = {f"index.{name}": value for name, value in self.opened.order.model_dump().items()}
        mixture = hashlib.sha256(rows.encode()).hexdigest()
        return order | {"tokenizer_sha256": self.tokenizer.file.sha256, "mixture_sha256": mixture}

    def steps(self, first: int, *, mask_documents: bool) -> Generator[Step, None, None]:
        """Steps from number `first` to the last, read ahead; close it when leaving early."""
        loader = self._loader(self.world.rank, mask_documents=mask_documents)
        with contextlib.closing(loader.batches(first)) as batches:
            for batch in batches:
                yield Step(batch.step, loader.samples(batch.step), learned(batch, self.tokenizer.eod_id))

    def at(self, step: int, rank: int, *, mask_documents: bool) -> Step:
        """A step by its number, with the share that `rank` has of it; for looking at, not for training."""
        loader = self._loader(rank, mask_documents=mask_documents)
        return Step(step, loader.samples(step), learned(loader.batch(step), self.tokenizer.eod_id))

    def _loader(self, rank: int, *, mask_documents: bool) -> Loader:
        order = self.opened.order
        return Loader(
            self.datasets,
            self.opened.samples,
            Shape(order.sequence_tokens, order.batch_sequences, self.tokenizer.eod_id),
            rank=rank,
            num_ranks=self.world.size,
            with_documents=mask_documents,
            middle=self._middle(),
        )

    def _middle(self) -> Middle | None:
        order = self.opened.order
        if not order.middle_fraction:
            return None
        return open_middle(order, load(self.tokenizer_file), self.tokenizer.eod_id)


def learned(batch: Rows, eod_id: int) -> Batch:
    """Inputs, targets and, where the batch tells documents apart, the document of each input.

    What fills up a row is no target. An end token, as an input, is where the document after it begins: so the first
    token of a document is predicted from the end token alone, as on the held-out documents.
    """
    tokens_BT = torch.from_numpy(batch.tokens_BT)
    inputs_BT, targets_BT = tokens_BT[:, :-1], tokens_BT[:, 1:]
    lengths_B1, places_T = torch.from_numpy(batch.lengths_B)[:, None], torch.arange(1, tokens_BT.shape[1])
    targets_BT = targets_BT.masked_fill(places_T >= lengths_B1, IGNORED)
    if batch.documents_BT is None:
        return Batch(inputs_BT, targets_BT)
    documents_BT = torch.from_numpy(batch.documents_BT)
    return Batch(inputs_BT, targets_BT, torch.where(inputs_BT == eod_id, documents_BT[:, 1:], documents_BT[:, :-1]))


def open_data(inputs: Mapping[str, Reader], world: World, max_held_out_tokens: int = 0) -> Data:
    """Open all that training reads; ContractError if token files, tokenizer and order do not belong together.

    The loss is measured on held-out documents of at most so many tokens (0: on all), chosen by the order's seed.
    """
    tokenizer, tokenizer_file = _only_tokenizer(inputs["tokenizer"])
    _check_tokenizer(inputs["tokens"], tokenizer)
    datasets = open_corpus(inputs["tokens"], "train")
    opened = open_order(inputs["order"], inputs["mixture"], inputs["arrays"], datasets)
    files = {f.shard.bin.path: f.tokens for d in open_corpus(inputs["tokens"], "validation") for f in d.files}
    documents = _held_out(inputs["documents"])
    order, domains = opened.order, Domains.of(load(tokenizer_file))
    wanted = Wanted(max_held_out_tokens, order.seed, domains)
    held_out = HeldOut(files, documents, tokenizer.eod_id, order.sequence_tokens, wanted)
    _check_ranks(opened, world)
    return Data(opened, datasets, held_out, tokenizer, tokenizer_file, world)


def _held_out(documents: Reader) -> pa.Table:
    schema = pa.schema([documents.row.arrow_schema().field(c) for c in COLUMNS])
    batches = (b.filter(pc.field("split") == "validation") for b in documents.batches(COLUMNS, BATCH_ROWS))
    return pa.Table.from_batches((b.cast(schema) for b in batches if b.num_rows), schema=schema)


def _only_tokenizer(reader: Reader) -> tuple[Tokenizer, Path]:
    rows: list[Tokenizer] = list(reader.rows())
    if len(rows) != 1:
        raise ContractError(str(reader.folder), [f"expected 1 tokenizer, found {len(rows)}"])
    return rows[0], reader.open_path(rows[0].file)


def _check_tokenizer(shards: Reader, tokenizer: Tokenizer) -> None:
    problems = [
        f"{row.bin.path}: made with tokenizer {row.tokenizer_sha256[:12]}, given is {tokenizer.file.sha256[:12]}"
        for row in shards.rows()
        if row.tokenizer_sha256 != tokenizer.file.sha256
    ]
    if problems:
        raise ContractError(str(shards.folder), problems)


def _check_ranks(opened: Opened, world: World) -> None:
    """All ranks must take the same samples: they compare the first and the last step, and end together if they do not."""
    order, samples = opened.order, opened.samples
    ends = (
        samples.take(0, order.batch_sequences),
        samples.take(samples.num_samples - order.batch_sequences, samples.num_samples),
    )
    words = order.model_dump_json() + "".join(s.digest() for s in ends)
    own = int.from_bytes(hashlib.sha256(words.encode()).digest()[:7])
    others = torch.tensor(int(own != world.from_first(own)), device=world.device)
    if count := int(world.sum(others)):
        raise ContractError(
            "the order of samples", [f"{count} of {world.size} ranks would take other samples than rank 0"]
        )
