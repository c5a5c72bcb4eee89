"""`parsl pilot`: what parse's budget would buy, on a sample of the documents, before anything is spent."""

import argparse
from collections.abc import Sequence

from rich.console import Console

from stages.base import SettingsError
from stages.parse import Parse
from workflows.base import Node


def pilot(options: argparse.Namespace, nodes: Sequence[Node], console: Console) -> int:
    """Print the quality-cost curve of the recipe's parse, with the set budget on it; 0."""
    node = next((n for n in nodes if isinstance(n.stage, Parse)), None)
    if node is None:
        raise SettingsError("the recipe has no parse")
    stage, port = node.stage, node.inputs["sources"]
    assert isinstance(stage, Parse)
    if not port.node.done:
        raise SettingsError(f"pilot needs {port.node.name}, which is not done: parsl run --until {port.node.name}")
    if not stage.is_routed:
        stage = Parse.parse({**stage.model_dump(), "budget": "0 s"})
    from stages.parse.router.pilot import lines, run
    from stages.tables import Reader

    count = None if options.documents == "all" else _count(options.documents)
    found = run(stage, Reader(port.path, port.row), count)
    for line in lines(stage, found):
        console.print(line, markup=False)
    return 0


def _count(words: str) -> int:
    if not words.isdecimal() or int(words) < 2:
        raise SettingsError(f"--documents: expected a number from 2 on, or all; found {words!r}")
    return int(words)
