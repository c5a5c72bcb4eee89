"""Queries on the token stream against plain Python over the same rows."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from schemas.tokens import Fertility, MixtureShare, TokenizedDocument
from schemas.training import BatchLedger
from stages.base import Stage
from stages.tables import Reader
from tests.workflows.report.fake_run import FakeRun, Node
from tests.workflows.report.fake_stream import STEPS
from workflows.report import stream
from workflows.report.page import render
from workflows.report.summary import summarize
from workflows.report.tables import Tables
from workflows.trace.training import Training

Open = Callable[[Sequence[Node]], Tables]


class Mix(Stage):
    """Writes a mixture."""

    name = "mix"
    outputs = {"mixture": MixtureShare}

    max_epochs: float = 2.5


class Measure(Stage):
    """Writes fertility."""

    name = "measure"
    outputs = {"fertility": Fertility}


def rows_of(run: FakeRun, name: str, table: str) -> list[Any]:
    """The rows of a node's table, read the way that stages read."""
    node = next(n for n in run.nodes if n.name == name)
    return list(Reader(node.path / table, node.stage.outputs[table]).rows())


def share(phase: int, source: str, num_taken: int, epochs: float) -> MixtureShare:
    """What a source gives in a phase of ten steps."""
    steps = {"first_step": 10 * phase + 1, "last_step": 10 * phase + 10}
    return MixtureShare(
        phase=phase, source=source, weight=0.5, num_tokens=9, num_samples=3, num_taken=num_taken, epochs=epochs, **steps
    )


def measured(tokenizer: str, source: str, kind: Any, num_bytes: int, num_tokens: int) -> Fertility:
    """A row of fertility."""
    counts = {"num_bytes": num_bytes, "num_characters": num_bytes, "num_words": 1, "num_tokens": num_tokens}
    return Fertility(tokenizer=tokenizer, source=source, language="en", kind=kind, **counts)


def test_licences_that_training_saw(done_run: FakeRun, tables: Tables) -> None:
    """Tokens by licence are those of every sample of every step, one after the other; they are steps x batch x T."""
    by_source: dict[str, list[TokenizedDocument]] = defaultdict(list)
    for d in rows_of(done_run, "tokenize", "documents"):
        by_source[d.source if d.split == "train" else ""].append(d)
    training = Training.open(next(n for n in done_run.nodes if n.name == "pretrain").path)
    order = training.opened.samples
    taken = order.take(0, order.num_samples)
    expected: Counter[str] = Counter()
    for dataset, sample in zip(taken.datasets.tolist(), taken.samples.tolist(), strict=True):
        (span,) = order.spans(dataset, sample)
        for d in by_source[training.datasets[dataset].source]:
            inside = min(span.start + STEPS.sequence_tokens, d.start + d.num_tokens) - max(span.start, d.start)
            expected[d.licence or "unknown"] += max(inside, 0)
    (found,) = stream.seen(tables, summarize(done_run.nodes))
    assert {r["licence"]: r["num_tokens"] for r in found["licences"]} == dict(expected)
    assert found["num_tokens"] == sum(expected.values())
    assert sum(expected.values()) == STEPS.num_steps * STEPS.batch_sequences * STEPS.sequence_tokens


def test_a_long_run_is_not_counted_here(done_run: FakeRun, tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over so many samples the report names the command that counts them instead."""
    monkeypatch.setattr(stream, "MAX_SAMPLES", 4799)
    (found,) = stream.seen(tables, summarize(done_run.nodes))
    assert found["licences"] == []
    assert "parsl trace --licence" in render(done_run.nodes, "pretrain")


def test_a_ledger_of_another_order_is_a_problem_not_a_crash(copied_run: dict[str, Node]) -> None:
    """Where the ledger does not fit the order, the page says so, has no such table, and has all others."""
    folder = copied_run["pretrain"].path / "ledger"
    rows = list(Reader(folder, BatchLedger).rows())
    rows[6] = rows[6].model_copy(update={"samples_sha": "0" * 32})
    part = next(folder.glob("*.parquet"))
    pq.write_table(BatchLedger.table(rows), part)
    text = render(list(copied_run.values()), "pretrain")
    assert "pretrain, tokens by licence: 1 problem(s) with the ledger step 7: the ledger says 000" in text
    assert "Licences that training saw" not in text
    assert "Mixture" in text


def test_ledger_digest_stands_for_every_step(done_run: FakeRun, tables: Tables) -> None:
    """Steps and samples of the ledger, and a digest of its steps' digests in order."""
    rows = rows_of(done_run, "pretrain", "ledger")
    (found,) = stream.ledgers(tables)
    assert (found["first_step"], found["last_step"], found["num_samples"]) == (1, len(rows), 16 * len(rows))
    joined = "".join(r.samples_sha for r in rows).encode()
    assert found["digest"] == hashlib.blake2b(joined, digest_size=16).hexdigest()


def test_sources_that_are_repeated_too_often_are_marked(tmp_path: Path, tables_of: Open) -> None:
    """A source whose epochs pass the index's own limit is marked, from the phase on in which they do."""
    run = FakeRun(tmp_path)
    rows = [share(0, "a", 6, 2.0), share(0, "b", 2, 0.7), share(1, "a", 2, 2.6), share(1, "b", 6, 2.5)]
    node = run.finish(run.node(Mix()), 1.0, mixture=rows)
    found = stream.mixture(tables_of([node]), summarize([node]))
    assert [(r["phase"], r["source"]) for r in found] == [(0, "a"), (0, "b"), (1, "b"), (1, "a")]
    assert [r["repeated"] for r in found] == [False, False, False, True]
    assert [r["taken_fraction"] for r in found] == [0.75, 0.25, 0.75, 0.25]
    text = render([node], "x")
    assert "2.60, over 2.5" in text
    assert re.search(r"<td class=\"n\">11–20</td>\s*<th scope=\"row\" class=\"anywhere\">b", text)


def test_fertility_is_a_ratio_of_sums(tmp_path: Path, tables_of: Open) -> None:
    """Tokens a byte of a kind are its tokens over its bytes, over all sources and for each where there are more."""
    run = FakeRun(tmp_path)
    rows = [measured("mine", "a", "prose", 100, 20), measured("mine", "b", "prose", 300, 100)]
    rows += [measured("other", "a", "prose", 100, 30), measured("other", "b", "prose", 300, 50)]
    rows += [measured("mine", "a", "number", 10, 10), measured("other", "a", "table", 0, 0)]
    node = run.finish(run.node(Measure()), 1.0, fertility=rows)
    found = stream.fertility(tables_of([node]))
    assert found is not None
    assert found["tokenizers"] == ["mine", "other"]
    assert [(r["kind"], r["source"], r["values"]) for r in found["rows"]] == [
        ("prose", None, {"mine": 0.3, "other": 0.2}),
        ("prose", "b", {"mine": 100 / 300, "other": 50 / 300}),
        ("prose", "a", {"mine": 0.2, "other": 0.3}),
        ("number", None, {"mine": 1.0}),
    ]
    assert "tokens a byte (fewer is better)" in render([node], "x")


def test_nothing_of_the_stream(tmp_path: Path, tables_of: Open) -> None:
    """Tables without rows make no section."""
    run = FakeRun(tmp_path)
    nodes = [run.finish(run.node(Mix()), 1.0), run.finish(run.node(Measure()), 1.0)]
    assert stream.fertility(tables_of(nodes)) is None
    assert 'id="stream"' not in render(nodes, "x")
