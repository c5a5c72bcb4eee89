"""Samples traced to documents, against counting every token of every sample."""

import re
from collections import Counter
from pathlib import Path

import pytest

from schemas.table import ContractError
from stages.base import SettingsError
from stages.stream.order import Samples
from tests.workflows.trace.toy import (
    Corpus,
    contiguous,
    counted,
    exposed,
    listed,
    megatron,
    packed,
    shuffled,
    tokens_of,
    write_corpus,
)
from workflows.trace import exposure as module
from workflows.trace.exposure import Exposure, at_step, by_licence, of_document

FILES = {"papers": 3, "code": 1, "notes": 2}
BATCH = 5


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Three sources of six files."""
    return write_corpus(tmp_path_factory.mktemp("corpus"), FILES)


@pytest.fixture(params=["contiguous", "shuffled", "packed", "megatron"], scope="module")
def exposure(request: pytest.FixtureRequest, corpus: Corpus) -> Exposure:
    """A run of 24 steps of 5 sequences of 16 tokens, over more than one epoch, by each way of making samples."""
    if request.param == "megatron":
        return exposed(corpus, megatron(corpus, 16, 24 * BATCH, seed=4), 16, BATCH)
    make = {"contiguous": contiguous, "shuffled": lambda c, t: shuffled(c, t, 3), "packed": packed}[request.param]
    return exposed(corpus, listed(make(corpus, 16), 24 * BATCH, seed=1), 16, BATCH)


def test_every_token_of_every_step_has_its_document(exposure: Exposure, corpus: Corpus) -> None:
    """Runs of a step, token by token, are the owners of the tokens that the spans name, in order."""
    for step in range(1, exposure.num_steps + 1):
        found = [
            (run.sequence, run.place + i, run.document.doc_id, run.place + i < exposure.sequence_tokens)
            for run in at_step(exposure, step)
            for i in range(run.length)
        ]
        assert found == tokens_of(exposure, corpus, step)


def test_inputs_of_a_step_are_counted_once(exposure: Exposure, corpus: Corpus) -> None:
    """Tokens of each document at a step are those among the first T of a sequence, and start where the run says."""
    expected = counted(exposure, corpus)
    for step in (1, 7, exposure.num_steps):
        tokens: Counter[str] = Counter()
        for run in at_step(exposure, step):
            tokens[run.document.doc_id] += run.num_tokens
            assert 0 <= run.start < run.start + run.length <= run.document.num_tokens
            assert run.document.num_tokens == corpus.rows[run.document.doc_id].num_tokens
        assert tokens == expected[step]


def test_steps_of_every_document(exposure: Exposure, corpus: Corpus) -> None:
    """For each training document: exactly the steps with any of its tokens, and how many."""
    steps = counted(exposure, corpus)
    for doc_id, row in corpus.rows.items():
        expected = {step: found[doc_id] for step, found in steps.items() if doc_id in found}
        placed = exposure.documents.placed(doc_id)
        assert len(placed) == (row.split == "train")
        found = {share.step: share.num_tokens for d in placed for share in of_document(exposure, d)}
        assert found == expected


def test_tokens_by_licence(exposure: Exposure, corpus: Corpus) -> None:
    """Tokens and documents of each source and licence are the sums over all tokens of all steps, to the last one."""
    tokens: Counter[tuple[str, str]] = Counter()
    documents: set[tuple[str, str, str]] = set()
    for step in counted(exposure, corpus).values():
        for doc_id, count in step.items():
            row = corpus.rows[doc_id]
            tokens[row.source, row.licence or "unknown"] += count
            documents |= {(row.source, row.licence or "unknown", doc_id)} if count else set()
    shares = by_licence(exposure)
    assert {(s.source, s.licence): s.num_tokens for s in shares} == {k: n for k, n in tokens.items() if n}
    assert Counter((s.source, s.licence) for s in shares for _ in range(s.num_documents)) == Counter(
        key[:2] for key in documents
    )


def test_full_samples_leave_no_token_out(corpus: Corpus) -> None:
    """Where every sample is full, the tokens by licence are steps x batch x T."""
    full = exposed(corpus, listed(contiguous(corpus, 16), 24 * BATCH, seed=2), 16, BATCH)
    assert sum(s.num_tokens for s in by_licence(full)) == 24 * BATCH * 16


def test_blocks_do_not_change_what_is_counted(
    exposure: Exposure, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small blocks, of steps and of samples, give the same sums as one."""
    whole = by_licence(exposure)
    monkeypatch.setattr(module, "TAKEN", 2 * BATCH + 1)
    monkeypatch.setattr(module, "CUT", 3)
    assert by_licence(exposure) == whole


def test_a_source_without_documents_is_said(corpus: Corpus, tmp_path: Path) -> None:
    """Tokens that no row of the documents' table claims are counted as of no known document, and none is lost."""
    other = write_corpus(tmp_path, {"elsewhere": 1})
    order = listed(contiguous(corpus, 16), 24 * BATCH, seed=2)
    full = exposed(corpus, order, 16, BATCH)
    blind = Exposure(**{**vars(full), "documents": type(full.documents)(other.documents, corpus.datasets)})
    shares = by_licence(blind)
    assert {s.licence for s in shares} == {"of no known document"}
    assert sum(s.num_tokens for s in shares) == 24 * BATCH * 16


@pytest.mark.parametrize("step", [0, -1, 25])
def test_a_step_outside_the_run_is_refused(exposure: Exposure, step: int) -> None:
    """The message says which steps there are."""
    with pytest.raises(SettingsError, match=re.escape(f"--step {step}: the run's ledger has the steps 1..24")):
        at_step(exposure, step)


def test_another_order_than_the_ledgers_is_refused(exposure: Exposure, corpus: Corpus) -> None:
    """One digest that differs is said, whichever question is asked."""
    ledger = {**exposure.ledger, 3: Samples(*(c[:0] for c in exposure.order.take(0, 1))).digest()}
    wrong = Exposure(**{**vars(exposure), "ledger": ledger})
    at_step(wrong, 2)
    with pytest.raises(ContractError, match="step 3: the ledger says"):
        at_step(wrong, 3)
    with pytest.raises(ContractError, match="step 3: the ledger says"):
        by_licence(wrong)
    seen = {run.document for run in at_step(exposure, 3)}
    with pytest.raises(ContractError, match="step 3: the ledger says"):
        of_document(wrong, seen.pop())


def test_a_run_that_stopped_early_is_counted_to_its_last_step(exposure: Exposure, corpus: Corpus) -> None:
    """Steps after the ledger's last are of no account."""
    half = Exposure(**{**vars(exposure), "ledger": {s: d for s, d in exposure.ledger.items() if s <= 10}})
    expected = counted(half, corpus)
    assert set(expected) == set(range(1, 11))
    assert sum(s.num_tokens for s in by_licence(half)) == sum(sum(c.values()) for c in expected.values())
    for doc_id, row in corpus.rows.items():
        if row.split == "train":
            (placed,) = half.documents.placed(doc_id)
            assert {s.step for s in of_document(half, placed)} == {s for s, c in expected.items() if doc_id in c}
