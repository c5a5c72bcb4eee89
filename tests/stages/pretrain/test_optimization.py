"""Optimizers, schedules and layers through the whole stage."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.stages.pretrain.conftest import Start
from tests.stages.pretrain.launch import rows

LAST = Path("states", "step-000012")
MUON = {"optimizer": "muon", "schedule": "wsd", "batch_doublings": [3, 6], "qk_norm": True, "z_loss": 1e-3}
LINEAR = {"preset": "tiny", "width": 32, "num_heads": 2, "hidden_width": 48, "layers": "deltanet,attention"}
SETTINGS = [MUON, {"optimizer": "sophia", "schedule": "linear", "learning_rate": 0.003}, {"optimizer": "soap"}, LINEAR]


@pytest.mark.parametrize("settings", SETTINGS, ids=["muon", "sophia", "soap", "deltanet"])
def test_a_resumed_run_is_the_unbroken_run(settings: dict[str, Any], pretrain: Start, tmp_path: Path) -> None:
    """Each optimizer and kind of layer goes on from the middle to the same weights and losses, to the bit, and learns."""
    assert pretrain(tmp_path / "a", **settings) == 0
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / LAST)
    (tmp_path / "b" / "manifest.json").unlink()
    assert pretrain(tmp_path / "b", **settings) == 0
    assert (tmp_path / "b" / LAST / "rank-00000.safetensors").read_bytes() == (
        tmp_path / "a" / LAST / "rank-00000.safetensors"
    ).read_bytes()
    found = rows(tmp_path / "b", "steps", "tokens_per_second")
    assert found == rows(tmp_path / "a", "steps", "tokens_per_second")
    assert found[-1]["loss"] < found[0]["loss"] - 0.1


def test_parts_of_batches_take_the_same_samples(pretrain: Start, tmp_path: Path) -> None:
    """While the batch grows the ledger, the tokens and the number of rows are those of whole batches, the losses not."""
    for name, doublings in (("whole", []), ("grown", [4, 8])):
        assert pretrain(tmp_path / name, batch_doublings=doublings) == 0
    assert rows(tmp_path / "grown", "ledger") == rows(tmp_path / "whole", "ledger")
    grown, whole = (rows(tmp_path / name, "steps", "tokens_per_second") for name in ("grown", "whole"))
    assert [r["num_tokens"] for r in grown] == [r["num_tokens"] for r in whole]
    assert [g["learning_rate"] / w["learning_rate"] for g, w in zip(grown, whole, strict=True)] == pytest.approx(
        [0.5] * 4 + [0.5**0.5] * 4 + [1.0] * 4
    )
    assert grown[1]["loss"] != pytest.approx(whole[1]["loss"], abs=1e-4)


def test_qk_norm_is_exported_as_qwen3(pretrain: Start, tmp_path: Path) -> None:
    """With norms of queries and keys the model row and its files are of Qwen3's architecture, norms among the weights."""
    assert pretrain(tmp_path / "out", qk_norm=True) == 0
    (row,) = rows(tmp_path / "out", "model")
    assert row["architecture"] == "Qwen3ForCausalLM"
    weights = load_file(tmp_path / "out" / "huggingface" / "model.safetensors")
    assert "model.layers.0.self_attn.q_norm.weight" in weights


def test_linear_attention_ends_without_a_model(
    pretrain: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said before training, and then true: checkpoints and steps, and no row that the next stage could take for a model."""
    assert pretrain(tmp_path / "out", **LINEAR) == 0
    said = capsys.readouterr().out
    assert "there will be checkpoints and no model: transformers has no architecture" in said
    assert "1 (deltanet)" in said
    assert rows(tmp_path / "out", "model") == []
    assert [r["step"] for r in rows(tmp_path / "out", "checkpoints")] == [8, 12]
    run = json.loads((tmp_path / "out" / LAST / "complete.json").read_text())["run"]
    assert (run["layers"], run["num_layers"], run["width"], run["tie_embeddings"]) == (
        "deltanet,attention",
        2,
        32,
        True,
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"optimizer": "muon", "zero_stage": 1}, "set zero_stage=0 and tensor_parallel=1, found 1 and 1"),
        ({"layers": "attention,mamba"}, "there is no layer 'mamba'"),
        ({"batch_doublings": [2, 4, 6, 8]}, "8 sequences a rank do not split into 16 equal updates"),
        ({"batch_doublings": [4, 2]}, "must be steps that grow"),
        ({"schedule": "wsd", "decay_fraction": 0.9}, "set a lower decay_fraction"),
    ],
)
def test_impossible_combinations_are_refused(
    settings: dict[str, Any], words: str, pretrain: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be trained is a settings error before training, with the cure."""
    assert pretrain(tmp_path / "out", **settings) == 2
    assert words in capsys.readouterr().err
