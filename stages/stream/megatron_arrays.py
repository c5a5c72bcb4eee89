"""Build and store the arrays of `order: megatron`: those of the cache of Megatron's `BlendedMegatronDatasetBuilder`.

A dataset is what one prefix is to Megatron: a source's training tokens. Its three indices hang on its documents, the
demand, the sequence length and the seed, so each dataset can be built by another process; the blend hangs on the weights
and the number of samples. Megatron is called with `blend_per_split` and the weights, or with one prefix without a weight.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np

from stages.base import SettingsError
from stages.stream.blend import Blend, blend, normalize
from stages.stream.gpt_index import Cutting, Indices
from stages.stream.order import Array

SURPLUS = 0.005  # Megatron's `mid_level_dataset_surplus`: samples that are built beyond a dataset's share


@dataclass(frozen=True)
class Demand:
    """What a run of `num_samples` asks for: samples to build of each dataset (K), and samples of the whole blend.

    Shares are rounded up, so the blend has up to K samples more than the run takes. A single dataset is not blended.
    """

    num_samples: int
    weights: tuple[float, ...]
    datasets: tuple[int, ...]
    blend: int


def demand(weights: Sequence[float], num_samples: int) -> Demand:
    """Divide `num_samples` over datasets of these weights as Megatron does."""
    shares = [ceil(num_samples * weight) for weight in normalize(np.array(weights)).tolist()]
    datasets = [ceil(share * (1 + SURPLUS)) for share in shares] if len(weights) > 1 else [num_samples]
    return Demand(num_samples, tuple(weights), tuple(datasets), sum(shares))


def build_blend(wanted: Demand, num_tokens: Mapping[str, int], cutting: Cutting, num_threads: int = 1) -> Blend:
    """The blend of datasets of these names and sizes, in the order of the weights.

    SettingsError if it takes more samples of one than are built, as Megatron: with few samples and many datasets the
    rounding of shares adds more to the blend than the surplus to a dataset.
    """
    if len(wanted.weights) == 1:
        return Blend(np.zeros(wanted.blend, np.int16), np.arange(wanted.blend))
    found = blend(normalize(normalize(np.array(wanted.weights))), wanted.blend, num_threads)
    taken = np.bincount(found.dataset_index, minlength=len(num_tokens)).tolist()
    short = []
    for (name, tokens), asked, count in zip(num_tokens.items(), wanted.datasets, taken, strict=True):
        if count > (built := cutting.supply(tokens, asked)):
            short.append(f"order megatron: the blend takes {count} samples of {name}, for which {built} are built")
    if short:
        raise SettingsError("\n".join([*short, "Megatron refuses this too: take more steps, or merge small sources"]))
    return found


def write_arrays(folder: Path, prefix: str, arrays: Indices | Blend) -> dict[str, Path]:
    """Store each array as `PREFIX-NAME.npy`, complete or not at all; return the files by name."""
    folder.mkdir(parents=True, exist_ok=True)
    return {name: _write(folder / f"{prefix}-{name}.npy", array) for name, array in arrays._asdict().items()}


def _write(file: Path, array: Array) -> Path:
    temporary = file.with_suffix(".tmp")
    with temporary.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)
        stream.flush()
        os.fsync(stream.fileno())
    return temporary.replace(file)
