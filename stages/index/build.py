"""The work of `index`: check, then write the order, the mixture and the arrays.

Shard I of N works on a range of sources of about an N-th of the tokens: it reads their files, packs or indexes them, and
writes their rows. What is of the whole run (the order's row, the blend) is shard 0's. So all shards together write the
same rows in the same order, however many there are.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from schemas.table import ContractError
from schemas.tokens import MixtureShare, Tokenizer, TokenOrder, TokenShard
from stages.base import SettingsError
from stages.index import Index
from stages.index.arrays import pack_source
from stages.index.plan import Plan, plan_for, source_sizes
from stages.index.table import describe
from stages.index.verify import file_problems, refuse, tokenizer_problems
from stages.stream.corpus import Dataset, open_corpus
from stages.stream.middle import open_middle
from stages.stream.mixture import Supply, repeated, share_rows, shares
from stages.stream.opening import tokens_sha256
from stages.stream.virtual import Contiguous
from stages.stream.vocabulary import load
from stages.tables import Outputs, Reader


def index(stage: Index, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
    """Do the stage's work; see `Index`."""
    rows: list[TokenShard] = list(inputs["tokens"].rows())
    plan = plan_for(stage, source_sizes(rows))
    mine = _share_of(rows, outputs.shard)
    datasets = _checked(stage, inputs, [row for row in rows if row.source in mine], outputs)
    order = _order(stage, datasets)
    _check_middle(order, inputs["tokenizer"])
    if outputs.shard[0] == 0:
        outputs["order"].write(order)
        if plan.left_out:
            print(f"not taken: {', '.join(plan.left_out)}", flush=True)
    write = _megatron if stage.order == "megatron" else _virtual
    mixture = sorted(write(Work(stage, plan, datasets, mine), outputs), key=lambda row: (row.source, row.phase))
    outputs["mixture"].write(mixture)
    _tell(stage, mixture)


class Work(NamedTuple):
    """What a shard works on: `mine` are its sources."""

    stage: Index
    plan: Plan
    datasets: Sequence[Dataset]
    mine: set[str]

    def windows(self, dataset: Dataset) -> Supply:
        """What a source has when it is cut into windows."""
        count = len(Contiguous(dataset.source, len(dataset), self.stage.sequence_tokens))
        return Supply(dataset.source, len(dataset), count)


def _virtual(work: Work, outputs: Outputs) -> list[MixtureShare]:
    """Pack this shard's sources if that is asked for; the rows of its sources."""
    supplies = [work.windows(dataset) for dataset in work.datasets]
    if work.stage.packing == "best_fit":
        for number, dataset in enumerate(work.datasets):
            if dataset.source in work.mine.difference(work.plan.left_out):
                num_samples = pack_source(work.stage, number, dataset, outputs)
                supplies[number] = Supply(dataset.source, len(dataset), num_samples)
    rows = shares(work.plan.phases, supplies, work.stage.batch_sequences)
    return [row for row in rows if row.source in work.mine]


def _megatron(work: Work, outputs: Outputs) -> list[MixtureShare]:
    """Build this shard's arrays; of the first shard, the blend and all rows, which are counted in it."""
    from stages.index.megatron import Megatron

    weights, rows = work.plan.weights[0], []
    arrays = Megatron(work.stage, weights, work.datasets)
    if outputs.shard[0] == 0:
        words = " ".join(f"{weights[dataset.source]!r} {dataset.source}" for _, dataset in arrays.taken)
        print(f"weights, as Megatron takes them: {words}", flush=True)
        supplies = [work.windows(dataset) for dataset in work.datasets]
        rows = share_rows(work.plan.phases, supplies, [arrays.build_blend(outputs)])
    arrays.build_sources(work.mine, outputs)
    return rows


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
