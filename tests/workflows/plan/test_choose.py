"""Counts of weights, bytes and seconds against published figures and closed formulas; the ranking and the command."""

import argparse
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from stages.base import SettingsError
from stages.model.network import Network, Sizes
from workflows.__main__ import parser
from workflows.plan import memory, speed
from workflows.plan.choose import USABLE, judge, options
from workflows.plan.command import layouts, refusals
from workflows.plan.layout import Layout, Run, misfits
from workflows.plan.machine import ACCELERATORS, GIB, Machine
from workflows.plan.shape import PRESETS, Shape, of_settings, preset

H100_NODES = Machine(ACCELERATORS["h100"], 8, 4, 400.0)


@pytest.mark.parametrize(
    ("name", "weights"),
    [("llama3-1b", 1_235_814_400), ("llama3-8b", 8_030_261_248), ("llama3-70b", 70_553_706_496)],
)
def test_published_models_have_their_weights(name: str, weights: int) -> None:
    """The presets count as many weights as the released models have."""
    assert preset(name).num_weights == weights


@pytest.mark.parametrize("given", [{"depth": 2}, {"depth": 3, "width": 128, "num_heads": 4, "tie_embeddings": False}])
def test_a_stage_counts_as_its_network(given: dict[str, int | bool]) -> None:
    """The shape of a training stage's settings has the weights of the network that it trains."""
    settings = {"width": None, "num_heads": None, "num_kv_heads": None, "hidden_width": None, "tie_embeddings": True}
    settings |= given
    sizes = {name: settings[name] for name in ("width", "num_heads", "num_kv_heads", "hidden_width")}
    with torch.device("meta"):
        tied = bool(settings["tie_embeddings"])
        network = Network(Sizes.of_depth(int(given["depth"]), 300, 16, tie_embeddings=tied, **sizes))
    assert of_settings(settings, 300).num_weights == network.num_parameters()


@pytest.mark.parametrize(("stage", "gigabytes"), [(0, 120), (1, 31.4), (2, 16.6), (3, 1.9)])
def test_states_as_in_the_zero_paper(stage: int, gigabytes: float) -> None:
    """7.5 G weights over 64 devices take what figure 1 of the paper says (arXiv 1910.02054), to half a percent of the whole."""
    shape = Shape(1, 4096, 32, 32, 1, 1, tied=True)
    scale = 7.5e9 / shape.num_weights
    run = Run(shape, 2048, 64, state="bf16 with master")
    found = memory.predict(run, Layout(data=64, zero=stage), ACCELERATORS["a100-80"]).states * scale / 1e9
    assert found == pytest.approx(gigabytes, abs=0.6)


def test_full_recomputation_keeps_the_inputs_of_layers() -> None:
    """Two bytes a token, layer and feature are kept (Korthikanti et al. 2022, table 2), and one layer is at work."""
    run, layout = Run(PRESETS["llama3-8b"], 8192, 8), Layout(data=8, recompute="full")
    assert memory.kept_bytes(run, layout) == 2 * 4096
    kept, working = 2 * 4096 * 32, memory.kept_bytes(run, layout, everything=True)
    assert memory.predict(run, layout, ACCELERATORS["h100"]).activations == 8192 * (kept + working)


@pytest.mark.parametrize(("stages", "batch"), [(2, 8), (4, 8), (4, 32)])
def test_the_bubble_of_a_pipeline(stages: int, batch: int) -> None:
    """The devices wait (stages - 1) / micro-batches of the time that they work (Narayanan et al. 2021)."""
    run = Run(PRESETS["llama3-8b"], 2048, batch)
    step = speed.predict(run, Layout(data=1, pipeline=stages, zero=1), replace(H100_NODES, nodes=1))
    busy = step.products + step.attention + step.elementwise + step.tensor
    assert step.bubble / busy == pytest.approx((stages - 1) / batch)


def test_operations_of_a_step() -> None:
    """Products take six operations a weight and token, eight where layers are recomputed; attention half of a full square."""
    shape, tokens = PRESETS["llama3-8b"], 64 * 2048
    machine = replace(H100_NODES, nodes=1)
    step = speed.predict(Run(shape, 2048, 64), Layout(data=8), machine, 1.0)
    rate = machine.accelerator.tflops * 1e12 * shape.width / (shape.width + speed.HALF_WIDTH) * 8
    weights = shape.num_weights - shape.table_weights - shape.width  # looking a token up is no product
    assert step.products == pytest.approx(6 * weights * tokens / rate)
    again = speed.predict(Run(shape, 2048, 64), Layout(data=8, recompute="full"), machine, 1.0)
    layers = shape.num_layers * shape.layer_weights
    assert again.products == pytest.approx((8 * layers + 6 * shape.table_weights) * tokens / rate)
    assert shape.attention_operations(2048, causal=True) == 2 * 2048 * 4096


def test_a_ring_uses_as_many_adapters_as_it_has_ranks_in_a_node() -> None:
    """Inside a node links count; over nodes the whole network for a group of all ranks, a share for one of few."""
    assert H100_NODES.bandwidth(8) == 360e9
    assert H100_NODES.bandwidth(32) == 360e9  # four hundred by the network, but no more than the links
    assert H100_NODES.bandwidth(4, stride=8) == 400e9 / 8
    aurora = Machine(ACCELERATORS["max1550"], 12, 2, 200.0)
    assert aurora.bandwidth(2) == 185e9
    assert aurora.bandwidth(12) == 20e9


def test_what_does_not_divide_is_named() -> None:
    """Heads, layers, the batch and ZeRO under a pipeline: every misfit is in the list."""
    run = Run(PRESETS["llama3-8b"], 8192, 10)
    found = misfits(run, Layout(data=4, tensor=3, pipeline=5, zero=3, micro_batch=2))
    assert len(found) == 6
    assert "a batch of 10 does not split into 4 x 2" in found
    assert "32 layers do not split into 5 stages" in found
    assert misfits(run, Layout(data=10)) == []


def test_ranking() -> None:
    """Those that fit come first, by speed; all fill the machine; none needs more than is usable."""
    run = Run(PRESETS["llama3-8b"], 8192, 64)
    found = options(run, H100_NODES)
    fitting = [option for option in found if not option.problems]
    assert fitting == found[: len(fitting)]
    speeds = [option.tokens_per_second for option in fitting]
    assert speeds == sorted(speeds, reverse=True)
    assert {option.layout.devices for option in found} == {32}
    assert all(option.memory.total <= USABLE * 80 * GIB for option in fitting)
    assert len({option.layout for option in found}) == len(found)


def test_why_others_do_not_fit() -> None:
    """A model that is too large gets no layout, and the reason says how much the smallest needs of what."""
    found = options(Run(PRESETS["llama3-70b"], 8192, 4), replace(H100_NODES, nodes=1, per_node=4))
    assert all(option.problems for option in found)
    assert any("too little memory" in line and "GiB (states" in line for line in refusals(found))
    wide = judge(Run(PRESETS["auroragpt-80b"], 8192, 24), Layout(2, 12), Machine(ACCELERATORS["max1550"], 12, 2, 200.0))
    assert "tensor 12 leaves the fast links, which join 2 devices" in wide.problems


def ask(*words: str) -> tuple[argparse.Namespace, Console]:
    """The command line, and a console that keeps what it prints."""
    return parser().parse_args(["plan", "--layouts", *words]), Console(record=True, width=250, quiet=False)


def test_the_command_prints_a_table() -> None:
    """A preset on Aurora gives ranked layouts with memory, speed and the count of those that do not fit."""
    choices, console = ask("--site", "aurora", "--nodes", "2", "--preset", "auroragpt-2b", "--top", "3")
    assert layouts(choices, console) == 0
    words = console.export_text()
    assert "auroragpt-2b, 2.0 G weights, on 2 x 12 devices of 64 GiB" in words
    assert words.count("ZeRO") >= 3
    assert "layouts fit (90% of a device's memory is counted as usable)" in words


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a model: --preset auroragpt-2b"),
        (["--preset", "llama3-8"], "did you mean llama3-8b?"),
        (["--preset", "llama3-8b", "--site", "laptop"], "does not say which accelerators it has"),
        (["--preset", "llama3-8b", "--device", "h10"], "did you mean h100?"),
    ],
)
def test_what_cannot_be_asked(words: list[str], message: str) -> None:
    """A missing or wrong name ends with the right ones."""
    choices, console = ask(*words)
    with pytest.raises(SettingsError, match=message.replace("?", r"\?")):
        layouts(choices, console)
