import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from stages.model.network import Network, Sizes
from stages.pretrain.health.flops import peak, training_flops, utilisation


@pytest.mark.parametrize("tied", [True, False])
def test_flops_are_what_torch_counts(tied: bool) -> None:
    """A forward pass costs, by PyTorch's own counter, a third of what the formula says of forward and backward."""
    sizes = Sizes.of_depth(2, 500, 64, tie_embeddings=tied)
    network = Network(sizes)
    tokens_BT = torch.zeros(2, 64, dtype=torch.long)
    with torch.no_grad(), FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        network(tokens_BT, tokens_BT)
    expected = training_flops(sizes, network.num_parameters())
    assert 3 * counter.get_total_flops() / 128 == pytest.approx(expected, rel=0.02)


def test_peaks_have_names_and_sources() -> None:
    """The dense bf16 figures that the makers and ALCF give, by the driver's name; no figure for a CPU."""
    names = {"NVIDIA H100 80GB HBM3": 989e12, "NVIDIA A100-SXM4-40GB": 312e12, "NVIDIA H100 PCIe": 756e12}
    for name, flops in names.items():
        found = peak(name)
        assert found is not None
        assert (found.flops, bool(found.source)) == (flops, True)
    assert peak("cpu") is None


def test_utilisation_is_work_over_peak() -> None:
    """The published 1B run: 55,000 tokens a second on one H100 at 8.5 GFLOP a token are 47 % of its peak."""
    assert utilisation(55_000, 8.5e9, 1, "NVIDIA H100 80GB HBM3") == pytest.approx(0.473, abs=0.001)
    assert utilisation(55_000, 8.5e9, 1, "cpu") is None
