"""Megatron's own index builders, called as its GPT dataset calls them: no files, no cache, no ranks."""

import importlib
import logging
import warnings
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

NAME = "megatron-core 0.16.1"

logging.getLogger("megatron").setLevel(logging.ERROR)  # it tells each time that it caches nothing


def megatron_module(name: str) -> ModuleType:
    """Import a module of Megatron's data code, which warns that Apex and Transformer Engine are not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(f"megatron.core.datasets.{name}")


def build_blend(weights: Array, num_samples: int) -> tuple[Array, Array]:
    """Which dataset, and which of its samples, each sample of a blend is."""
    found = np.zeros(num_samples, np.int16), np.zeros(num_samples, np.int64)
    verbose = False
    megatron_module("helpers").build_blending_indices(*found, weights, len(weights), num_samples, verbose)
    return found


def build_sample_index(lengths: Array, documents: Array, sequence_tokens: int) -> Array:
    """The sample index of documents in a given order, one epoch."""
    num_tokens = int(lengths.sum(dtype=np.int64))
    build = megatron_module("helpers").build_sample_idx
    drop_last = extra_token = True
    rows: Array = build(lengths, documents, sequence_tokens, 1, num_tokens, drop_last, extra_token)
    return rows


def build_indices(lengths: Array, sequence_tokens: int, seed: int, num_samples: int) -> tuple[Array, Array, Array]:
    """Document, sample and shuffle index of a dataset."""
    gpt = megatron_module("gpt_dataset")
    dataset = object.__new__(gpt.GPTDataset)
    dataset.config = SimpleNamespace(
        defer_npy_index_mmap=False,
        path_to_cache=None,
        mock=True,
        sequence_length=sequence_tokens,
        add_extra_token_to_sequence=True,
        random_seed=seed,
    )
    dataset.dataset = SimpleNamespace(sequence_lengths=lengths)
    dataset.indices = np.arange(len(lengths), dtype=np.int32)
    dataset.num_samples, dataset.index_split = num_samples, gpt.Split.train
    indices: tuple[Array, Array, Array] = dataset._build_document_sample_shuffle_indices()
    return indices


def document_lengths(count: int, seed: int) -> Array:
    """Tokens of documents as a web corpus has them: log-normal, a thousand on average (int32)."""
    drawn = np.random.default_rng(seed).lognormal(6.2, 1.2, count)
    return np.minimum(drawn, 2_000_000).astype(np.int32)
