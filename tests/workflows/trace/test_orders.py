"""Every order that an index can fix, traced over all of a run and compared with counting tokens one at a time."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from schemas.tokens import IndexFile, TokenizedDocument
from stages.tables import Reader
from tests.workflows.trace.life import STEPS, tokenized, trained
from tests.workflows.trace.toy import Corpus, counted, owners, tokens_of
from workflows.trace.exposure import Exposure, at_step, by_licence, of_document
from workflows.trace.training import Training

WEIGHTS = {"notes": 0.2, "papers": 3.0}
PHASES = [{"until": 0.4, "weights": WEIGHTS}, {"until": 1.0, "weights": {"theses": 1.0, "notes": 0.5}}]
ORDERS: dict[str, dict[str, Any]] = {
    "virtual": {},
    "virtual, weights": {"weights": WEIGHTS, "seed": 5},
    "virtual, phases": {"phases": PHASES},
    "virtual, stopped early": {"num_done": 17},
    "best fit": {"packing": "best_fit"},
    "best fit, phases": {"packing": "best_fit", "phases": PHASES},
    "megatron": {"order": "megatron"},
    "megatron, weights": {"order": "megatron", "weights": WEIGHTS, "seed": 3},
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three sources in two files each, by the real stages."""
    return tokenized(tmp_path_factory.mktemp("life") / "root")


@pytest.fixture(scope="module", params=ORDERS.values(), ids=ORDERS.keys())
def training(request: pytest.FixtureRequest, tables: dict[str, Path]) -> Training:
    """A run of 40 steps, several epochs of each source that it takes."""
    folder = tables["tokens"].parent.parent / f"train-{len(list(tables['tokens'].parent.parent.iterdir()))}"
    return Training.open(trained(tables, folder, **request.param))


@pytest.fixture(scope="module")
def exposure(training: Training) -> Exposure:
    """What the questions are put to."""
    return training.exposure()


@pytest.fixture(scope="module")
def corpus(training: Training) -> Corpus:
    """The document of every token."""
    documents = training.tables[TokenizedDocument]
    rows = list(documents.rows())
    by_id = {r.doc_id: r for r in rows}
    return Corpus(documents, documents, training.datasets, by_id, [owners(d, rows) for d in training.datasets])


@pytest.fixture(scope="module")
def expected(exposure: Exposure, corpus: Corpus) -> dict[int, Counter[str]]:
    """Inputs of each document at each step."""
    return counted(exposure, corpus)


def test_every_token_of_every_step(exposure: Exposure, corpus: Corpus) -> None:
    """The runs of a step, token by token, are the owners of the tokens that its samples name."""
    for step in range(1, exposure.num_steps + 1):
        runs = at_step(exposure, step)
        tokens = [(r.sequence, r.place + i, r.document.doc_id, i < r.num_tokens) for r in runs for i in range(r.length)]
        assert tokens == tokens_of(exposure, corpus, step)


def test_steps_of_every_document(exposure: Exposure, corpus: Corpus, expected: dict[int, Counter[str]]) -> None:
    """Each training document is found at exactly the steps that saw it, with its tokens there."""
    for doc_id, row in corpus.rows.items():
        placed = exposure.documents.placed(doc_id)
        assert len(placed) == (row.split == "train")
        found = {s.step: s.num_tokens for d in placed for s in of_document(exposure, d)}
        assert found == {step: tokens[doc_id] for step, tokens in expected.items() if doc_id in tokens}


def test_tokens_by_licence(
    training: Training, exposure: Exposure, corpus: Corpus, expected: dict[int, Counter[str]]
) -> None:
    """Tokens of each source and licence are those of its documents; with padding, steps x batch x T."""
    tokens: Counter[tuple[str, str]] = Counter()
    for step in expected.values():
        for doc_id, count in step.items():
            tokens[corpus.rows[doc_id].source, corpus.rows[doc_id].licence or "unknown"] += count
    shares = by_licence(exposure)
    assert {(s.source, s.licence): s.num_tokens for s in shares} == +tokens
    total = exposure.num_steps * STEPS["batch_sequences"] * STEPS["sequence_tokens"]
    padding = total - sum(s.num_tokens for s in shares)
    assert (padding > 0) == (training.opened.order.packing == "best_fit")


def test_the_run_takes_more_than_an_epoch(training: Training) -> None:
    """These tests would miss what goes wrong at the seam of two epochs if there were none."""
    assert max(row.epochs for row in training.opened.mixture) > 1
    arrays = {row.name for row in training.tables[IndexFile].rows()}
    order = training.opened.order
    assert ("shuffle_index" in arrays) == (order.kind == "megatron")
    assert ("bin_ends" in arrays) == (order.packing == "best_fit")
    assert all(len(d.files) == 2 for d in training.datasets)
    assert Reader(training.ledger.folder, training.ledger.row).num_rows == training.exposure().num_steps
