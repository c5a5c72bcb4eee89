"""A site's own file and executors on this machine, with the test doubles on the PATH; every value that differs is listed."""

import os
import secrets
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from stages.base import PACKAGE_ROOT, SettingsError
from workflows.cluster import IN_JOB
from workflows.simulate.jobs import FOLDER, Machine, Store
from workflows.simulate.server import Server
from workflows.site import Site

COMMANDS = {"qsub": "qsub.main", "qstat": "qstat.main", "qdel": "qstat.delete", "mpiexec": "mpiexec.main"}
ADDRESS = "127.0.0.1"
NUM_NODES = 8  # of the simulated machine, or as many as the largest job needs and one more
RANKS_PER_NODE = 1
HEARTBEAT = "SIMULATED_HEARTBEAT"  # seconds of silence after which a node is lost: few, so that one can watch
POLL_SECONDS = 2


class Override(NamedTuple):
    """A value of the site that does not hold on this machine, and what stands for it."""

    name: str
    there: str
    here: str

    def __str__(self) -> str:
        return f"{self.name:<19}{_short(self.there)} -> {_short(self.here)}"


class Rehearsal(NamedTuple):
    """A site as it runs here."""

    site: Site
    overrides: list[Override]
    folder: Path

    @classmethod
    def of(cls, site: Site) -> "Rehearsal":
        """The site with as little changed as can be."""
        if site.cluster is None or site.cluster.scheduler != "pbs":
            raise SettingsError(f"--simulate: site {site.name} has no PBS to simulate; sites: aurora, polaris")
        folder = Path(tempfile.gettempdir(), f"pbs-{secrets.token_hex(4)}")
        cluster = site.cluster
        changes = {"address": ADDRESS, "cpu_affinity": "none", "encrypted": False, "worker_init": _worker_init(folder)}
        changes |= {"heartbeat_seconds": int(os.environ.get(HEARTBEAT, "20")), "poll_seconds": POLL_SECONDS}
        if not cluster.account:
            changes["account"] = "SIMULATED"
        there = {**cluster.model_dump(), "address": f"of {cluster.interface}"}
        overrides = [Override(name, str(there[name]), str(value)) for name, value in changes.items()]
        overrides.append(Override("ranks a node", "as launched", f"{RANKS_PER_NODE} started"))
        site = site.asking(**changes)
        cores = str(len(os.sched_getaffinity(0)))
        resources = {}
        for size, resource in site.resources.items():
            if workers := resource.env.get("BOREALIS_WORKERS"):
                overrides.append(Override("workers", workers, cores))
                resource = resource.model_copy(update={"env": {**resource.env, "BOREALIS_WORKERS": cores}})  # noqa: PLW2901
            resources[size] = resource
        root = site.root if "BOREALIS_ROOT" in os.environ else Path("runs", "simulated", site.name).absolute()
        if root != site.root:
            overrides.append(Override("root", str(site.root), str(root)))
        return cls(site.model_copy(update={"resources": resources, "root": root}), overrides, folder)

    @contextmanager
    def running(self, speed: float = 1.0) -> Iterator[Server]:
        """The machine is up: commands on the PATH, a server that runs jobs; afterwards nothing of it is left."""
        self.folder.mkdir(mode=0o700)
        for name in ("bin", "jobs", "scripts", "nodes", "home", "requests"):
            (self.folder / name).mkdir()
        self._machine().write(self.folder / "machine.json")
        for command, module in COMMANDS.items():
            _write_command(self.folder / "bin" / command, module)
        before = dict(os.environ)
        os.environ.update(self.environment())
        for name in IN_JOB:
            os.environ.pop(name, None)
        server = Server(Store(self.folder), self.folder / "bin", speed)
        server.start()
        try:
            yield server
        finally:
            server.stop()
            os.environ.clear()
            os.environ.update(before)
            shutil.rmtree(self.folder)

    def environment(self) -> Mapping[str, str]:
        """Variables of the login node."""
        path = f"{self.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {"PATH": path, FOLDER: str(self.folder), "SIMULATED_RANKS_PER_NODE": str(RANKS_PER_NODE)}

    def _machine(self) -> Machine:
        cluster = self.site.cluster
        assert cluster
        names = tuple(f.name for f in cluster.filesystems)
        return Machine(cluster.queues, cluster.node, names, max(NUM_NODES, cluster.nodes + 2))


def _worker_init(folder: Path) -> str:
    """The running process's own Python and code for the workers, as modules and environment are on the site."""
    python = Path(sys.executable).parent
    return (
        f"export PATH='{folder / 'bin'}':'{python}':\"$PATH\"; export PYTHONPATH='{PACKAGE_ROOT}'; "
        "export TMPDIR=/tmp; export OMP_WAIT_POLICY=PASSIVE"
    )


def _write_command(file: Path, where: str) -> None:
    """A command that finds this code itself and leaves its children's environment alone."""
    module, _, name = where.partition(".")
    code = (
        f"import sys; sys.path.insert(0, {str(PACKAGE_ROOT)!r}); "
        f"from workflows.simulate.{module} import {name}; sys.exit({name}())"
    )
    file.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(code)} "$@"\n')
    file.chmod(0o755)


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
