"""A recipe is a function of a `Run`; calling the run with a stage adds a node to the graph and submits nothing.

Paths and fingerprints of all nodes are known when the recipe returns, so the plan can be printed before anything runs.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from schemas.manifest import Manifest, exists
from schemas.table import ContractError, Row
from stages.base import SettingsError, Stage
from workflows.site import load_module

UNKNOWN = "unknown"
StageT = TypeVar("StageT", bound=Stage)


class Port(NamedTuple):
    """One output table of a node, to be another node's input."""

    node: "Node"
    output: str

    @property
    def row(self) -> type[Row]:
        """The contract of the table."""
        return self.node.stage.outputs[self.output]

    @property
    def path(self) -> Path:
        """The folder of the table."""
        return self.node.path / self.output


@dataclass(frozen=True, eq=False)  # a node is itself, so it can be a key
class Node:
    """A stage in a graph: its settings, where its inputs come from, and where its output is or will be."""

    name: str
    stage: Stage
    inputs: Mapping[str, Port]
    shards: int
    fingerprint: str
    path: Path

    def __getitem__(self, output: str) -> Port:
        if output not in self.stage.outputs:
            raise ContractError(
                self.name, [f"no output {output!r}; {nearest(output, list(self.stage.outputs), 'outputs')}"]
            )
        return Port(self, output)

    @property
    def done(self) -> bool:
        """Whether the output is there, and the files that its rows point at are still where they were."""
        return exists(self.path) and not self.moved

    @property
    def moved(self) -> bool:
        """Whether a setting that says where has changed: the address is the same, the paths in the rows are not."""
        if not self.stage.located or not exists(self.path):
            return False
        before, now = self.manifest().settings, self.stage.model_dump(mode="json")
        return any(before.get(name) != now[name] for name in self.stage.located)

    def manifest(self) -> Manifest:
        """The record of the finished output."""
        return Manifest.read(self.path)


@dataclass
class Run:
    """Collects the nodes of a recipe under one storage root, with the user's settings laid over the recipe's."""

    root: Path
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    shards: Mapping[str, int] = field(default_factory=dict)  # by stage; where it is not named, the recipe's number
    nodes: list[Node] = field(default_factory=list)
    setting_problems: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # files to read that are not there: a plan can live with that
    contract_problems: list[str] = field(default_factory=list)
    options: set[str] = field(default_factory=set)  # stages that the recipe asked about by `asked`

    def asked(self, *stages: str) -> bool:
        """Whether the user has said anything of one of these stages, which the recipe leaves out otherwise."""
        self.options.update(stages)
        return not self.overrides.keys().isdisjoint(stages)

    def __call__(self, stage: Stage, *, name: str = "", shards: int = 1, **inputs: Port) -> Node:
        """Add a stage, fed by other nodes' outputs; `name` tells two nodes of one stage apart."""
        name = name or stage.name
        shards = self.num_shards(stage, name, shards)
        if name in {n.name for n in self.nodes}:
            raise ContractError("the recipe", [f"two nodes are called {name!r}: give one a name="])
        self._check_edges(name, stage, inputs)
        stage = self.settled(stage, name)
        fingerprint = self._fingerprint(stage, inputs)
        if shards > 1 and stage.undivided:
            self.setting_problems.append(f"--shards {name}={shards}: {name} runs as one shard: {stage.undivided}")
        node = Node(name, stage, inputs, shards, fingerprint, self.root / stage.name / fingerprint)
        self.nodes.append(node)
        return node

    def num_shards(self, stage: Stage, name: str = "", shards: int = 1) -> int:
        """As how many tasks a stage runs: what the user has said, or else the recipe."""
        return self.shards.get(name or stage.name, self.shards.get(stage.name, shards))

    def check(self) -> None:
        """Raise on anything that does not fit, all problems at once."""
        known = {n.name for n in self.nodes} | {n.stage.name for n in self.nodes}
        for name in (*self.overrides, *self.shards):
            if name not in known:
                option = f"it is an option: --set {name}=on"
                hint = option if name in self.options else nearest(name, sorted(known | self.options), "stages")
                self.setting_problems.append(f"{name}: the recipe has no such stage; {hint}")
        if self.setting_problems:
            raise SettingsError("\n".join(dict.fromkeys(self.setting_problems)))
        if self.contract_problems:
            raise ContractError("the recipe", self.contract_problems)

    def settled(self, stage: StageT, name: str = "") -> StageT:
        """A stage with the user's settings laid over it."""
        changes = {**self.overrides.get(stage.name, {}), **self.overrides.get(name or stage.name, {})}
        if not changes:
            return stage
        try:
            return type(stage).parse({**stage.model_dump(), **changes})
        except SettingsError as error:
            self.setting_problems += str(error).split("\n")
            return stage

    def _fingerprint(self, stage: Stage, inputs: Mapping[str, Port]) -> str:
        prints = {k: p.node.fingerprint for k, p in inputs.items()}
        if UNKNOWN in prints.values():
            return UNKNOWN
        try:
            return stage.fingerprint(prints)
        except SettingsError as error:
            self.missing += str(error).split("\n")
            return UNKNOWN

    def _check_edges(self, name: str, stage: Stage, inputs: Mapping[str, Port]) -> None:
        for key, row in stage.inputs.items():
            if key not in inputs and key in stage.optional:
                continue
            if key not in inputs:
                self.contract_problems.append(f"{name} needs the input {key!r} ({row.contract()})")
            elif inputs[key].row.contract() != row.contract():
                found = inputs[key].row.contract()
                self.contract_problems.append(f"{name} input {key!r} must be {row.contract()}, got {found}")
        for key in inputs:
            if key not in stage.inputs:
                hint = nearest(key, list(stage.inputs), "inputs")
                self.contract_problems.append(f"{name} has no input {key!r}; {hint}")


def nearest(word: str, known: Sequence[str], kind: str) -> str:
    """`did you mean X?`, or the whole list where nothing is near."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"{kind}: {', '.join(known)}"


def load_recipe(
    file: Path, root: Path, overrides: Mapping[str, Mapping[str, Any]], shards: Mapping[str, int] | None = None
) -> Run:
    """The checked graph of a recipe file: a Python file with a function `workflow(run)`."""
    if not file.is_file():
        known = [str(f) for f in sorted(file.parent.glob("*.py"))] if file.parent.is_dir() else []
        hint = nearest(str(file), known, "files here") if known else "recipes lie in workflows/"
        raise SettingsError(f"{file}: no such recipe; {hint}")
    if file.suffix != ".py":
        raise SettingsError(f"{file}: a recipe is a Python file; settings go in by --settings {file}")
    workflow = getattr(load_module(file, f"recipe_{file.stem}"), "workflow", None)
    if workflow is None:
        raise SettingsError(f"{file}: a recipe has a function `workflow(run)`")
    run = Run(root, overrides, shards or {})
    workflow(run)
    run.check()
    return run


class Selection(NamedTuple):
    """Which nodes of a recipe the user wants: all, one, those from one on, those until one."""

    only: str | None = None
    start: str | None = None
    until: str | None = None

    def apply(self, nodes: Sequence[Node]) -> list[Node]:
        """The selected nodes in recipe order; `SettingsError` for a name that is not there."""
        names = [n.name for n in nodes]
        for flag, name in (("--only", self.only), ("--from", self.start), ("--until", self.until)):
            if name is not None and name not in names:
                raise SettingsError(f"{flag} {name}: no such stage; {nearest(name, names, 'stages')}")
        chosen = {n for n in names if self.only in (None, n)}
        if self.start:
            chosen &= _downstream(nodes, self.start)
        if self.until:
            chosen &= _upstream(nodes, self.until)
        if not chosen and names:
            flags = {"--only": self.only, "--from": self.start, "--until": self.until}
            words = " ".join(f"{flag} {name}" for flag, name in flags.items() if name)
            raise SettingsError(f"{words}: no stage is all of that; the order is {', '.join(names)}")
        return [n for n in nodes if n.name in chosen]


def _downstream(nodes: Sequence[Node], start: str) -> set[str]:
    reached = {start}
    for node in nodes:
        if any(p.node.name in reached for p in node.inputs.values()):
            reached.add(node.name)
    return reached


def _upstream(nodes: Sequence[Node], until: str) -> set[str]:
    reached = {until}
    for node in reversed(nodes):
        if node.name in reached:
            reached |= {p.node.name for p in node.inputs.values()}
    return reached


def unfinished_inputs(nodes: Sequence[Node], selected: Sequence[Node]) -> list[str]:
    """What the selected nodes need and neither have nor make."""
    making = {n.name for n in selected}
    return [
        f"{node.name} needs {port.node.name}, which is not done: run it first, or start with --from {port.node.name}"
        for node in nodes
        if node.name in making and not node.done
        for port in node.inputs.values()
        if port.node.name not in making and not port.node.done
    ]
