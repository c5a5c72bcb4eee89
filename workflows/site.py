"""A site says where a size class runs: executor, nodes, queue, launch line, container and storage root.

A stage says only how big it is (`cpu`, `gpu`, `gpus`, `service`); every site offers every size. A site file is Python,
`site-configs/NAME.py`, and exports `site`. Parsl is imported only when a run starts.
"""

import difflib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, model_validator

from stages.base import PACKAGE_ROOT, SettingsError, Size
from workflows.cluster import Cluster, parsl_config

FOLDER = PACKAGE_ROOT / "site-configs"


class Resource(BaseModel):
    """Where one size class runs. `launch` is put before the command; `{nodes}`, `{ranks}` and `{per_node}` are filled in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    executor: str
    nodes: int = 1
    ranks_per_node: int = 1
    launch: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    queue: str = ""
    walltime: str = ""
    base: str = "cpu"  # container base: cpu, cuda, xpu

    def launch_line(self) -> list[str]:
        """The launcher's argument vector for this many nodes and ranks."""
        ranks = self.nodes * self.ranks_per_node
        return [a.format(nodes=self.nodes, ranks=ranks, per_node=self.ranks_per_node) for a in self.launch]


class Site(BaseModel):
    """A machine. `parsl_config` makes Parsl's configuration, given the folder for Parsl's own logs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str
    root: Path
    resources: Mapping[Size, Resource]
    parsl_config: Callable[[Path], Any]
    cluster: Cluster | None = None  # what the machine allows and is asked for, where it has a scheduler
    python: str = sys.executable
    container: tuple[str, ...] = ()  # argument vector before the command; `{image}` is filled in
    images: Path = Path("containers/images")
    needs: tuple[str, ...] = ()  # environment variables without which a run cannot start here

    @model_validator(mode="after")
    def _offers_every_size(self) -> "Site":
        missing = [size for size in get_args(Size) if size not in self.resources]
        if missing:
            raise ValueError(f"site {self.name} does not offer {', '.join(missing)}")
        return self

    def image(self, stage: str, resource: Resource) -> Path:
        """The container image of a stage here."""
        return self.images / f"{stage}-{resource.base}.sif"

    def command(self, stage: str, size: Size, arguments: Sequence[str], *, container: bool) -> list[str]:
        """The whole argument vector of a stage: launch line, environment, container prefix, Python."""
        resource = self.resources[size]
        env = ["env", *(f"{k}={v}" for k, v in resource.env.items())] if resource.env else []
        prefix = [a.format(image=self.image(stage, resource)) for a in self.container] if container else []
        python = "python3" if container else self.python
        return [*resource.launch_line(), *env, *prefix, python, "-m", f"stages.{stage}", *arguments]

    def asking(self, **changes: Any) -> "Site":
        """The same site with other values in what it knows and asks of its cluster."""
        assert self.cluster
        cluster = self.cluster.model_copy(update=changes)
        return self.model_copy(update={"cluster": cluster, "parsl_config": partial(parsl_config, cluster)})

    def missing(self) -> list[str]:
        """Environment variables that a run needs and that are not set."""
        return [name for name in self.needs if not os.environ.get(name)]


def load_site(name: str) -> Site:
    """The site of a name in `site-configs/`, or of a path to a site file."""
    file = Path(name) if name.endswith(".py") else FOLDER / f"{name}.py"
    if not file.is_file():
        known = sorted(f.stem for f in FOLDER.glob("*.py"))
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"sites: {', '.join(known)}"
        raise SettingsError(f"--site {name}: no such site; {hint}")
    site = getattr(load_module(file, f"site_{file.stem}"), "site", None)
    if not isinstance(site, Site):
        raise SettingsError(f"{file}: a site file exports `site`, a workflows.site.Site")
    return site


def load_module(file: Path, name: str) -> Any:
    """Import a Python file by its path: a site file (its folder's name has a hyphen) or a user's recipe.

    `SettingsError` where it is not Python.
    """
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise SettingsError(f"{error.filename}, line {error.lineno}: {error.msg}") from None
    return module
