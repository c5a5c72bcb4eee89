import hashlib
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.tokens import IndexFile, MixtureShare, TokenizedDocument, TokenOrder, TokenShard
from schemas.training import BatchLedger
from stages.model.network import IGNORED
from stages.pretrain.data import Step, learned
from stages.stream.corpus import Dataset, open_corpus
from stages.stream.loader import Batch as Rows
from stages.stream.opening import Opened, open_order
from stages.stream.order import Samples
from stages.tables import Reader
from tests.stages.model.token_files import TokenTables
from tests.stages.pretrain.conftest import Start, command_line
from tests.stages.pretrain.launch import SECONDS, launch, rows, torchrun

EOD = 7


def opened(tokens: TokenTables, out: Path) -> tuple[Opened, list[Dataset]]:
    """The order that a run followed, and the datasets that it is of."""
    index = out.with_name(f"{out.name}-index")
    datasets = open_corpus(Reader(tokens.tokens, TokenShard), "train")
    tables = (
        Reader(index / n, r) for n, r in (("order", TokenOrder), ("mixture", MixtureShare), ("arrays", IndexFile))
    )
    return open_order(*tables, datasets), datasets


@pytest.mark.parametrize(
    "index",
    [
        {},
        {"weights": {"notes": 3, "papers": 1}},
        {"order": "megatron", "weights": {"notes": 3, "papers": 1}},
        {"packing": "best_fit", "phases": [{"until": 0.5}, {"until": 1, "weights": {"theses": 1}}]},
    ],
)
def test_the_ledger_is_what_the_mixture_promised(
    index: dict[str, Any], sources: TokenTables, pretrain: Start, tmp_path: Path
) -> None:
    """Each step's digest is that of the order's samples, which hold of each source what the mixture's rows say."""
    assert pretrain(tmp_path / "out", sources, index=index) == 0
    ledger = rows(tmp_path / "out", "ledger")
    order, datasets = opened(sources, tmp_path / "out")
    taken: Counter[str] = Counter()
    for row in ledger:
        samples = order.samples.take((row["step"] - 1) * 8, row["step"] * 8)
        assert row["samples_sha"] == samples.digest()
        assert (row["phase"], row["num_samples"]) == ("pretrain", 8)
        taken.update(datasets[k].source for k in samples.datasets.tolist())
    assert [row["step"] for row in ledger] == list(range(1, 13))
    promised: Counter[str] = Counter()
    for share in order.mixture:
        promised[share.source] += share.num_taken
    assert taken == promised


def test_each_source_is_validated(sources: TokenTables, pretrain: Start, tmp_path: Path) -> None:
    """With several sources each has its own bits a byte, and weighted by tokens they are the split's loss."""
    assert pretrain(tmp_path / "out", sources) == 0
    found = [r for r in rows(tmp_path / "out", "validation") if r["step"] == 12]
    names = ["validation", "validation/notes", "validation/papers", "validation/theses"]
    assert [r["name"] for r in found] == names
    documents = [d for d in Reader(sources.documents, TokenizedDocument).rows() if d.split == "validation"]
    tokens: Counter[str] = Counter()
    for d in documents:
        tokens[f"validation/{d.source}"] += d.num_tokens
    mean = sum(r["value"] * tokens[r["name"]] for r in found[1:]) / tokens.total()
    assert found[0]["value"] == pytest.approx(mean)
    assert all(r["bits_per_byte"] > 0 for r in found)


@pytest.mark.parametrize("index", [{}, {"packing": "best_fit"}])
def test_masked_documents_train(index: dict[str, Any], sources: TokenTables, pretrain: Start, tmp_path: Path) -> None:
    """With documents kept apart the run learns as well, the same samples by other numbers."""
    for name, masked in (("apart", True), ("together", False)):
        assert pretrain(tmp_path / name, sources, index=index, mask_documents=masked) == 0
    apart, together = (rows(tmp_path / name, "steps") for name in ("apart", "together"))
    assert apart[-1]["loss"] < apart[0]["loss"] - 0.3
    assert [r["loss"] for r in apart] != [r["loss"] for r in together]
    assert [r["num_tokens"] for r in apart] == [r["num_tokens"] for r in together]
    assert rows(tmp_path / "apart", "ledger") == rows(tmp_path / "together", "ledger")


def test_empty_places_are_not_learned(sources: TokenTables, pretrain: Start, tmp_path: Path) -> None:
    """Tokens are counted where best fit filled a sample, and are those that the samples' spans hold."""
    assert pretrain(tmp_path / "out", sources, index={"packing": "best_fit"}) == 0
    order, _ = opened(sources, tmp_path / "out")
    samples = order.samples.take(0, 96)
    lengths = [
        sum(s.length for s in order.samples.spans(int(k), int(i))) - 1
        for k, i in zip(samples.datasets, samples.samples, strict=True)
    ]
    expected = np.cumsum(np.array(lengths).reshape(12, 8).sum(axis=1))
    assert [r["num_tokens"] for r in rows(tmp_path / "out", "steps")] == expected.tolist()
    assert expected[-1] < 12 * 8 * 32


def rows_of(tokens: list[int], length: int, documents: list[int] | None) -> Rows:
    """One row of a loader's batch."""
    numbers = None if documents is None else np.array([documents], np.int32)
    return Rows(1, np.array([tokens]), np.array([length]), np.zeros(1, np.int32), numbers)


def test_what_fills_a_row_up_is_no_target() -> None:
    """Of a row of five tokens in eight places the four that follow one are targets, the rest is not scored."""
    batch = learned(rows_of([1, 2, 3, 4, EOD, EOD, EOD, EOD], 5, None), EOD)
    assert batch.inputs_BT.tolist() == [[1, 2, 3, 4, EOD, EOD, EOD]]
    assert batch.targets_BT.tolist() == [[2, 3, 4, EOD, IGNORED, IGNORED, IGNORED]]
    assert batch.documents_BT is None


def test_a_document_begins_with_the_end_token_before_it() -> None:
    """As an input, the end of one document is the beginning of the next, so that none of its tokens sees the one before."""
    batch = learned(rows_of([1, EOD, 3, 4, EOD, 5, 6], 7, [0, 0, 1, 1, 1, 2, 2]), EOD)
    assert batch.documents_BT is not None
    assert batch.documents_BT.tolist() == [[0, 1, 1, 1, 2, 2]]
    assert batch.targets_BT.tolist() == [[EOD, 3, 4, EOD, 5, 6]]


def test_a_row_of_the_ledger_is_a_digest() -> None:
    """A step's row has the number of its samples and blake2b of their datasets and numbers, in 32-bit and 64-bit integers."""
    samples = Samples(np.arange(4096, dtype=np.int32) % 7, np.arange(4096, dtype=np.int64) ** 2)
    row = Step(3, samples, learned(rows_of([1, 2], 2, None), EOD)).ledger()
    packed = samples.datasets.tobytes() + samples.samples.tobytes()
    digest = hashlib.blake2b(packed, digest_size=16).hexdigest()
    assert row == BatchLedger(phase="pretrain", step=3, num_samples=4096, samples_sha=digest)


@pytest.mark.slow
def test_any_number_of_ranks_takes_the_same_samples(
    sources: TokenTables, pretrain: Start, tmp_path: Path, root: Path
) -> None:
    """One, two and four gloo ranks write the same ledger, follow the same losses, and resume from each other."""
    settings = {"index": {"order": "megatron"}, "micro_batch_sequences": 2}
    assert pretrain(tmp_path / "1", sources, **settings) == 0
    one = rows(tmp_path / "1", "ledger"), [r["loss"] for r in rows(tmp_path / "1", "steps")]
    for count in (2, 4):
        process = launch(root, command_line(sources, tmp_path / str(count), settings), *torchrun(count))
        output, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, output
        assert rows(tmp_path / str(count), "ledger") == one[0]
        assert [r["loss"] for r in rows(tmp_path / str(count), "steps")] == pytest.approx(one[1], abs=1e-4)
        shutil.rmtree(tmp_path / str(count) / "states" / "step-000012")
        (tmp_path / str(count) / "manifest.json").unlink()
        assert pretrain(tmp_path / str(count), sources, **settings) == 0
        assert rows(tmp_path / str(count), "ledger") == one[0]
