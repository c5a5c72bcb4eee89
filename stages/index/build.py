"""The work of `index`: check, then write the order, the mixture and the arrays.

Shard I of N works on a range of sources of about an N-th of the tokens: it reads their files, packs or indexes them, and
writes their rows. What is of the whole run (the order's row, the blend) is shard 0's. So all shards together write the
same rows in the same order, however many there are.
"""

from collections.abc import Iterable, Mapping, Sequence

from schemas.table import ContractError
from schemas.tokens import MixtureShare, Tokenizer, TokenOrder, TokenShard
from stages.base import SettingsError
from stages.index import Index
from stages.index.arrays import pack_source
from stages.index.plan import phases_for, source_sizes
from stages.index.table import describe
from stages.index.verify import file_problems, refuse, tokenizer_problems
from stages.stream.corpus import Dataset, open_corpus
from stages.stream.middle import open_middle
from stages.stream.mixture import Supply, left_out, repeated, shares
from stages.stream.opening import tokens_sha256
from stages.stream.virtual import Contiguous
from stages.stream.vocabulary import load
from stages.tables import Outputs, Reader


def index(stage: Index, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
    """Do the stage's work; see `Index`."""
    rows: list[TokenShard] = list(inputs["tokens"].rows())
    sizes = source_sizes(rows)
    phases = phases_for(stage, sizes)
    untaken = left_out(phases, list(sizes))
    mine = _share_of(rows, outputs.shard)
    datasets = _checked(stage, inputs, [row for row in rows if row.source in mine], outputs)
    order = _order(stage, datasets)
    _check_middle(order, inputs["tokenizer"])
    supplies = _supplies(stage, datasets, mine.difference(untaken), outputs)
    mixture = [row for row in shares(phases, supplies, stage.batch_sequences) if row.source in mine]
    mixture.sort(key=lambda row: (row.source, row.phase))
    outputs["mixture"].write(mixture)
    if outputs.shard[0] == 0:
        outputs["order"].write(order)
        if untaken:
            print(f"not taken: {', '.join(untaken)}", flush=True)
    _tell(stage, mixture)


def _share_of(rows: Iterable[TokenShard], shard: tuple[int, int]) -> set[str]:
    """The sources of a shard: neighbours by name, whose tokens' middle lies in the shard's part of all tokens."""
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[row.source] = sizes.get(row.source, 0) + row.num_tokens
    index, count = shard
    total, before, mine = 2 * max(sum(sizes.values()), 1), 0, set()
    for source, size in sorted(sizes.items()):
        if min((2 * before + size) * count // total, count - 1) == index:
            mine.add(source)
        before += size
    return mine


def _checked(stage: Index, inputs: Mapping[str, Reader], mine: Sequence[TokenShard], outputs: Outputs) -> list[Dataset]:
    """The training datasets, when nothing is wrong with the files of `mine`; `ContractError` says all that is."""
    reader = inputs["tokens"]
    tokenizer = _only_tokenizer(inputs["tokenizer"])
    problems, datasets = tokenizer_problems(reader.rows(), tokenizer), []
    for split in ("validation", "train"):
        try:
            datasets = open_corpus(reader, split)
        except ContractError as error:
            problems += error.problems
    if stage.verify:
        problems += file_problems(mine, reader, tokenizer.vocab_size, outputs.progress)
    refuse(str(reader.folder), problems)
    return datasets


def _only_tokenizer(reader: Reader) -> Tokenizer:
    rows: list[Tokenizer] = list(reader.rows())
    if len(rows) != 1:
        raise ContractError(str(reader.folder), [f"expected 1 tokenizer, found {len(rows)}"])
    reader.open_path(rows[0].file)
    return rows[0]


def _check_middle(order: TokenOrder, reader: Reader) -> None:
    """`SettingsError` if documents are to be turned round and the tokenizer has no marks for it."""
    if order.middle_fraction:
        (row,) = reader.rows()
        open_middle(order, load(reader.open_path(row.file)), row.eod_id)


def _supplies(stage: Index, datasets: Sequence[Dataset], packed: set[str], outputs: Outputs) -> list[Supply]:
    """What each source has; of best fit, only those that this shard packs are known, and only they are written."""
    supplies = []
    for number, dataset in enumerate(datasets):
        num_samples = len(Contiguous(dataset.source, len(dataset), stage.sequence_tokens))
        if stage.packing == "best_fit":
            num_samples = pack_source(stage, number, dataset, outputs) if dataset.source in packed else 0
        supplies.append(Supply(dataset.source, len(dataset), num_samples))
    return supplies


def _order(stage: Index, datasets: Sequence[Dataset]) -> TokenOrder:
    return TokenOrder(
        kind=stage.order,
        packing=stage.packing,
        sequence_tokens=stage.sequence_tokens,
        batch_sequences=stage.batch_sequences,
        num_steps=stage.num_steps,
        seed=stage.seed,
        middle_fraction=stage.middle_fraction,
        middle_sources=list(stage.middle_sources),
        tokens_sha256=tokens_sha256(datasets),
    )


def _tell(stage: Index, mixture: Sequence[MixtureShare]) -> None:
    """Print what the run takes; what it would go through too often is a warning, or `SettingsError` if asked to."""
    print(describe(mixture), flush=True)
    over = repeated(mixture, stage.max_epochs)
    if over and stage.over_epochs == "refuse":
        raise SettingsError("\n".join(f"index: {line}" for line in over))
    for line in over:
        print(f"warning: {line}", flush=True)
