"""The report of a run: one HTML file that opens from disk, with no script and no network.

It is made from the manifests and the tables they list, so it is also right after a partial or a failed run, and two
reports of the same outputs are the same bytes. Sections are found by the contracts of outputs, never by stage names.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from schemas.manifest import write_atomic
from stages.base import SettingsError, Stage

PACKAGES = ("jinja2", "matplotlib", "duckdb")


class PortLike(Protocol):
    """One output table of a node."""

    @property
    def node(self) -> "NodeLike": ...  # noqa: D102 - the attributes of `workflows.base.Port`

    @property
    def output(self) -> str: ...  # noqa: D102


class NodeLike(Protocol):
    """What the report needs of `workflows.base.Node`."""

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def stage(self) -> Stage: ...  # noqa: D102

    @property
    def inputs(self) -> Mapping[str, PortLike]: ...  # noqa: D102

    @property
    def path(self) -> Path: ...  # noqa: D102

    @property
    def fingerprint(self) -> str: ...  # noqa: D102


def write_report(nodes: Sequence[NodeLike], file: Path, title: str) -> Path:
    """Write the report of `nodes` (in recipe order) to `file`, atomically; returns `file`.

    Raises `SettingsError` where a package of the `report` extra is missing.
    """
    if missing := [p for p in PACKAGES if importlib.util.find_spec(p) is None]:
        cure = "pip install -e '.[report]'"
        raise SettingsError(f"the report needs {len(missing)} more package(s), {', '.join(missing)}: {cure}")
    from workflows.report.page import render

    write_atomic(file, render(nodes, title))
    return file
