import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from schemas.table import ContractError
from stages.base import SettingsError
from stages.model.export import MAX_LOGIT_DIFFERENCE, compare, export, hugging_face_name
from stages.model.network import Network, Sizes
from tests.stages.model.token_files import EOD, train_bpe

TEXT = "The density of quartz is 2.65 g/cm³; µ and π are Greek.\n\n  Two  spaces, don't they'll. "


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small byte-level tokenizer."""
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_bpe([TEXT] * 20, 300, file)
    return file


def network(tokenizer: Path, **given: Any) -> Network:
    """Two layers with grouped queries, away from their first weights."""
    torch.manual_seed(2)
    tied = bool(given.pop("tied", True))
    vocab_size = Tokenizer.from_file(str(tokenizer)).get_vocab_size()
    sizes = Sizes.of_depth(2, vocab_size, 24, tie_embeddings=tied, **{"width": 32, "num_heads": 4, **given})
    network = Network(sizes)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(torch.randn_like(p) * 0.2)
    return network.eval()


def probe(network: Network) -> torch.Tensor:
    """Two windows of random tokens."""
    return torch.randint(0, network.sizes.vocab_size, (2, 24), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("tied", "qk_norm"), [(True, False), (False, False), (True, True)])
def test_transformers_loads_the_same_model(tied: bool, qk_norm: bool, tokenizer: Path, tmp_path: Path) -> None:
    """AutoModelForCausalLM gives our logits and greedy words, AutoTokenizer the ids of tokenizer.json."""
    ours = network(tokenizer, tied=tied, qk_norm=qk_norm)
    difference = export(ours, tmp_path / "hf", tokenizer, EOD, probe(ours))
    assert difference <= MAX_LOGIT_DIFFERENCE
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "hf").eval()
    assert type(theirs).__name__ == ("Qwen3ForCausalLM" if qk_norm else "LlamaForCausalLM")
    assert theirs.dtype == torch.float32
    with torch.no_grad():
        found = (theirs(probe(ours)).logits - ours.logits(probe(ours))).abs().max()
    assert float(found) <= MAX_LOGIT_DIFFERENCE
    loaded = AutoTokenizer.from_pretrained(tmp_path / "hf")
    plain = Tokenizer.from_file(str(tokenizer))
    assert loaded(TEXT)["input_ids"] == plain.encode(TEXT).ids
    assert loaded.decode(plain.encode(TEXT).ids) == TEXT
    eod_id = plain.token_to_id(EOD)
    assert (loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id) == (eod_id, eod_id, eod_id)
    assert loaded.model_max_length == 24


def test_the_exported_model_generates(tokenizer: Path, tmp_path: Path) -> None:
    """Greedy generation with the key-value cache of `transformers` is the argmax of our logits, step by step."""
    ours = network(tokenizer)
    export(ours, tmp_path / "hf", tokenizer, EOD, probe(ours))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "hf").eval()
    prompt = probe(ours)[:1, :5]
    out = theirs.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=8, do_sample=False)[0]
    with torch.no_grad():
        for position in range(5, len(out)):
            assert int(ours.logits(out[None, :position])[0, -1].argmax()) == int(out[position])


def test_the_files_are_those_of_a_hugging_face_folder(tokenizer: Path, tmp_path: Path) -> None:
    """The folder holds config, weights, generation settings and tokenizer, no temporary file, and no tied copy."""
    ours = network(tokenizer)
    export(ours, tmp_path / "hf", tokenizer, EOD, probe(ours))
    names = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {f.name for f in (tmp_path / "hf").iterdir()} == names
    assert {f.name for f in tmp_path.iterdir()} == {"hf"}
    assert (tmp_path / "hf" / "tokenizer.json").read_bytes() == tokenizer.read_bytes()
    weights = load_file(tmp_path / "hf" / "model.safetensors")
    assert weights.keys() == {hugging_face_name(n) for n, _ in ours.named_parameters()}
    assert "lm_head.weight" not in weights


def swap_rope(weights: dict[str, torch.Tensor], config: dict[str, object]) -> None:
    """The other rotary convention: pairs side by side instead of half a head apart."""
    for name in list(weights):
        if "q_proj" in name or "k_proj" in name:
            rows = weights[name].view(-1, 2, 4, weights[name].shape[-1])
            weights[name] = rows.transpose(1, 2).reshape(weights[name].shape).contiguous()


def change_epsilon(weights: dict[str, torch.Tensor], config: dict[str, object]) -> None:
    """Another epsilon in the norms."""
    config["rms_norm_eps"] = 1e-2


def change_theta(weights: dict[str, torch.Tensor], config: dict[str, object]) -> None:
    """Another base of the rotary frequencies."""
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": 500_000.0}


def transpose_gate(weights: dict[str, torch.Tensor], config: dict[str, object]) -> None:
    """Gate and up exchanged."""
    a, b = "model.layers.0.mlp.gate_proj.weight", "model.layers.0.mlp.up_proj.weight"
    weights[a], weights[b] = weights[b], weights[a]


@pytest.mark.parametrize("fault", [swap_rope, change_epsilon, change_theta, transpose_gate])
def test_a_wrong_convention_is_refused(fault: object, tokenizer: Path, tmp_path: Path) -> None:
    """An export with any convention changed does not pass the comparison of logits."""
    ours = network(tokenizer)
    export(ours, tmp_path / "hf", tokenizer, EOD, probe(ours))
    weights = load_file(tmp_path / "hf" / "model.safetensors")
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert callable(fault)
    fault(weights, config)
    save_file(weights, tmp_path / "hf" / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "hf" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ContractError, match="logits differ by"):
        compare(ours, tmp_path / "hf", probe(ours))


def test_a_failed_export_leaves_no_folder(tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the comparison fails, the folder never gets its name, and an older export is left as it was."""
    ours = network(tokenizer)
    monkeypatch.setattr("stages.model.export.MAX_LOGIT_DIFFERENCE", -1.0)
    with pytest.raises(ContractError, match="logits differ"):
        export(ours, tmp_path / "hf", tokenizer, EOD, probe(ours))
    assert not (tmp_path / "hf").exists()


def test_other_token_ids_are_refused(tokenizer: Path, tmp_path: Path) -> None:
    """A folder whose settings make `transformers` split text otherwise than tokenizer.json is found."""
    ours = network(tokenizer)
    text = torch.tensor([Tokenizer.from_file(str(tokenizer)).encode(TEXT * 2).ids[:24]])
    export(ours, tmp_path / "hf", tokenizer, EOD, text)
    file = tmp_path / "hf" / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "additional_special_tokens": ["sity"]}))
    with pytest.raises(ContractError, match="AutoTokenizer gives other ids"):
        compare(ours, tmp_path / "hf", text)


def test_an_unknown_end_token_is_refused(tokenizer: Path, tmp_path: Path) -> None:
    """A tokenizer without the end token cannot be exported."""
    ours = network(tokenizer)
    with pytest.raises(ContractError, match="there is no token '<eos>'"):
        export(ours, tmp_path / "hf", tokenizer, "<eos>", probe(ours))


def test_a_layer_that_transformers_lacks_is_refused(tokenizer: Path, tmp_path: Path) -> None:
    """Linear attention has no place there: the error says which layers, and nothing is written."""
    ours = network(tokenizer, layers="attention,deltanet")
    with pytest.raises(SettingsError, match=r"among ours: 2 \(deltanet\); train with pretrain.layers=attention"):
        export(ours, tmp_path / "hf", tokenizer, EOD, probe(ours))
    assert list(tmp_path.iterdir()) == []
