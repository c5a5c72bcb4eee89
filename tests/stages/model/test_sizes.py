import subprocess
import sys
from typing import Any, get_args

import pytest
import torch

from stages.base import PACKAGE_ROOT
from stages.model.network import Network
from stages.model.sizes import Preset, Sizes


def sizes(**given: Any) -> Sizes:
    """A small network with grouped queries."""
    fields = {"vocab_size": 97, "context_tokens": 32, "num_layers": 2, "width": 32, "num_heads": 4, "num_kv_heads": 2}
    return Sizes(**{**fields, "hidden_width": 48, "tie_embeddings": True, **given})


def test_one_dial_sets_all_sizes() -> None:
    """Depth alone gives a network that can be built, at every depth, and given sizes stand."""
    for depth in range(1, 33):
        derived = Sizes.of_depth(depth, 1000, 128)
        assert derived.problems() == []
        assert derived.head_size == 64
        assert derived.hidden_width % 64 == 0
        assert 8 / 3 * derived.width <= derived.hidden_width < 8 / 3 * derived.width + 64
    given = Sizes.of_depth(2, 1000, 128, width=96, num_heads=6, num_kv_heads=3, hidden_width=100)
    assert (given.width, given.num_heads, given.num_kv_heads, given.hidden_width) == (96, 6, 3, 100)
    assert "width 96, num_heads 6" in given.describe()


def test_sizes_that_do_not_fit_are_named() -> None:
    """Both problems of a bad shape come in one list."""
    problems = Sizes.of_depth(1, 100, 8, width=100, num_heads=3, num_kv_heads=2).problems()
    assert len(problems) == 2
    assert "100" in problems[0]


def test_parameters_are_counted_once() -> None:
    """The number of weights is that of the formula, with a tied matrix counted once."""
    tied, untied = sizes(), sizes(tie_embeddings=False)
    layer = 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 48 + 2 * 32
    assert Network(tied).num_parameters() == 97 * 32 + 2 * layer + 32
    assert Network(untied).num_parameters() == 2 * 97 * 32 + 2 * layer + 32


@pytest.mark.parametrize("given", [{}, {"qk_norm": True}, {"layers": "deltanet,attention"}, {"tie_embeddings": False}])
def test_the_count_of_weights_is_that_of_the_modules(given: dict[str, Any]) -> None:
    """The number that a plan can have without torch is the number that the network has."""
    assert sizes(**given).num_parameters == Network(sizes(**given)).num_parameters()


@pytest.mark.parametrize(
    ("preset", "vocab_size", "published"),
    [
        (
            "llama3-8b",
            128_256,
            8_030_261_248,
        ),  # meta-llama/Meta-Llama-3-8B, model.safetensors.index.json: 16,060,522,496 bytes
        ("auroragpt-7b", 32_000, 5_933_109_248),
    ],
)
def test_presets_have_the_published_weights(preset: Preset, vocab_size: int, published: int) -> None:
    """A preset's network, built without memory for it, has as many weights as the model that it is named for."""
    found = Sizes.of_preset(preset, vocab_size, 4096)
    assert found.problems() == []
    with torch.device("meta"):
        assert Network(found).num_parameters() == found.num_parameters == published


def test_given_sizes_stand_in_presets() -> None:
    """What is given replaces the preset's, what is None does not."""
    found = Sizes.of_preset("tiny", 50, 16, num_layers=3, width=None, qk_norm=True)
    assert (found.num_layers, found.width, found.qk_norm) == (3, 128, True)
    assert {Sizes.of_preset(p, 50, 16).problems() == [] for p in get_args(Preset)} == {True}


def test_operations_are_six_a_weight_and_the_windows() -> None:
    """A step's operations: 6 a weight in matrix products, and 12 T D a token and layer for full attention, half of it causal."""
    wide = sizes(tie_embeddings=False)
    matrices = wide.num_parameters - 97 * 32
    assert wide.operations_per_token == 6 * matrices + 2 * 6 * 32 * 32
    assert sizes().operations_per_token == wide.operations_per_token


def test_unknown_layers_are_named() -> None:
    """A kind that does not exist is named beside those that do."""
    (problem,) = sizes(layers="attention,mamba").problems()
    assert "'mamba'" in problem
    assert "attention, deltanet" in problem


def test_sizes_need_no_torch() -> None:
    """A plan on a login node counts weights without loading torch."""
    code = "import sys, stages.model.sizes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PACKAGE_ROOT, check=False).returncode == 0
