"""A finished run, written once for all tests of the report; tests that damage it take a copy."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.workflows.report.fake_run import FakeRun, Node, Port, finished
from workflows.report.page import render
from workflows.report.summary import summarize
from workflows.report.tables import Tables


@pytest.fixture(scope="session")
def done_run(tmp_path_factory: pytest.TempPathFactory) -> FakeRun:
    """The whole life cycle, finished. Not to be changed."""
    return finished(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def page(done_run: FakeRun) -> str:
    """Its report."""
    return render(done_run.nodes, "pretrain")


@pytest.fixture
def tables(done_run: FakeRun) -> Iterator[Tables]:
    """Its tables."""
    tables = Tables(summarize(done_run.nodes))
    yield tables
    tables.close()


@pytest.fixture
def copied_run(done_run: FakeRun, tmp_path: Path) -> dict[str, Node]:
    """Nodes of a copy of the finished run, by name, in recipe order."""
    root = tmp_path / "copy"
    shutil.copytree(done_run.root, root)
    nodes: dict[str, Node] = {}
    for node in done_run.nodes:
        inputs = {key: Port(nodes[port.node.name], port.output) for key, port in node.inputs.items()}
        nodes[node.name] = replace(node, path=root / node.path.relative_to(done_run.root), inputs=inputs)
    return nodes


@pytest.fixture
def tables_of() -> Iterator[Callable[[Sequence[Node]], Tables]]:
    """Open the tables of nodes; closed after the test."""
    opened: list[Tables] = []

    def open_tables(nodes: Sequence[Node]) -> Tables:
        opened.append(Tables(summarize(nodes)))
        return opened[-1]

    yield open_tables
    for tables in opened:
        tables.close()
