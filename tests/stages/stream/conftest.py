"""Megatron's own modules, to compare with."""

import importlib
import warnings
from types import ModuleType

import pytest


def megatron_module(name: str) -> ModuleType:
    """Import a module of `megatron.core`, which warns that Apex and Transformer Engine are not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(f"megatron.core.{name}")


@pytest.fixture(scope="session")
def megatron() -> ModuleType:
    """Megatron's reader and writer of token files."""
    return megatron_module("datasets.indexed_dataset")


@pytest.fixture(scope="session")
def helpers() -> ModuleType:
    """Megatron's index builders in C++."""
    return megatron_module("datasets.helpers")


@pytest.fixture(scope="session")
def gpt_dataset() -> ModuleType:
    """Megatron's GPT dataset."""
    return megatron_module("datasets.gpt_dataset")
