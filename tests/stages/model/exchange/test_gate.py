"""What the gate refuses, and what it says: conventions, shards, files that hold more than data."""

import argparse
import collections
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from schemas.table import ContractError
from stages.base import SettingsError
from stages.model.exchange import hugging_face, megatron
from stages.model.exchange.__main__ import main
from stages.model.exchange.carried import interleave, rotate_half
from stages.model.exchange.convert import Conversion, convert
from stages.model.exchange.gate import probe_tokens, read_probe
from tests.stages.model.exchange.models import llama, probe_of

HF, MDS = Conversion("hugging-face"), Conversion("megatron-deepspeed", 2)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A Hugging Face folder."""
    llama(tmp_path / "hf")
    return tmp_path / "hf"


@pytest.fixture
def shards(source: Path, tmp_path: Path) -> Path:
    """The same on two tensor-parallel ranks, with its probe."""
    convert(source, tmp_path / "mds", MDS)
    return tmp_path / "mds"


def edit(shards: Path, change: Callable[[dict[str, torch.Tensor]], None], *ranks: int) -> None:
    """Change the encoder's tensors in the files of some ranks."""
    for rank in ranks:
        file = shards / f"mp_rank_{rank:02d}_model_states.pt"
        state = torch.load(file, weights_only=True)
        change(state["module"]["language_model"]["encoder"])
        torch.save(state, file)


def said(folder: Path, **sizes: float | bool) -> None:
    """Change what conventions.json says of the sizes."""
    file = folder / "conventions.json"
    found = json.loads(file.read_text())
    file.write_text(json.dumps({**found, "sizes": {**found["sizes"], **sizes}}))


def refused(source: Path, tmp_path: Path, conversion: Conversion = HF) -> str:
    """The message with which a conversion is refused; no target and no temporary folder is left."""
    with pytest.raises(ContractError) as caught:
        convert(source, tmp_path / "out", conversion)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / ".out.tmp").exists()
    return str(caught.value)


def test_the_conventions_are_inverse() -> None:
    """Interleaved and rotate-half are permutations of each other, inside heads."""
    rows = torch.arange(16.0)[:, None].expand(16, 3)
    assert torch.equal(rotate_half(interleave(rows, 8), 8), rows)
    assert interleave(rows, 8)[:8, 0].tolist() == [0, 4, 1, 5, 2, 6, 3, 7]


def test_a_wrong_rotary_convention_is_refused_and_named(shards: Path, tmp_path: Path) -> None:
    """Weights of the interleaved convention taken for rotate-half are refused; the message's cure converts them."""

    def turn(encoder: dict[str, torch.Tensor]) -> None:
        for name in [n for n in encoder if n.endswith("query_key_value.weight")]:
            groups = encoder[name].view(-1, 4, 4, 32)  # head groups of a rank: two queries, key, value; head size 4
            turned = interleave(groups[:, :3].reshape(-1, 32), 4).view(-1, 3, 4, 32)
            encoder[name] = torch.cat([turned, groups[:, 3:]], dim=1).reshape(-1, 32)

    edit(shards, turn, 0, 1)
    words = refused(shards, tmp_path)
    assert "logits on the probe tokens differ by" in words
    assert "they agree with --rope interleaved" in words
    convert(shards, tmp_path / "out", Conversion("hugging-face", rope="interleaved"))
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("hf", "out"))
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("sizes", "cure"),
    [
        ({"norm_eps": 1e-2}, "norm epsilon 1e-05"),
        ({"rope_theta": 500_000.0}, "rope theta 10000"),
        ({"num_kv_heads": 8}, "shape"),
        ({"vocab_size": 200}, "another model's probe, or a wrong vocabulary size"),
    ],
)
def test_wrong_sizes_are_refused(sizes: dict[str, float], cure: str, shards: Path, tmp_path: Path) -> None:
    """An epsilon, theta, number of heads or vocabulary that is not the source's does not pass."""
    said(shards, **sizes)
    assert cure in refused(shards, tmp_path)


def test_a_wrong_tie_is_refused(shards: Path, tmp_path: Path) -> None:
    """A head that is taken for the embedding gives other logits, and is refused."""
    said(shards, tie_embeddings=True)
    assert "logits on the probe tokens differ by" in refused(shards, tmp_path)


def test_shards_in_a_wrong_order_are_refused(shards: Path, tmp_path: Path) -> None:
    """Two ranks' files exchanged have all shapes right, and are refused for their logits."""
    first, second = (shards / f"mp_rank_0{rank}_model_states.pt" for rank in (0, 1))
    first.rename(shards / "spare")
    second.rename(first)
    (shards / "spare").rename(second)
    assert "no other convention agrees: shards in a wrong order" in refused(shards, tmp_path)


def test_gate_and_up_exchanged_are_refused(shards: Path, tmp_path: Path) -> None:
    """The halves of the fused matrix in the other order are named."""

    def exchange(encoder: dict[str, torch.Tensor]) -> None:
        for name in [n for n in encoder if n.endswith("dense_h_to_4h.weight")]:
            encoder[name] = torch.cat(encoder[name].chunk(2)[::-1])

    edit(shards, exchange, 0, 1)
    assert "they agree with gate and up exchanged" in refused(shards, tmp_path)


def test_ranks_that_do_not_agree_are_refused(shards: Path, tmp_path: Path) -> None:
    """A norm that differs between ranks shows files of two runs in one folder."""
    edit(shards, lambda encoder: encoder["final_layernorm.weight"].add_(1), 1)
    assert "norm.weight: ranks hold different values" in refused(shards, tmp_path)


def test_a_missing_rank_is_refused(shards: Path, tmp_path: Path) -> None:
    """A gap in the ranks is named; fewer ranks than the probe's model has are refused by shape."""
    (shards / "mp_rank_00_model_states.pt").unlink()
    assert "expected ranks from 0 on without a gap, found [1]" in refused(shards, tmp_path)


def test_without_a_probe_nothing_is_converted_in_silence(shards: Path, tmp_path: Path) -> None:
    """Weights without logits are refused, or converted by request, and the target then says that nothing was checked."""
    (shards / "probe.safetensors").unlink()
    assert "nothing shows which rotary convention" in refused(shards, tmp_path)
    done = convert(shards, tmp_path / "out", Conversion("hugging-face", unverified=True))
    assert done.difference is None
    assert json.loads((tmp_path / "out" / "conventions.json").read_text())["verified"] is False


def test_sizes_from_the_stored_arguments(shards: Path, tmp_path: Path) -> None:
    """Without our conventions.json the sizes are those of Megatron's arguments, a Namespace in the file."""
    (shards / "conventions.json").unlink()
    assert "no args: give the model's config.json by --config" in refused(shards, tmp_path)
    given = {"num_layers": 2, "hidden_size": 32, "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 203}
    given |= {"ffn_hidden_size": 56, "max_position_embeddings": 64, "layernorm_epsilon": 1e-5, "rope_theta": 10_000}
    given |= {"padded_vocab_size": 256, "untie_embeddings_and_output_weights": True, "swiglu": True}
    for file in shards.glob("*.pt"):
        state = torch.load(file, weights_only=True)
        torch.save({**state, "args": argparse.Namespace(**given, tensor_model_parallel_size=2)}, file)
    convert(shards, tmp_path / "out", HF)
    assert hugging_face.read(tmp_path / "out").sizes == hugging_face.read(tmp_path / "hf").sizes


def test_objects_of_code_are_not_loaded(shards: Path, tmp_path: Path) -> None:
    """A file with an object that is no data is refused, and nothing of it runs, even where a library lets it in."""
    file = shards / "mp_rank_01_model_states.pt"
    torch.save({"module": {}, "optimizer": collections.Counter, "marker": Path("x")}, file)
    with torch.serialization.safe_globals([type(Path("x"))]):
        words = refused(shards, tmp_path)
        assert type(Path("x")) in torch.serialization.get_safe_globals()
    assert "not only tensors and numbers" in words
    assert "objects of code are never loaded" in words


def test_a_pipelines_files_are_read(shards: Path, source: Path, tmp_path: Path) -> None:
    """The layer files of a pipeline, numbered with gaps, are the same model."""
    pipeline = tmp_path / "pipeline"
    pipeline.mkdir()
    for rank in (0, 1):
        model = torch.load(shards / f"mp_rank_0{rank}_model_states.pt", weights_only=True)["module"]["language_model"]
        files = {1: {"word_embeddings.weight": model["embedding"]["word_embeddings"]["weight"]}}
        for layer in (0, 1):
            prefix = f"layers.{layer}."
            block = {k.removeprefix(prefix): w for k, w in model["encoder"].items() if k.startswith(prefix)}
            files[3 + layer] = block
        files |= {
            6: {"weight": model["encoder"]["final_layernorm.weight"]},
            7: {"lm_head.weight": model["output_layer"]["weight"]},
        }
        for number, state in files.items():
            torch.save(state, pipeline / f"layer_{number:02d}-model_{rank:02d}-model_states.pt")
    shutil.copyfile(shards / "probe.safetensors", pipeline / "probe.safetensors")
    convert(pipeline, tmp_path / "out", Conversion("hugging-face", config=source / "config.json"))
    before, after = (load_file(folder / "model.safetensors") for folder in (source, tmp_path / "out"))
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "gelu", "attention_bias": True}, "hidden_act is 'gelu'"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "rotary embeddings are scaled (llama3)"),
        ({"head_dim": 8}, "head_dim is 8"),
        ({"model_type": "qwen2"}, "model_type is 'qwen2'"),
    ],
)
def test_what_our_network_does_not_compute(
    change: dict[str, object], message: str, source: Path, tmp_path: Path
) -> None:
    """A configuration that our network does not have is refused with all its reasons."""
    file = source / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    words = refused(source, tmp_path, MDS)
    assert message in words
    assert ("attention_bias is True" in words) == ("attention_bias" in change)


def test_a_tied_head_that_is_another_matrix_is_refused(tmp_path: Path) -> None:
    """A folder that says tied and stores another head is refused; one that stores the same twice is read."""
    llama(tmp_path / "hf", tied=True)
    file = tmp_path / "hf" / "model.safetensors"
    stored = load_file(file)
    save_file(
        {**stored, "lm_head.weight": stored["model.embed_tokens.weight"].clone()}, file, metadata={"format": "pt"}
    )
    assert "head.weight" not in hugging_face.read(tmp_path / "hf").weights
    save_file({**stored, "lm_head.weight": stored["model.embed_tokens.weight"] + 1}, file, metadata={"format": "pt"})
    assert "lm_head.weight is another matrix" in refused(tmp_path / "hf", tmp_path, MDS)


def test_missing_and_foreign_tensors_are_all_named(source: Path, tmp_path: Path) -> None:
    """A tensor that is missing, one without a place and one of another shape are in one message."""
    file = source / "model.safetensors"
    stored = load_file(file)
    stored["model.layers.0.self_attn.q_norm.weight"] = stored.pop("model.norm.weight")
    stored["lm_head.weight"] = stored["lm_head.weight"][:100].contiguous()
    save_file(stored, file, metadata={"format": "pt"})
    words = refused(source, tmp_path, MDS)
    assert "missing: norm.weight [32]" in words
    assert "no place for model.layers.0.self_attn.q_norm.weight" in words
    assert "head.weight: shape [100, 32], expected [203, 32]" in words


def test_what_cannot_be_converted(source: Path, tmp_path: Path) -> None:
    """Heads that do not split, a target that exists, a folder of nothing, a probe that is not there."""
    assert "num_kv_heads 4 does not split over 3 ranks" in refused(
        source, tmp_path, Conversion("megatron-deepspeed", 3)
    )
    (tmp_path / "empty").mkdir()
    assert "no layout that is known" in refused(tmp_path / "empty", tmp_path)
    with pytest.raises(SettingsError, match="exists"):
        convert(source, tmp_path / "empty", MDS)
    with pytest.raises(SettingsError, match="--probe .* there is no such file"):
        convert(source, tmp_path / "out", Conversion("megatron-deepspeed", probe=tmp_path / "none"))
    save_file({"tokens": probe_tokens(203, 24)}, tmp_path / "half.safetensors")
    with pytest.raises(ContractError, match="missing: logits"):
        read_probe(tmp_path / "half.safetensors")
    (tmp_path / "empty" / "zero_pp_rank_0_mp_rank_00_model_states.pt").touch()
    with pytest.raises(ContractError, match="ZeRO 3 keeps no whole weights"):
        megatron.read(tmp_path / "empty", None)


def test_a_probe_of_another_model_is_refused(source: Path, tmp_path: Path) -> None:
    """Weights whose logits are not those of the probe in their folder are refused, in whatever layout."""
    probe_of(llama(tmp_path / "other", seed=1)).save(source)
    assert "no other convention agrees" in refused(source, tmp_path, MDS)


def test_the_command(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command converts and says how close; it exits with 2 for what cannot be asked and 3 where it refuses."""
    assert main([str(source), str(tmp_path / "mds"), "--to", "megatron-deepspeed", "--ranks", "4"]) == 0
    assert "weights are bitwise the same" in capsys.readouterr().out
    assert main([str(tmp_path / "mds"), str(tmp_path / "mds")]) == 2
    (tmp_path / "mds" / "probe.safetensors").unlink()
    assert main([str(tmp_path / "mds"), str(tmp_path / "out")]) == 3
    assert "--unverified" in capsys.readouterr().err
    assert main([str(tmp_path / "mds"), str(tmp_path / "out"), "--unverified"]) == 0
    assert "unverified" in capsys.readouterr().out
