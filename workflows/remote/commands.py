"""What `parsl run --endpoint`, `status --run`, `logs`, `cancel` and `attach` do on this side."""

import argparse
import json
import os
import time
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from schemas.manifest import write_atomic
from stages.base import PACKAGE_ROOT, SettingsError
from workflows.base import Selection, load_recipe
from workflows.overrides import read_shards
from workflows.remote.channel import HERE, Channel, channel, state_folder
from workflows.remote.request import (
    ENVIRONMENT,
    Ask,
    Logs,
    Start,
    check_project,
    check_run_id,
    checkout,
    code_sha256,
    new_run_id,
    payload,
)
from workflows.site import load_site

POLL_SECONDS = 5.0
POLL_HERE_SECONDS = 0.5
LOST = 1


class Remote(NamedTuple):
    """A run on the other side, as this side remembers it."""

    run: str
    endpoint: str
    project: str

    def reach(self) -> Channel:
        """The way there."""
        return channel(self.endpoint)


def start(options: argparse.Namespace, console: Console) -> int:
    """Send the run, remember where it went, and say how to follow it."""
    words = run_words(options)
    remote = Remote(new_run_id(), options.endpoint, project(options))
    environment = {name: os.environ[name] for name in ENVIRONMENT if os.environ.get(name)}
    request = Start(
        run=remote.run, project=remote.project, words=tuple(words), environment=environment, code_sha256=code_sha256()
    )
    size = len(json.dumps(payload(request)).encode())
    remember(remote)  # first: an answer that is lost on the way back must not lose the run
    remote.reach().call(request)
    console.print(f"run       {remote.run}  ({size} bytes sent to {remote.endpoint})", markup=False)
    console.print(f"follow    parsl attach --run {remote.run}   (or status, logs, cancel)", markup=False)
    return 0


def run_words(options: argparse.Namespace) -> list[str]:
    """The words of `parsl` that do there what was asked for here, after the recipe's graph was checked here."""
    overrides = options.read_overrides(options.set, options.settings)
    nodes = load_recipe(options.recipe, Path("/"), overrides, read_shards(options.shards)).nodes
    Selection(options.only, options.start, options.until).apply(nodes)
    words = ["run", inside(options.recipe, "recipe"), "--site", site_word(options.site)]
    for stage, fields in overrides.items():
        words += [w for name, value in fields.items() for w in ("--set", f"{stage}.{name}={json.dumps(value)}")]
    words += [w for text in options.shards for w in ("--shards", text)]
    chosen = {"--only": options.only, "--from": options.start, "--until": options.until}
    words += [w for flag, name in chosen.items() if name for w in (flag, name)]
    switches = {"--force": options.force, "--stub": options.stub, "--container": options.container}
    return [*words, *(flag for flag, on in switches.items() if on)]


def inside(file: Path, what: str) -> str:
    """A file's place in this project, where the other side finds it too."""
    try:
        return str(file.resolve().relative_to(PACKAGE_ROOT))
    except ValueError:
        raise SettingsError(f"{what} {file}: with --endpoint it must lie in this project, {PACKAGE_ROOT}") from None


def site_word(site: str) -> str:
    """A site's name, or its file's place in this project."""
    return inside(Path(site), "site") if site.endswith(".py") else site


def status(options: argparse.Namespace, console: Console) -> int:
    """How far a run is, and each of its stages."""
    return ask(options, console, "status")


def cancel(options: argparse.Namespace, console: Console) -> int:
    """Ask a run to end: it gives back its jobs first."""
    return ask(options, console, "cancel")


def ask(options: argparse.Namespace, console: Console, verb: str) -> int:
    """Ask, and print the answer."""
    remote = recall(options)
    request = Ask(verb=verb, run=remote.run, project=remote.project)
    found = remote.reach().call(request)
    asked = " (asked to end)" if verb == "cancel" and found["state"] == "running" else ""
    console.print(f"run       {remote.run}: {found['state']}{asked}\n{found['stages']}", markup=False, end="")
    return 0


def logs(options: argparse.Namespace, console: Console) -> int:
    """The end of what a run has printed."""
    remote = recall(options)
    found = remote.reach().call(Logs(run=remote.run, project=remote.project))
    console.print(found["text"], markup=False, end="")
    return 0


def attach(options: argparse.Namespace, console: Console) -> int:
    """Print what a run prints until it ends; the exit code is the run's."""
    remote = recall(options)
    there, offset = remote.reach(), 0
    while True:
        found = there.call(Logs(run=remote.run, project=remote.project, offset=offset))
        console.print(found["text"], markup=False, end="")
        offset = found["offset"]
        if found["more"]:
            continue
        if found["state"] != "running":
            console.print(f"run       {remote.run}: {found['state']}", markup=False)
            return LOST if found["code"] is None else int(found["code"])
        time.sleep(POLL_HERE_SECONDS if remote.endpoint == HERE else POLL_SECONDS)


def project(options: argparse.Namespace) -> str:
    """Where the project lies on the other side: as told, or where the site keeps it."""
    if options.project:
        here = options.endpoint == HERE
        if here and not (options.project / "workflows").is_dir():
            raise SettingsError(
                f"--project {options.project}: expected a checkout of this project, with workflows/ in it"
            )
        return check_project(str(options.project.resolve() if here else options.project))
    return str(PACKAGE_ROOT) if options.endpoint == HERE else checkout(load_site(options.site).root)


def remember(remote: Remote) -> None:
    """Write down where a run went, for the commands that follow it."""
    folder = state_folder() / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / f"{remote.run}.json", json.dumps(remote._asdict(), indent=1))


def recall(options: argparse.Namespace) -> Remote:
    """Where a run went: as told by the flags, else as it was written down when it was sent."""
    run = check_run_id(options.run)
    if options.endpoint:
        return Remote(run, options.endpoint, project(options))
    file = state_folder() / "runs" / f"{run}.json"
    if not file.is_file():
        raise SettingsError(f"--run {run}: not sent from here; name its endpoint: --endpoint UUID --site NAME")
    return Remote(**json.loads(file.read_text()))
