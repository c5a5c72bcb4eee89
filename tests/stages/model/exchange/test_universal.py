"""Universal checkpoints: DeepSpeed's own converter makes one of a run of ours, and of Megatron's names one is laid out by hand."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from schemas.table import ContractError
from stages.base import PACKAGE_ROOT
from stages.model.exchange import gate, hugging_face, megatron
from stages.model.exchange.convert import Conversion, convert
from tests.stages.model.exchange.models import llama, probe_of

DEEPSPEED = """
import os, sys, torch, deepspeed, torch.distributed as dist
from torch._C._distributed_c10d import HashStore
from deepspeed.checkpoint.ds_to_universal import main as to_universal
from stages.model.exchange import hugging_face
from pathlib import Path
source, folder = map(Path, sys.argv[1:])
dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # else it is compiled, under a lock, for minutes
deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False, verbose=False)
network = hugging_face.read(source).network()
config = {"train_batch_size": 2, "zero_optimization": {"stage": 1}}
config |= {"optimizer": {"type": "AdamW", "params": {"lr": 0.0, "torch_adam": True}}}
engine, *_ = deepspeed.initialize(model=network, model_parameters=list(network.parameters()), config=config)
tokens = torch.randint(0, 203, (2, 16))
engine.backward(engine(tokens, tokens))
engine.step()
engine.save_checkpoint(folder, tag="step")
from argparse import Namespace
to_universal(Namespace(input_folder=str(folder / "step"), output_folder=str(folder / "universal"), num_extract_workers=1,
    num_merge_workers=1, keep_temp_folder=False, strict=True, inject_missing_state=True))
"""


def lay_out(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """A universal checkpoint of these weights."""
    for name, weight in weights.items():
        (folder / "zero" / name).mkdir(parents=True)
        torch.save({"param": weight, "cat_dim": 0}, folder / "zero" / name / "fp32.pt")


@pytest.mark.parametrize("pipeline", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_megatrons_names(pipeline: bool, tied: bool, tmp_path: Path) -> None:
    """Of the GPT model's names and of the numbered ones of a pipeline the same weights come out, and pass the gate."""
    probe = probe_of(llama(tmp_path / "hf", tied=tied))
    shard = megatron.split(hugging_face.read(tmp_path / "hf"), 1)[0]
    top = {megatron.EMBEDDING: "language_model.embedding.word_embeddings.weight"}
    top |= {
        megatron.NORM: "language_model.encoder.final_layernorm.weight",
        megatron.HEAD: "language_model.output_layer.weight",
    }
    if pipeline:
        embedding = "tied_modules.embed.word_embeddings.weight" if tied else "1.word_embeddings.weight"
        top = {megatron.EMBEDDING: embedding, megatron.NORM: "6.weight", megatron.HEAD: "7.lm_head.weight"}
    named = {}
    for name, weight in shard.items():
        numbered = name.replace("layers.0.", "3.").replace("layers.1.", "4.")
        named[top.get(name, numbered if pipeline else f"language_model.encoder.{name}")] = weight
    lay_out(tmp_path / "universal", named)
    probe.save(tmp_path / "universal")
    convert(
        tmp_path / "universal", tmp_path / "out", Conversion("hugging-face", config=tmp_path / "hf" / "config.json")
    )
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("hf", "out"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_file_that_is_no_weight_is_refused(tmp_path: Path) -> None:
    """A parameter's file without a tensor is named; without sizes nothing is guessed."""
    llama(tmp_path / "hf")
    lay_out(tmp_path / "universal", {"blocks.0.attention.query.weight": torch.zeros(32, 32)})
    with pytest.raises(ContractError, match="nothing says the sizes"):
        convert(tmp_path / "universal", tmp_path / "out", Conversion("hugging-face"))
    torch.save({"cat_dim": 0}, tmp_path / "universal" / "zero" / "blocks.0.attention.query.weight" / "fp32.pt")
    with pytest.raises(ContractError, match="expected a tensor or a dict with `param`, found dict"):
        convert(
            tmp_path / "universal", tmp_path / "out", Conversion("hugging-face", config=tmp_path / "hf" / "config.json")
        )


@pytest.mark.slow
def test_deepspeeds_own_converter(tmp_path: Path) -> None:
    """What DeepSpeed's engine saves and its `ds_to_universal` converts is read to the engine's fp32 weights, bit by bit."""
    probe = probe_of(llama(tmp_path / "hf"))
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(PACKAGE_ROOT),
        "DS_ACCELERATOR": "cpu",
        "HOME": str(tmp_path),
    }
    environment |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", DEEPSPEED, str(tmp_path / "hf"), str(tmp_path / "run")]
    done = subprocess.run(
        command, env=environment, cwd=PACKAGE_ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    probe.save(tmp_path / "run" / "universal")
    shutil.copyfile(tmp_path / "hf" / "config.json", tmp_path / "config.json")
    done_ = convert(
        tmp_path / "run" / "universal", tmp_path / "out", Conversion("hugging-face", config=tmp_path / "config.json")
    )
    assert done_.source == "universal"
    assert done_.difference is not None
    assert done_.difference <= gate.MAX_DIFFERENCE
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("hf", "out"))
    assert all(torch.equal(before[name], after[name]) for name in before)
