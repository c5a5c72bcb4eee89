"""Model FLOPs utilisation: the arithmetic that training needs over what the device can do.

A token needs 6 FLOPs a weight that it meets (2 forward, 4 backward) and 12 L D T for its attention over T positions, of
which a causal mask needs half (Chowdhery et al. 2022, PaLM, appendix B, count all; so does this). Recomputed activations do
not count. Peaks are dense bf16, without sparsity, by the name that the driver gives the device.
"""

from typing import NamedTuple

from stages.model.sizes import Sizes


class Peak(NamedTuple):
    """What a device can do in a second, and who says so."""

    flops: float
    source: str


PEAKS: dict[str, Peak] = {  # a part of the device's name, longer ones first
    "H100 PCIe": Peak(756e12, "NVIDIA H100 datasheet, PCIe"),
    "H100 NVL": Peak(835e12, "NVIDIA H100 datasheet, NVL"),
    "H100": Peak(989e12, "NVIDIA H100 datasheet, SXM"),
    "H200": Peak(989e12, "NVIDIA H200 datasheet"),
    "A100": Peak(312e12, "NVIDIA A100 datasheet"),
    "Max 1550": Peak(256e12, "ALCF: GEMM measured on one tile of a Data Center GPU Max 1550"),
}


def peak(device_name: str) -> Peak | None:
    """The peak of a device; none where nobody has published one (a CPU, say)."""
    return next((p for part, p in PEAKS.items() if part in device_name), None)


def training_flops(sizes: Sizes, num_parameters: int) -> float:
    """FLOPs of one token of training. The rows of an embedding that is not tied are looked up, not multiplied."""
    looked_up = 0 if sizes.tie_embeddings else sizes.vocab_size * sizes.width
    return 6.0 * (num_parameters - looked_up) + 12.0 * sizes.num_layers * sizes.width * sizes.context_tokens


def utilisation(tokens_per_second: float, flops_per_token: float, devices: int, device_name: str) -> float | None:
    """The share of the devices' peak that training uses; none where the peak is not known."""
    found = peak(device_name)
    return None if found is None else tokens_per_second * flops_per_token / (devices * found.flops)
