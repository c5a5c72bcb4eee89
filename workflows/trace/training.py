"""A finished run of training, found by its manifest: the tables that fed it, and those that fed these."""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from schemas.corpus import Document
from schemas.health import SpikeEvent
from schemas.manifest import Manifest
from schemas.table import ContractError, Row
from schemas.tokens import IndexFile, MixtureShare, TokenizedDocument, Tokenizer, TokenOrder, TokenShard
from schemas.training import BatchLedger
from stages.base import SettingsError
from stages.stream.corpus import Dataset, open_corpus
from stages.stream.opening import Opened, open_order
from stages.tables import Reader
from workflows.trace.documents import Documents
from workflows.trace.exposure import Exposure
from workflows.trace.names import Names
from workflows.trace.pages import Vocabulary

READ: tuple[type[Row], ...] = (TokenShard, TokenizedDocument, Tokenizer, TokenOrder, MixtureShare, IndexFile)


def ledger_table(manifest: Manifest) -> str | None:
    """The name of the ledger among the tables of an output."""
    return table_of(manifest, BatchLedger)


def table_of(manifest: Manifest, row: type[Row]) -> str | None:
    """The name of the table of a contract among those of an output."""
    return next((n for n, o in manifest.outputs.items() if o.contract == row.contract()), None)


@dataclass(frozen=True)
class Training:
    """The output of a training stage and the tables that it read, by contract."""

    folder: Path
    tables: Mapping[type[Row], Reader]
    ledger: Reader

    @classmethod
    def open(cls, folder: Path) -> "Training":
        """Find the tables; `SettingsError` says what is missing, moved or of another time."""
        try:
            manifest = Manifest.read(folder)
            ledger = ledger_table(manifest)
            if ledger is None or manifest.stub:
                what = (
                    "it has sample rows only" if manifest.stub else f"{manifest.stage} wrote no ledger of batches here"
                )
                cure = "name a training stage; one that ran before there were ledgers must run again"
                raise SettingsError(f"{folder}: {what}, so there are no steps to trace: {cure}")
            found = {row: Reader(table, row) for table, row in _inputs(folder, manifest)}
            return cls(folder, found, Reader(folder / ledger, BatchLedger))
        except ContractError as error:
            raise SettingsError(str(error)) from None

    @cached_property
    def datasets(self) -> list[Dataset]:
        """The sources' training tokens."""
        return open_corpus(self.tables[TokenShard], "train")

    @cached_property
    def opened(self) -> Opened:
        """The order of samples, of these token files and no others."""
        readers = (self.tables[TokenOrder], self.tables[MixtureShare], self.tables[IndexFile])
        return open_order(*readers, self.datasets)

    def spikes(self) -> list[SpikeEvent]:
        """The loss spikes that the run recorded."""
        name = table_of(self.ledger.manifest, SpikeEvent)
        return [] if name is None else list(Reader(self.folder / name, SpikeEvent).rows())

    def exposure(self) -> Exposure:
        """What the questions are put to; `SettingsError` where token files or index are not what they were."""
        try:
            opened = self.opened
            rows = self.ledger.table(["step", "samples_sha"]).to_pydict()
            return Exposure(
                order=opened.samples,
                documents=Documents(self.tables[TokenizedDocument], self.datasets),
                sources=[d.source for d in self.datasets],
                sequence_tokens=opened.order.sequence_tokens,
                batch_sequences=opened.order.batch_sequences,
                ledger=dict(zip(rows["step"], rows["samples_sha"], strict=True)),
            )
        except ContractError as error:
            raise SettingsError(f"{error}\nput back what the run read, or run it again") from None

    def names(self) -> Names:
        """Documents and drops of everything that the token files were made from."""
        return Names(self.tables[TokenizedDocument].base)

    def texts(self) -> Reader | None:
        """The documents that were tokenized; none where token files were given, or where they are gone."""
        tokenized = self.tables[TokenizedDocument]
        with suppress(ContractError):  # the answer says that it is without titles and pages
            for table, name in _tables(tokenized.base, tokenized.manifest):
                if name == Document.contract():
                    return Reader(table, Document)
        return None

    def vocabulary(self) -> Vocabulary:
        """What the ids write."""
        reader = self.tables[Tokenizer]
        (row,) = reader.rows()
        return Vocabulary(reader.open_path(row.file))


def _inputs(folder: Path, manifest: Manifest) -> Iterator[tuple[Path, type[Row]]]:
    """The input tables of the contracts that a trace reads."""
    found = {contract: table for table, contract in _tables(folder, manifest)}
    if missing := [row.contract() for row in READ if row.contract() not in found]:
        problems = [f"no input of the contract {contract}" for contract in missing]
        raise ContractError(str(folder), [*problems, "it was made by another version: run it again"])
    yield from ((found[row.contract()], row) for row in READ)


def _tables(folder: Path, manifest: Manifest) -> Iterator[tuple[Path, str]]:
    """The folder and the contract of each input, where it is still what was read."""
    for name, given in manifest.inputs.items():
        table = Path(os.path.normpath(folder / given.path))
        try:
            producer = Manifest.read(table.parent)
        except ContractError:
            words = f"its input {name} is not at {table}: put it back, or run the stage again"
            raise ContractError(str(folder), [words]) from None
        if producer.fingerprint != given.fingerprint:
            words = f"its input {name} was {given.fingerprint}, at {table} is now {producer.fingerprint}"
            raise ContractError(str(folder), [words])
        if table.name in producer.outputs:
            yield table, producer.outputs[table.name].contract
