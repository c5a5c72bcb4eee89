"""A small corpus with at least one document of each kind, made once for all tests here."""

import json
from pathlib import Path
from typing import Any

import pytest

from examples.collection import make
from examples.marker import truth_folder
from examples.plan import Plan, make_plan

NUM_ARTICLES = 24
SEED = 3


@pytest.fixture(scope="session")
def plan() -> Plan:
    """The plan of the small corpus."""
    return make_plan(NUM_ARTICLES, SEED)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the small corpus; not to be changed."""
    folder = tmp_path_factory.mktemp("examples") / "corpus"
    make(folder, NUM_ARTICLES, SEED, lambda _: None)
    return folder


@pytest.fixture(scope="session")
def manifest(corpus: Path) -> list[dict[str, Any]]:
    """The rows of the small corpus's manifest."""
    return [json.loads(line) for line in (truth_folder(corpus) / "manifest.jsonl").read_text().splitlines()]
