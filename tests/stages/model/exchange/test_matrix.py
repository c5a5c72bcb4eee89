"""24 configurations there and back: `transformers` is the source and the judge, weights are bitwise the same."""

import itertools
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from stages.model.exchange import gate, hugging_face, megatron
from stages.model.exchange.convert import Conversion, convert
from stages.model.exchange.gate import MAX_DIFFERENCE
from tests.stages.model.exchange.models import llama, probe_of

MATRIX = list(itertools.product((False, True), (8, 4), (1, 2, 4), (10_000.0, 500_000.0)))


@pytest.mark.parametrize(("tied", "kv_heads", "ranks", "theta"), MATRIX)
def test_there_and_back(tied: bool, kv_heads: int, ranks: int, theta: float, tmp_path: Path) -> None:
    """Hugging Face to Megatron-DeepSpeed and back: weights bitwise, logits of `transformers` the same, within 1e-5 of ours."""
    assert len(MATRIX) == 24
    model = llama(tmp_path / "hf", tied=tied, kv_heads=kv_heads, theta=theta)
    probe = probe_of(model)
    ours = gate.logits(hugging_face.read(tmp_path / "hf"), probe.tokens_BT)
    assert float((ours - probe.logits_BTV).abs().max()) <= 1e-5

    done = convert(tmp_path / "hf", tmp_path / "mds", Conversion("megatron-deepspeed", ranks))
    assert done.difference is not None
    assert done.difference <= MAX_DIFFERENCE
    assert len(list((tmp_path / "mds").glob("mp_rank_*_model_states.pt"))) == ranks

    convert(tmp_path / "mds", tmp_path / "back", Conversion("hugging-face"))
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("hf", "back"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before)
    again = LlamaForCausalLM.from_pretrained(tmp_path / "back").eval()
    with torch.no_grad():
        assert torch.equal(again(probe.tokens_BT).logits, probe.logits_BTV)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_number_formats_are_carried(dtype: torch.dtype, tmp_path: Path) -> None:
    """Weights in 16 bits stay in them, bit by bit."""
    model = llama(tmp_path / "fp32").to(dtype)
    model.save_pretrained(tmp_path / "hf")
    convert(tmp_path / "hf", tmp_path / "mds", Conversion("megatron-deepspeed", 2))
    convert(tmp_path / "mds", tmp_path / "back", Conversion("hugging-face"))
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("hf", "back"))
    assert {w.dtype for w in after.values()} == {dtype}
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_shards_of_weights_are_read(tmp_path: Path) -> None:
    """A folder of several safetensors files with an index is read as one."""
    model = llama(tmp_path / "one")
    model.save_pretrained(tmp_path / "many", max_shard_size="20KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 2
    one, many = hugging_face.read(tmp_path / "one"), hugging_face.read(tmp_path / "many")
    assert one.sizes == many.sizes
    assert all(torch.equal(one.weights[name], many.weights[name]) for name in one.weights)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_the_layout_is_megatrons(ranks: int, tmp_path: Path) -> None:
    """Each rank holds what Megatron's own rule gives it: by head groups, gate over up, columns, and a padded vocabulary."""
    llama(tmp_path / "hf", kv_heads=4)
    stored = load_file(tmp_path / "hf" / "model.safetensors")
    shards = megatron.split(hugging_face.read(tmp_path / "hf"), ranks)
    query, key, value = (stored[f"model.layers.1.self_attn.{n}_proj.weight"] for n in "qkv")
    gate_rows, up_rows = (stored[f"model.layers.1.mlp.{n}_proj.weight"] for n in ("gate", "up"))
    for rank, shard in enumerate(shards):
        groups = []
        for head in range(rank * 4 // ranks, (rank + 1) * 4 // ranks):  # head size 4, two queries a key-value head
            groups += [query[8 * head : 8 * head + 8], key[4 * head : 4 * head + 4], value[4 * head : 4 * head + 4]]
        assert torch.equal(shard["layers.1.self_attention.query_key_value.weight"], torch.cat(groups))
        rows = slice(rank * 56 // ranks, (rank + 1) * 56 // ranks)
        both = torch.cat([gate_rows[rows], up_rows[rows]])
        assert torch.equal(shard["layers.1.mlp.dense_h_to_4h.weight"], both)
        assert torch.equal(
            shard["layers.1.mlp.dense_4h_to_h.weight"], stored["model.layers.1.mlp.down_proj.weight"][:, rows]
        )
        columns = slice(rank * 32 // ranks, (rank + 1) * 32 // ranks)
        assert torch.equal(
            shard["layers.1.self_attention.dense.weight"], stored["model.layers.1.self_attn.o_proj.weight"][:, columns]
        )
        assert torch.equal(shard["layers.1.input_layernorm.weight"], stored["model.layers.1.input_layernorm.weight"])
    words = torch.cat([shard["embedding.weight"] for shard in shards])
    assert len(words) % (128 * ranks) == 0
    assert torch.equal(words[:203], stored["model.embed_tokens.weight"])
    assert not words[203:].any()


def test_the_names_are_megatrons(tmp_path: Path) -> None:
    """A written file has the names under which Argonne's own converter looks for the weights (mds_to_hf.py)."""
    llama(tmp_path / "hf")
    convert(tmp_path / "hf", tmp_path / "mds", Conversion("megatron-deepspeed"))
    model = torch.load(tmp_path / "mds" / "mp_rank_00_model_states.pt", weights_only=True)["module"]["language_model"]
    assert model["embedding"]["word_embeddings"]["weight"].shape == (256, 32)
    assert model["output_layer"]["weight"].shape == (256, 32)
    assert "final_layernorm.weight" in model["encoder"]
    blocks = {f"layers.{i}" for i in (0, 1)}
    parts = ("self_attention.query_key_value", "self_attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h")
    norms = ("input_layernorm", "post_attention_layernorm")
    expected = {f"{block}.{part}.weight" for block in blocks for part in (*parts, *norms)} | {"final_layernorm.weight"}
    assert set(model["encoder"]) == expected
