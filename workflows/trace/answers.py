"""Answers to the questions of `parsl trace`, as dictionaries: what `--json` prints, and what the tables are made from."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from schemas.tokens import TokenOrder
from stages.base import SettingsError
from workflows.trace.exposure import Run, at_step, by_licence, ledger_digest, of_document
from workflows.trace.names import Drop, Name
from workflows.trace.pages import Vocabulary, pages_of
from workflows.trace.training import Training

Answer = dict[str, Any]
Paging = Mapping[Run, Sequence[int]]
NO_TEXTS = "the documents that were tokenized are not there: pages are unknown"


def summary(training: Training) -> Answer:
    """The run and its ledger; two runs with one digest saw the same samples in the same order."""
    exposure, order = training.exposure(), training.opened.order
    return {
        "run": str(training.folder),
        "order": order.kind,
        "packing": order.packing,
        "num_steps": exposure.num_steps,
        "batch_sequences": order.batch_sequences,
        "sequence_tokens": order.sequence_tokens,
        "num_tokens": exposure.num_steps * order.batch_sequences * order.sequence_tokens,
        "ledger_digest": ledger_digest("".join(exposure.ledger[s] for s in sorted(exposure.ledger))),
    }


def step(training: Training, number: int, max_paged: int | None) -> Answer:
    """The documents of a step in their order there, with pages for the first `max_paged` of them."""
    runs = at_step(training.exposure(), number)
    order = training.opened.order
    head = {"step": number, "sample": None}
    return head | _documents(training, runs, order.batch_sequences * order.sequence_tokens, max_paged)


def sample(training: Training, number: int, sequence: int) -> Answer:
    """The documents of one sequence of a step (from 1), with pages and text."""
    order = training.opened.order
    if not 1 <= sequence <= order.batch_sequences:
        raise SettingsError(f"--sample {sequence}: a step of this run has the samples 1..{order.batch_sequences}")
    runs = [r for r in at_step(training.exposure(), number) if r.sequence == sequence]
    answer = _documents(training, runs, order.sequence_tokens, None)
    vocabulary = training.vocabulary()
    pieces = [_piece(training, vocabulary, run) for run in runs]
    return {"step": number, "sample": sequence} | answer | {"pieces": pieces}


def _documents(training: Training, runs: Sequence[Run], num_slots: int, max_paged: int | None) -> Answer:
    grouped: dict[str, list[Run]] = {}
    for run in runs:
        grouped.setdefault(run.document.doc_id, []).append(run)
    names, num_tokens = training.names().known(list(grouped)), sum(r.num_tokens for r in runs)
    texts = training.texts()
    shown = dict(islice(grouped.items(), max_paged))
    pages = pages_of(texts, training.vocabulary(), training.datasets, shown) if texts else {}
    return {
        "num_tokens": num_tokens,
        "num_padding": num_slots - num_tokens,
        "notes": [*_turned(training.opened.order, {r.document.source for r in runs}), *([] if texts else [NO_TEXTS])],
        "documents": [_document(mine, names.get(doc_id), pages) for doc_id, mine in grouped.items()],
    }


def _document(runs: Sequence[Run], name: Name | None, pages: Paging) -> Answer:
    placed = runs[0].document
    return {
        **_named(placed.doc_id, name),
        "source": placed.source,
        "licence": placed.licence,
        "num_tokens": sum(r.num_tokens for r in runs),
        "pages": sorted({page for r in runs for page in pages.get(r, [])}),
        "samples": [
            {
                "sample": r.sequence,
                "first_token": r.start,
                "last_token": r.start + r.length - 1,
                "num_tokens": r.num_tokens,
                "pages": list(pages.get(r, [])),
            }
            for r in runs
        ],
    }


def _named(doc_id: str, name: Name | None) -> Answer:
    known = name or Name(doc_id, None, None, None)
    return {"doc_id": doc_id, "title": known.title, "path": known.path, "doi": known.doi}


def _piece(training: Training, vocabulary: Vocabulary, run: Run) -> Answer:
    placed = run.document
    ids = training.datasets[placed.dataset].read(placed.start + run.start, run.length)
    return {
        "doc_id": placed.doc_id,
        "first_token": run.start,
        "last_token": run.start + run.length - 1,
        "begins": run.start == 0,
        "ends": run.start + run.length == placed.num_tokens,
        "text": vocabulary.text(ids),
    }


def _turned(order: TokenOrder, sources: Iterable[str]) -> list[str]:
    turned = sorted(set(order.middle_sources) & set(sources)) if order.middle_fraction else []
    if not turned:
        return []
    share = f"up to {100 * order.middle_fraction:g} % of the documents of {', '.join(turned)}"
    return [f"{share} were turned round for fill-in-the-middle: parts in another order, up to 3 tokens of each cut off"]


def spikes(training: Training) -> Answer:
    """Every spike, and the documents of the sequences that it is laid on; their steps are as the ledger has them."""
    exposure, order = training.exposure(), training.opened.order
    found = []
    for event in training.spikes():
        laid_on = {(s.step, s.sequence): s for s in event.suspects}
        runs = [
            r
            for step in sorted({s for s, _ in laid_on})
            for r in at_step(exposure, step)
            if (step, r.sequence) in laid_on
        ]
        documents = _documents(training, runs, len(laid_on) * order.sequence_tokens, None)
        found.append({**event.model_dump(), "documents": documents["documents"]})
    return {"num_steps": exposure.num_steps, "spikes": found}


def document(training: Training, word: str) -> Answer:
    """Every step that saw a document, or why none did."""
    exposure, names = training.exposure(), training.names()
    name = names.find(word)
    placed = exposure.documents.placed(name.doc_id)
    steps = [share._asdict() for one in placed for share in of_document(exposure, one)]
    num_tokens, num_seen = sum(p.num_tokens for p in placed), sum(s["num_tokens"] for s in steps)
    answer = {
        **_named(name.doc_id, name),
        "source": placed[0].source if placed else None,
        "licence": placed[0].licence if placed else None,
        "num_tokens": num_tokens,
        "num_seen": num_seen,
        "epochs": num_seen / num_tokens if num_tokens else 0.0,
        "num_steps": exposure.num_steps,
        "steps": sorted(steps, key=lambda s: s["step"]),
    }
    if steps:
        return {**answer, "never": None}
    if placed and placed[0].source not in {row.source for row in training.opened.mixture}:
        return {**answer, "never": f"its source, {placed[0].source}, is not in the mixture"}
    splits = exposure.documents.splits(name.doc_id)
    return {**answer, "never": _never(splits, names.drops(name.doc_id))}


def _never(splits: set[str], drops: Sequence[Drop]) -> str:
    """Why no step saw a document."""
    if "train" in splits:
        return "it is in the training tokens, but no step took a sample with any of it"
    if splits:
        return f"it is held out ({', '.join(sorted(splits))})"
    if drops:
        return "; ".join(f"{d.stage} dropped it: {d.reason}" + (f" ({d.detail})" if d.detail else "") for d in drops)
    return "it has no tokens, and no stage says that it dropped it"


def licences(training: Training) -> Answer:
    """Tokens by source and licence, the most first; with padding they are all that the run took."""
    exposure = training.exposure()
    shares = sorted(by_licence(exposure), key=lambda s: (-s.num_tokens, s.source, s.licence))
    total = exposure.num_steps * exposure.batch_sequences * exposure.sequence_tokens
    return {
        "num_steps": exposure.num_steps,
        "num_tokens": total,
        "num_padding": total - sum(s.num_tokens for s in shares),
        "notes": _turned(training.opened.order, exposure.sources),
        "shares": [{**s._asdict(), "share": s.num_tokens / total} for s in shares],
    }
