import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from schemas.corpus import Sha256
from schemas.manifest import Manifest
from schemas.tokens import TokenizedDocument, Tokenizer, TokenShard
from schemas.training import Model
from stages.model.engine import Batch, Taken
from stages.model.folder import only_model
from stages.model.native import NativeEngine
from stages.tables import Reader
from tests.stages.model.token_files import TokenTables, write_tables, write_tokens
from tests.stages.pretrain.conftest import Start, indexed


def rows(out: Path, table: str) -> list[dict[str, Any]]:
    """The rows of an output table."""
    found: list[dict[str, Any]] = pq.read_table(out / table).to_pylist()
    return found


def weights(out: Path) -> bytes:
    """The bytes of the exported weights."""
    return (out / "huggingface" / "model.safetensors").read_bytes()


def losses(out: Path) -> list[float]:
    """The loss of every step."""
    return [row["loss"] for row in rows(out, "steps")]


@pytest.fixture(scope="module")
def unbroken(pretrain: Start, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of twelve steps."""
    out = tmp_path_factory.mktemp("unbroken") / "out"
    assert pretrain(out) == 0
    return out


def test_every_step_is_a_row(unbroken: Path) -> None:
    """Steps 1 to 12 have a loss, a norm, the schedule's rate, the tokens so far and a speed."""
    found = rows(unbroken, "steps")
    assert [r["step"] for r in found] == list(range(1, 13))
    assert [r["num_tokens"] for r in found] == [256 * s for s in range(1, 13)]
    assert found[0]["loss"] == pytest.approx(math.log(300), abs=0.1)
    assert all(r["gradient_norm"] > 0 and r["tokens_per_second"] > 0 for r in found)
    assert [r["learning_rate"] for r in found][:2] == [0.005, 0.01]
    assert found[-1]["learning_rate"] == pytest.approx(0.001)


def test_it_learns(unbroken: Path) -> None:
    """Loss falls in training and on the held-out split."""
    assert losses(unbroken)[-1] < losses(unbroken)[0] - 0.3
    values = [r["value"] for r in rows(unbroken, "validation") if r["name"] == "validation"]
    assert values[1] < values[0]


def test_a_longer_run_beats_the_unigram_model(pretrain: Start, tmp_path: Path) -> None:
    """After 150 steps the model's bits a byte are under two thirds of the unigram entropy of the same text."""
    settings = {"index": {"num_steps": 150}, "checkpoint_every": 150, "validate_every": 150}
    assert pretrain(tmp_path / "out", **settings) == 0
    found = {r["name"]: r["bits_per_byte"] for r in rows(tmp_path / "out", "validation")}
    assert found["validation"] < 0.67 * found["unigram"]


def test_validation_counts_every_token(unbroken: Path, tokens: TokenTables) -> None:
    """The last validation row is what `transformers` computes from the export, document by document, byte by byte."""
    theirs = AutoModelForCausalLM.from_pretrained(unbroken / "huggingface").eval()
    documents = [d for d in Reader(tokens.documents, TokenizedDocument).rows() if d.split == "validation"]
    (tokenizer,) = Reader(tokens.tokenizer, Tokenizer).rows()
    nats = 0.0
    for d in documents:
        ids = [tokenizer.eod_id, *np.fromfile(d.bin, "<u2")[d.start : d.start + d.num_tokens].tolist()]
        for start in range(0, d.num_tokens, 32):
            window = torch.tensor([ids[start : start + 33]])
            with torch.no_grad():
                log_p = theirs(window[:, :-1]).logits.double().log_softmax(-1)
            nats -= float(log_p.gather(2, window[:, 1:, None]).sum())
    last = rows(unbroken, "validation")[-1]
    assert last["value"] == pytest.approx(nats / sum(d.num_tokens for d in documents), rel=1e-6)
    assert last["bits_per_byte"] == pytest.approx(nats / math.log(2) / sum(d.num_bytes for d in documents), rel=1e-6)


def test_the_unigram_row_is_the_entropy_of_the_split(unbroken: Path, tokens: TokenTables) -> None:
    """The baseline stands in the table from step 0, with the entropy of the validation tokens."""
    shards = [s for s in Reader(tokens.tokens, TokenShard).rows() if s.split == "validation"]
    stream = np.concatenate([np.fromfile(s.bin.path, "<u2") for s in shards])
    p = np.unique(stream, return_counts=True)[1] / len(stream)
    first = rows(unbroken, "validation")[0]
    assert (first["name"], first["step"]) == ("unigram", 0)
    assert first["value"] == pytest.approx(float(-(p * np.log(p)).sum()))


def test_the_model_row_is_the_folder(unbroken: Path) -> None:
    """The next stage finds one model, its files with the recorded sizes, and its number of weights."""
    row, folder = only_model(Reader(unbroken / "model", Model))
    assert folder == unbroken / "huggingface"
    assert (row.architecture, row.phase, row.context_tokens) == ("LlamaForCausalLM", "pretrain", 32)
    assert row.num_parameters == sum(t.numel() for t in load_file(folder / "model.safetensors").values())


def test_checkpoint_rows_point_at_the_newest(unbroken: Path) -> None:
    """Two checkpoints are kept, and their rows say where they are and how large."""
    found = rows(unbroken, "checkpoints")
    assert [(r["step"], r["num_tokens"], r["folder"]) for r in found] == [
        (8, 2048, "states/step-000008"),
        (12, 3072, "states/step-000012"),
    ]
    for row in found:
        files = [f for f in (unbroken / row["folder"]).iterdir() if f.name != "complete.json"]
        assert row["size_bytes"] == sum(f.stat().st_size for f in files)


def test_the_same_settings_give_the_same_bits(unbroken: Path, pretrain: Start, tmp_path: Path) -> None:
    """A second run has the same weights and losses, to the bit; another seed of weights or of the order has not."""
    assert pretrain(tmp_path / "again") == 0
    assert weights(tmp_path / "again") == weights(unbroken)
    assert losses(tmp_path / "again") == losses(unbroken)
    assert pretrain(tmp_path / "other", seed=1) == 0
    assert weights(tmp_path / "other") != weights(unbroken)
    assert rows(tmp_path / "other", "ledger") == rows(unbroken, "ledger")
    assert pretrain(tmp_path / "shuffled", index={"seed": 1}) == 0
    assert not {r["samples_sha"] for r in rows(tmp_path / "shuffled", "ledger")} & {
        r["samples_sha"] for r in rows(unbroken, "ledger")
    }


def test_a_finished_run_is_not_trained_again(
    pretrain: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed after the last checkpoint, the same command only exports, to the same bits and rows."""
    assert pretrain(tmp_path / "out") == 0
    before, steps = weights(tmp_path / "out"), rows(tmp_path / "out", "steps")
    (tmp_path / "out" / "manifest.json").unlink()
    capsys.readouterr()
    assert pretrain(tmp_path / "out") == 0
    assert "step 12" not in capsys.readouterr().out
    assert weights(tmp_path / "out") == before
    assert rows(tmp_path / "out", "steps") == steps


def test_micro_batches_are_the_batch(unbroken: Path, pretrain: Start, tmp_path: Path) -> None:
    """Adding up gradients over smaller pieces changes losses by rounding only."""
    assert pretrain(tmp_path / "out", micro_batch_sequences=1) == 0
    assert losses(tmp_path / "out") == pytest.approx(losses(unbroken), abs=2e-5)


def test_bf16_learns_alike_with_fp32_weights(unbroken: Path, pretrain: Start, tmp_path: Path) -> None:
    """bf16 products follow the fp32 losses to 1 %, and the smallest updates of the norms are not rounded away."""
    assert pretrain(tmp_path / "out", precision="bf16") == 0
    assert losses(tmp_path / "out") == pytest.approx(losses(unbroken), rel=0.01)
    found = load_file(tmp_path / "out" / "huggingface" / "model.safetensors")
    norm = found["model.norm.weight"]
    assert norm.dtype == torch.float32
    assert ((norm - 1).abs() > 0).all()
    assert not torch.equal(norm, norm.bfloat16().float())


def test_other_settings_do_not_go_on_from_this_run(
    pretrain: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A checkpoint of other settings in the same folder is refused with every difference named."""
    assert pretrain(tmp_path / "out") == 0
    assert pretrain(tmp_path / "out", learning_rate=0.02, tie_embeddings=False) == 3
    words = capsys.readouterr().err
    assert "learning_rate: the checkpoint has 0.01, this run 0.02" in words
    assert "tie_embeddings: the checkpoint has True, this run False" in words


def test_another_order_does_not_go_on_from_this_run(
    tokens: TokenTables, pretrain: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A checkpoint that learned samples in another order is refused, with what differs in the order named."""
    assert pretrain(tmp_path / "out") == 0
    shutil.rmtree(tmp_path / "out-index")
    assert pretrain(tmp_path / "out", index={"seed": 5, "num_steps": 20}) == 3
    words = capsys.readouterr().err
    assert "index.seed: the checkpoint has 0, this run 5" in words
    assert "index.num_steps: the checkpoint has 12, this run 20" in words


def test_a_loss_that_is_not_finite_stops_the_run(
    pretrain: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A NaN in the weights at step 6 ends the run with an error that names the step; nothing after step 4 is kept."""
    measure = NativeEngine.measure

    def spoiled(self: NativeEngine, batch: Batch, step: int) -> Taken:
        if step == 6:
            with torch.no_grad():
                self.network.embedding.weight[0, 0] = float("nan")
        return measure(self, batch, step)

    monkeypatch.setattr(NativeEngine, "measure", spoiled)
    assert pretrain(tmp_path / "out") == 1
    assert "TrainingError: step 6: the loss is nan" in capsys.readouterr().err
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert [f.name for f in (tmp_path / "out" / "states").glob("step-*")] == ["step-000004"]
    monkeypatch.undo()


def test_an_empty_validation_split_is_refused(
    pretrain: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a validation document there is nothing to measure: a contract error that says so."""
    tables = write_tokens(tmp_path / "t", {"train": ["many words " * 200], "validation": []}, 270)
    assert pretrain(tmp_path / "out", tables) == 3
    assert "validation needs at least one" in capsys.readouterr().err


def test_a_warm_up_that_never_ends_is_refused(
    pretrain: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many steps of warm-up as the index has steps are a settings error that names both, before training."""
    assert pretrain(tmp_path / "out", warmup_steps=12) == 2
    assert "pretrain.warmup_steps 12 must be under index.num_steps 12" in capsys.readouterr().err


def test_other_token_files_are_refused(
    tokens: TokenTables, pretrain: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An order that was made of other token files is refused by their digests, whatever their sizes."""
    rows = list(Reader(tokens.tokens, TokenShard).rows())
    changed = [r.model_copy(update={"bin": r.bin.model_copy(update={"sha256": "3" * 64})}) for r in rows]
    other = tokens._replace(tokens=write_tables(tmp_path / "t", {"tokens": (TokenShard, changed)})["tokens"])
    indexed(tokens, tmp_path / "out-index")
    assert pretrain(tmp_path / "out", other) == 3
    assert "run index again" in capsys.readouterr().err


def test_another_tokenizer_is_refused(
    tokens: TokenTables, pretrain: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Token files that another tokenizer made are refused by its digest."""
    (row,) = Reader(tokens.tokenizer, Tokenizer).rows()
    other: Sha256 = "1" * 64
    changed = [row.model_copy(update={"file": row.file.model_copy(update={"sha256": other})})]
    tables = tokens._replace(tokenizer=write_tables(tmp_path / "t", {"tokenizer": (Tokenizer, changed)})["tokenizer"])
    indexed(tokens, tmp_path / "out-index")
    assert pretrain(tmp_path / "out", tables) == 3
    assert "given is 111111111111" in capsys.readouterr().err


def test_heads_that_do_not_fit_are_refused(pretrain: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A width that its heads do not divide is a settings error."""
    assert pretrain(tmp_path / "out", num_heads=5) == 2
    assert "width 32 does not split into 5 heads" in capsys.readouterr().err


def test_the_manifest_names_what_trained_it(unbroken: Path) -> None:
    """The manifest records settings, package versions and peak memory."""
    manifest = Manifest.read(unbroken)
    assert manifest.settings["warmup_steps"] == 2
    assert set(manifest.inputs) == {"tokens", "documents", "tokenizer", "order", "mixture", "arrays"}
    assert {"torch", "deepspeed", "transformers"} <= manifest.packages.keys()
    assert manifest.peak_memory_bytes > 0
