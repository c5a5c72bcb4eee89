"""How many tokens a second does a training step take in, on this machine's CPU? Beside four peers, in fp32 and bf16.

The network is small (`SHAPE`), its sequences and batch are those of a first run on a laptop. Peers: litgpt's model and
the model and step of Hugging Face's Trainer, with our weights, whose loss and gradient must be ours; DeepSpeed's ZeRO-1
around Hugging Face's model; nanochat's model, of the same depth, width, heads and 3 % fewer weights in its maps, which
is another architecture (so its loss is not compared, and it has more embeddings). All take AdamW's fused step with the
gradient clipped to norm 1. In bf16, weights and optimizer are fp32 and products bf16, as each of them does it.

litgpt and nanochat are not among this project's packages. To have them, in an environment of their own that sees this one
(a `.pth` file with the path of its site-packages): `pip install --no-deps litgpt==0.5.13 lightning lightning-utilities
torchmetrics jsonargparse pytorch-lightning`, and a checkout of karpathy/nanochat on PYTHONPATH. Who is missing is said.
"""

import importlib.util
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any, Literal

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # libgomp reads it once, when torch is loaded

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.table import Comparison, Options, interleaved, main
from stages.model.distributed import joined
from stages.model.engine import Batch, Optimization, make_engine
from stages.model.export import hugging_face_config, hugging_face_name
from stages.model.network import Network
from stages.model.parallelize import Parallelism, lay_out
from stages.model.sizes import Sizes

Precision = Literal["fp32", "bf16"]
SHAPE = {"num_layers": 4, "width": 256, "num_heads": 4, "num_kv_heads": 4, "hidden_width": 704, "tie_embeddings": False}
VOCABULARY, CONTEXT, BATCH = 4096, 256, 8
RATE, CLIP = 1e-3, 1.0
STEPS = 4  # of each in turn
MAX_DIFFERENCE = {"fp32": 1e-5, "bf16": 2e-2}  # relative, of loss and gradient norm


@dataclass(frozen=True)
class Trainer:
    """Who trains: a step gives loss and gradient norm (nan where it has none)."""

    name: str
    step: Callable[[], tuple[float, float]]
    num_parameters: int
    same: bool  # whether loss and norm must be ours


def sizes() -> Sizes:
    """The shape that all have."""
    return Sizes(VOCABULARY, CONTEXT, **SHAPE)


def tokens() -> Batch:
    """One batch, the same for all."""
    windows = torch.randint(1, VOCABULARY, (BATCH, CONTEXT + 1), generator=torch.Generator().manual_seed(0))
    return Batch(windows[:, :-1].contiguous(), windows[:, 1:].contiguous())


def network() -> Network:
    """First weights, the same each time."""
    torch.manual_seed(0)
    return Network(sizes())


def ours(precision: Precision, world: Any) -> Trainer:
    """The engine of `stages.pretrain`."""
    wanted = Optimization(BATCH, BATCH, 0.1, CLIP, precision)
    engine, batch = make_engine(network(), wanted, lay_out(world, Parallelism(), sizes())), tokens()

    def step() -> tuple[float, float]:
        taken = engine.step(batch, RATE, 1)
        return taken.loss, taken.gradient_norm

    return Trainer("ours", step, engine.network.num_parameters(), same=True)


def plain(name: str, model: nn.Module, loss_of: Callable[[], Tensor], *, same: bool) -> Trainer:
    """A model in the plainest loop."""
    optimizer = torch.optim.AdamW(model.parameters(), RATE, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def step() -> tuple[float, float]:
        loss = loss_of()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach()), float(norm)

    return Trainer(name, step, sum(p.numel() for p in model.parameters()), same)


def autocast(precision: Precision) -> torch.autocast:
    """Products in bf16, or as they are."""
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


def hugging_face() -> nn.Module:
    """`LlamaForCausalLM` with our weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    given = {k: v for k, v in hugging_face_config(sizes(), 0).items() if k not in ("architectures", "dtype")}
    model = LlamaForCausalLM(LlamaConfig(**{**given, "use_cache": False, "pad_token_id": None}))
    model.load_state_dict({hugging_face_name(n): p.detach() for n, p in network().named_parameters()})
    return model.train()


def trainer(precision: Precision, folder: str) -> Trainer:
    """The step of Hugging Face's Trainer: its forward and backward through accelerate, its clipping, its optimizer."""
    from transformers import Trainer as HuggingFaceTrainer
    from transformers import TrainingArguments

    arguments = TrainingArguments(
        folder,
        use_cpu=True,
        bf16=precision == "bf16",
        per_device_train_batch_size=BATCH,
        learning_rate=RATE,
        weight_decay=0.1,
        adam_beta2=0.95,
        max_grad_norm=CLIP,
        optim="adamw_torch_fused",
        report_to=[],
        disable_tqdm=True,
    )
    theirs = HuggingFaceTrainer(hugging_face(), arguments)
    theirs.current_gradient_accumulation_steps = 1  # as its loop sets it
    model, optimizer = theirs.accelerator.prepare(theirs.model, theirs.create_optimizer())
    batch = tokens()
    labels = torch.cat((batch.inputs_BT[:, :1], batch.targets_BT[:, :-1]), 1)  # the model shifts them itself
    shifted = {"input_ids": batch.inputs_BT, "labels": labels, "shift_labels": batch.targets_BT}

    def step() -> tuple[float, float]:
        loss = theirs.training_step(model, dict(shifted))
        norm = theirs.accelerator.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        return float(loss), float(norm)

    return Trainer("Hugging Face Trainer", step, sum(p.numel() for p in model.parameters()), same=True)


def zero_1(precision: Precision) -> Trainer:
    """DeepSpeed's ZeRO-1 around Hugging Face's model, with torch's autocast."""
    import deepspeed

    config = {
        "train_batch_size": BATCH,
        "optimizer": {
            "type": "AdamW",
            "params": {"lr": RATE, "betas": (0.9, 0.95), "weight_decay": 0.1, "torch_adam": True, "fused": True},
        },
        "gradient_clipping": CLIP,
        "zero_optimization": {"stage": 1},
        "torch_autocast": {"enabled": precision == "bf16", "dtype": "bfloat16", "lower_precision_safe_modules": []},
        "steps_per_print": 1 << 62,
    }
    model = hugging_face()
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # compiled at first use, for two minutes
    deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False, verbose=False)
    engine, *_ = deepspeed.initialize(
        model=model, model_parameters=list(model.parameters()), config=config, dist_init_required=False
    )
    batch = tokens()

    def step() -> tuple[float, float]:
        loss = engine(input_ids=batch.inputs_BT, labels=batch.inputs_BT, shift_labels=batch.targets_BT).loss
        engine.backward(loss)
        engine.step()
        return float(loss.detach()), float(engine.get_global_grad_norm())

    return Trainer("DeepSpeed ZeRO-1", step, sum(p.numel() for p in model.parameters()), same=True)


def litgpt(precision: Precision) -> Trainer:
    """The model of litgpt with our weights."""
    from litgpt import GPT, Config

    config = Config(
        name="same",
        block_size=CONTEXT,
        padded_vocab_size=VOCABULARY,
        n_layer=SHAPE["num_layers"],
        n_embd=SHAPE["width"],
        n_head=SHAPE["num_heads"],
        n_query_groups=SHAPE["num_kv_heads"],
        intermediate_size=SHAPE["hidden_width"],
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        norm_eps=sizes().norm_eps,
        mlp_class_name="LLaMAMLP",
        rope_base=10_000,
    )
    model, batch = GPT(config), tokens()
    mine = dict(network().named_parameters())
    with torch.no_grad():
        model.transformer.wte.weight.copy_(mine["embedding.weight"])
        model.lm_head.weight.copy_(mine["head.weight"])
        for index, block in enumerate(model.transformer.h):
            of = {name.removeprefix(f"blocks.{index}."): p for name, p in mine.items()}
            parts = [of[f"attention.{part}.weight"] for part in ("query", "key", "value")]
            block.attn.qkv.weight.copy_(torch.cat(parts))
            block.attn.proj.weight.copy_(of["attention.output.weight"])
            block.mlp.fc_1.weight.copy_(of["feed_forward.gate.weight"])
            block.mlp.fc_2.weight.copy_(of["feed_forward.up.weight"])
            block.mlp.proj.weight.copy_(of["feed_forward.down.weight"])

    def loss_of() -> Tensor:
        with autocast(precision):
            logits = model(batch.inputs_BT)
        return cross_entropy(logits.float().flatten(0, 1), batch.targets_BT.flatten())

    return plain("litgpt", model, loss_of, same=True)


def nanochat(precision: Precision) -> Trainer:
    """The model of nanochat, which casts by itself; its hidden width is 4 times the width, without a gate."""
    os.environ["NANOCHAT_DTYPE"] = {"fp32": "float32", "bf16": "bfloat16"}[precision]
    from nanochat import common, flash_attention, gpt

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    for module in (common, gpt, flash_attention):  # read once, when the package was first loaded
        vars(module)["COMPUTE_DTYPE"] = dtype
    heads = {"n_head": SHAPE["num_heads"], "n_kv_head": SHAPE["num_kv_heads"]}
    shape = {"n_layer": SHAPE["num_layers"], "n_embd": SHAPE["width"], **heads, "window_pattern": "L"}
    model, batch = gpt.GPT(gpt.GPTConfig(sequence_len=CONTEXT, vocab_size=VOCABULARY, **shape)), tokens()
    model.init_weights()
    return plain("nanochat's model", model, partial(model, batch.inputs_BT, batch.targets_BT), same=False)


def peers(precision: Precision, folder: str) -> Iterator[Trainer]:
    """Those that are there."""
    yield trainer(precision, folder)
    yield zero_1(precision)
    for name, made in (("litgpt", litgpt), ("nanochat", nanochat)):
        if importlib.util.find_spec(name) is None:
            print(f"{name} is missing and not compared with: see this file's first lines")
            continue
        yield made(precision)


def agree(mine: tuple[float, float], theirs: tuple[float, float], precision: Precision) -> bool:
    """Whether loss and gradient norm of a first step are the same but for rounding."""
    return all(abs(a - b) <= MAX_DIFFERENCE[precision] * abs(b) for a, b in zip(mine, theirs, strict=True))


def repeated(step: Callable[[], object], count: int) -> None:
    """Some steps in a row."""
    for _ in range(count):
        step()


def run(options: Options) -> Iterator[Comparison]:
    """Equal first steps, then each peer and ours in turn."""
    warnings.filterwarnings("ignore")  # the peers'
    count, repetitions = (1, 1) if options.quick else (STEPS, 7)
    with joined() as world, TemporaryDirectory() as folder:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        for precision in ("fp32", "bf16"):
            own = ours(precision, world)
            first = own.step()
            for peer in peers(precision, folder):
                equal = agree(first, peer.step(), precision) and own.num_parameters == peer.num_parameters
                seconds = interleaved(
                    partial(repeated, own.step, count), partial(repeated, peer.step, count), repetitions
                )
                mine, other = (count * BATCH * CONTEXT / s for s in seconds)
                name = f"{peer.name}, {peer.num_parameters:,} weights"
                what = f"training, {own.num_parameters:,} weights, CPU, {precision}"
                yield Comparison(what, name, mine, other, "tokens/s", mine / other, equal if peer.same else None)


if __name__ == "__main__":
    main("train_speed", run)
