"""The stage's work: read the training documents, hold some out, and spread the rows over documents.

Rows are taken one from each document, then a second from each, and so on up to the limit, so that a long document
counts as much as a short one. What questions ask for is kept out of conversations and preferences: a hash of the
quantity says on which side it is, in whatever words and documents it stands. Memory: the sentences with quantities of all training documents.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, zip_longest
from typing import Any, TypeVar, get_args

from schemas.evaluation import Question
from schemas.table import ContractError
from schemas.tokens import Split
from schemas.training import Conversation
from stages.synthesize import Synthesize
from stages.synthesize.answers import Answers
from stages.synthesize.cloze import Pool, ask, ask_next
from stages.synthesize.dialogues import conversations, preferences, question_about
from stages.synthesize.quantities import digest, is_stated, value
from stages.synthesize.statements import Continuation, Reading, Source, Statement, read
from stages.tables import Outputs, Reader

T = TypeVar("T")
COLUMNS = ("doc_id", "text", "title", "licence")


def synthesize(stage: Synthesize, documents: Reader, tokenized: Reader, outputs: Outputs) -> None:
    """Write the three tables; `ContractError` if one of them would be empty."""
    readings = list(_readings(documents, tokenized, outputs))
    splits = hold_out(readings, stage.validation_fraction, stage.seed)
    readings = mixed(readings, splits, stage.seed)
    pool = Pool((s for r in readings for s in r.statements), stage.seed)
    following = [c for r in readings for c in r.continuations]
    asked, told = apart(readings)
    seen: set[str] = set()
    talk = (_once_each(conversations(r, splits[r.source.doc_id]), seen) for r in told)
    answers = {split: _answers(told, splits, split, pool) for split in get_args(Split)}
    pairs = (preferences(r, split := splits[r.source.doc_id], answers[split], following) for r in told)
    rows: dict[str, list[Any]] = {
        "conversations": spread(talk, stage.max_conversations),
        "preferences": spread(pairs, stage.max_preferences),
        "questions": spread((_questions(r, pool, following) for r in asked), stage.max_questions),
    }
    _require(rows, len(readings))
    for name, made in rows.items():
        outputs[name].write(made)


def hold_out(readings: Sequence[Reading], fraction: float, seed: int) -> dict[str, Split]:
    """Which split each document's rows are of: the first `fraction` of documents in the order of a hash.

    Documents with quantities and without are parted separately, and each sort of two or more gives at least one to
    validation, so that preferences have held-out rows too.
    """
    splits: dict[str, Split] = {}
    for kind in (True, False):
        ids = [r.source.doc_id for r in readings if bool(r.statements) == kind]
        ids.sort(key=lambda doc_id: digest(seed, "split", doc_id))
        count = max(1, round(fraction * len(ids))) if len(ids) > 1 and fraction else 0
        splits |= {doc_id: "validation" if i < count else "train" for i, doc_id in enumerate(ids)}
    return splits


def mixed(readings: Sequence[Reading], splits: dict[str, Split], seed: int) -> list[Reading]:
    """Documents in the order of a hash, validation ones evenly among the others, so that any first part has both."""
    order: list[tuple[float, int, Reading]] = []
    for split in ("train", "validation"):
        part = [r for r in readings if splits[r.source.doc_id] == split]
        part.sort(key=lambda r: digest(seed, "order", r.source.doc_id))
        order += [((i + 0.5) / len(part), digest(seed, r.source.doc_id), r) for i, r in enumerate(part)]
    return [r for *_, r in sorted(order, key=lambda o: o[:2])]


def apart(readings: Sequence[Reading]) -> tuple[list[Reading], list[Reading]]:
    """Two views of the documents that share no quantity: for questions, and for conversations and preferences.

    A corpus too small to be parted is given to both sides.
    """
    asked, told = [_side(r, 0) for r in readings], [_side(r, 1) for r in readings]
    if not all(any(r.statements or r.continuations for r in side) for side in (asked, told)):
        return list(readings), list(readings)
    return asked, told


def spread(groups: Iterable[Iterable[T]], limit: int) -> list[T]:
    """Up to `limit` items: the first of each group, then the second of each, and so on."""
    rounds = chain.from_iterable(zip_longest(*groups))
    return list(islice((item for item in rounds if item is not None), limit))


def _readings(documents: Reader, tokenized: Reader, outputs: Outputs) -> Iterator[Reading]:
    """The training documents, read, the best statements first; a sentence that an earlier one has is left out."""
    keys = tokenized.table(["doc_id", "split"]).to_pylist()
    training = {k["doc_id"] for k in keys if k["split"] == "train"}
    outputs.progress.start("documents", documents.num_rows)
    seen: set[str] = set()
    for batch in documents.batches(COLUMNS, batch_rows=64):
        for row in batch.to_pylist():
            if row["doc_id"] in training:
                yield _new_only(read(Source(row["doc_id"], row["title"], row["licence"]), row["text"]), seen)
        outputs.progress.advance(batch.num_rows)


def _new_only(reading: Reading, seen: set[str]) -> Reading:
    new = []
    for statement in sorted(reading.statements, key=_rank):
        if statement.sentence not in seen:
            seen.add(statement.sentence)
            new.append(statement)
    return reading._replace(statements=new)


def _rank(statement: Statement) -> int:
    """What can be asked for by name first, then what says "is" or "of", then conditions ("for 10 min")."""
    return 0 if question_about(statement) else 1 if is_stated(statement.sentence, statement.quantity) else 2


def _side(reading: Reading, side: int) -> Reading:
    statements = [s for s in reading.statements if _key(s) % 2 == side]
    return reading._replace(statements=statements, continuations=reading.continuations[side::2])


def _key(statement: Statement) -> int:
    unit, _ = statement.quantity.kind
    return digest("side", unit, value(statement.quantity.number))


def _once_each(rows: Iterable[Conversation], seen: set[str]) -> Iterator[Conversation]:
    """One answer to a prompt: the first."""
    for row in rows:
        if row.messages[0].content not in seen:
            seen.add(row.messages[0].content)
            yield row


def _questions(reading: Reading, pool: Pool, following: Sequence[Continuation]) -> Iterator[Question]:
    yield from (ask(s, pool) for s in reading.statements)
    for continuation in reading.continuations:
        if question := ask_next(continuation, following, pool.seed):
            yield question


def _answers(readings: Sequence[Reading], splits: dict[str, Split], split: Split, pool: Pool) -> Answers:
    """What the documents of one split state, so that no held-out answer is seen in training as a rejected one."""
    mine = (s for r in readings if splits[r.source.doc_id] == split for s in r.statements)
    return Answers(mine, question_about, pool)


def _require(rows: dict[str, list[Any]], num_documents: int) -> None:
    empty = [name for name, made in rows.items() if not made]
    if empty:
        words = (
            f"no {', '.join(empty)} could be made of {num_documents} training document(s): they state no quantities with "
            "units and have too few paragraphs of whole sentences; add documents with running text, or look at the "
            "drop reasons of parse and filter (parsl status)"
        )
        raise ContractError("synthesize", [words])
